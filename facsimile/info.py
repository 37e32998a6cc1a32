"""What is in a file, and a network of any format written as ours: `facsimile info | convert`."""

from dataclasses import asdict
from pathlib import Path

from torch import nn

from facsimile import checkpoints, encoders, stylegan
from facsimile.checkpoints import Checkpoint
from facsimile.encoders.files import Encoder
from facsimile.stylegan import Discriminator, Generator, Latents, files
from facsimile.stylegan.generator import fingerprint


def info(file: str) -> None:
    """Print what a file is: networks, or latents. Raises FileNotFoundError or ValueError."""
    path = Path(file)
    if (path / encoders.FILE).is_file():
        path = path / encoders.FILE
        file = str(path)
    try:
        found = checkpoints.find(file)
    except ValueError:
        # Perhaps something else; if not that either, the generator's complaint is the better one.
        try:
            rows = _about_other(path)
        except ValueError:
            checkpoints.find(file)
    else:
        beside = [kind for kind in found.encoders.kinds if found.encoders.has(kind)]
        rows = _about_generator(found.generator) | {
            "discriminator": _discriminator_of(found),
            "encoders": ", ".join(beside) or "none beside it",
        }
    _print_rows(rows)


def _about_other(path: Path) -> dict:
    """Of a file that holds no generator; ValueError where it is none of ours."""
    if files.kinds(path) == ("discriminator",):
        return _about_discriminator(stylegan.load_discriminator(path))
    try:
        return _about_encoder(encoders.read(path))
    except ValueError:
        return _about_latents(Latents.load(path))


def convert(file: Path, out: Path, kind: str, *, half: bool = False) -> None:
    """Write the network of a file, "generator", "discriminator" or "encoder", as .safetensors.

    Prints what was written. Raises FileNotFoundError, or ValueError for what is no such network,
    and for an `out` that is the file itself.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}; it must end in .safetensors, the format that is written")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out is {file} itself; choose another name")
    load, save, about = {
        "generator": (stylegan.load, stylegan.save, _about_generator),
        "discriminator": (stylegan.load_discriminator, stylegan.save, _about_discriminator),
        "encoder": (encoders.read, encoders.save, _about_encoder),
    }[kind]
    network = load(file)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(network, out, half=half)
    print(out)
    _print_rows(about(load(out)))
    for other in () if kind == "encoder" else files.kinds(file):
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


def _about_encoder(encoder: Encoder) -> dict:
    sizes = asdict(encoder.config)
    if sizes.get("eyes"):
        sizes["eyes"] = f"{sizes['eyes']['img_resolution']} px"
    return {
        "kind": f"encoder, {encoders.kind_of(encoder)}",
        "of the generator": encoder.config.fingerprint,
        "sizes": ", ".join(
            f"{name} {value}"
            for name, value in sizes.items()
            if name != "fingerprint" and value is not None
        ),
        "parameters": _parameters(encoder),
        "fingerprint": fingerprint(encoder.state_dict()),
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
