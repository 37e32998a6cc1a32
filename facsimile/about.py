"""What is in a file, and a network of any format written as ours: `facsimile info | convert`."""

from pathlib import Path

from torch import nn

import checkpoints
import stylegan
from checkpoints import Checkpoint
from stylegan import Discriminator, Generator, Latents, files
from stylegan.generator import fingerprint


def info(file: str) -> None:
    """Print what a file is: networks, or latents. Raises FileNotFoundError or ValueError."""
    path = Path(file)
    try:
        found = checkpoints.find(file)
    except ValueError:
        # Perhaps something else; if not that either, the generator's complaint is the better one.
        try:
            if files.kinds(path) == ("discriminator",):
                rows = _about_discriminator(stylegan.load_discriminator(path))
            else:
                rows = _about_latents(Latents.load(path))
        except ValueError:
            checkpoints.find(file)
    else:
        beside = [kind for kind in found.encoders.kinds if found.encoders.has(kind)]
        rows = _about_generator(found.generator) | {
            "discriminator": _discriminator_of(found),
            "encoders": ", ".join(beside) or "none beside it",
        }
    _print_rows(rows)


def convert(file: Path, out: Path, kind: str, *, half: bool = False) -> None:
    """Write the network of a file, "generator" or "discriminator", as a .safetensors file.

    Prints what was written. Raises FileNotFoundError, or ValueError for what is no such network,
    and for an `out` that is the file itself.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}; it must end in .safetensors, the format that is written")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out is {file} itself; choose another name")
    load = stylegan.load if kind == "generator" else stylegan.load_discriminator
    network = load(file)
    out.parent.mkdir(parents=True, exist_ok=True)
    stylegan.save(network, out, half=half)
    network = load(out)
    print(out)
    about = _about_generator if kind == "generator" else _about_discriminator
    _print_rows(about(network))
    for other in files.kinds(file):
        if other != kind:
            print(f"{file} holds a {other} too: --network {other}")


def _about_generator(generator: Generator) -> dict:
    rows = {
        "kind": f"generator, {generator.config['architecture']}",
        "resolution": f"{generator.resolution} px, {generator.img_channels} channels",
        "latents": f"z {generator.z_dim}, w {generator.w_dim}, {generator.num_ws} style inputs",
        "labels": generator.c_dim or "none",
        "features": ", ".join(generator.feature_layers),
        "feature by default": generator.default_feature_layer(),
        "parameters": _parameters(generator),
        "fingerprint": generator.fingerprint,
    }
    if generator.config.get("w_avg_computed"):
        rows["mean w"] = "computed from 10,000 samples, for the original file holds none"
    return rows


def _discriminator_of(found: Checkpoint) -> str:
    if found.discriminator is not None:
        return f"there, {found.discriminator.config.architecture}"
    inside = "discriminator" in files.kinds(found.generator.path)
    return "in the file, of a kind that is not read" if inside else "none, here or beside it"


def _about_discriminator(network: Discriminator) -> dict:
    config = network.config
    return {
        "kind": f"discriminator, {config.architecture}",
        "resolution": f"{config.img_resolution} px, {config.img_channels} channels",
        "labels": config.c_dim or "none",
        "parameters": _parameters(network),
        "fingerprint": fingerprint(network.state_dict()),
    }


def _about_latents(latents: Latents) -> dict:
    return {
        "kind": f"latents of {len(latents)} images",
        "space": latents.space,
        "code": tuple(latents.code.shape),
        "feature": f"{latents.layer} {tuple(latents.feature.shape)}" if latents.layer else "none",
        "rgb skip": "none" if latents.rgb is None else f"kept {tuple(latents.rgb.shape)}",
        "noise": "constant" if latents.noise is None else f"{len(latents.noise)} maps of its own",
        "truncation": f"{latents.truncation} up to input {latents.cutoff or 'the last'}",
        "generator": latents.fingerprint,
    }


def _parameters(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def _print_rows(rows: dict) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
