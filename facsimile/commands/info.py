"""`facsimile info`: what a file of networks, of latents or of another program's codes is."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from torch import nn

from facsimile import checkpoints, encoders, stylegan
from facsimile.checkpoints import Networks
from facsimile.exit_status import OK
from facsimile.stylegan import Discriminator, Generator, Latents, files
from facsimile.stylegan.files.codes import Codes
from facsimile.stylegan.generator import fingerprint

from .options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Info(CommonOptions):
    """Describe a file of networks, of latents, or of another program's latent codes.

    It opens whatever convert opens, and executes nothing that is in a file.
    """

    file: tyro.conf.Positional[str]
    """A file, a folder with generator.safetensors, or a bundled name."""

    def run(self) -> int:
        print_rows(describe(self.file))
        return OK


def describe(file: str) -> dict:
    """What a file is, networks, latents or codes, as rows of name and value.

    Raises FileNotFoundError or ValueError.
    """
    path = Path(file)
    if (path / encoders.FILE).is_file():
        path = path / encoders.FILE
        file = str(path)
    try:
        checkpoint = checkpoints.find(file)
    except ValueError as error:
        try:
            return _describe_other(path)
        except ValueError:
            # The message about the generator is the more helpful one.
            raise error from None
    beside = [kind for kind in checkpoint.encoders.kinds if checkpoint.encoders.has(kind)]
    return describe_generator(checkpoint.generator) | {
        "discriminator": _describe_its_discriminator(checkpoint),
        "encoders": ", ".join(beside) or "none beside it",
    }


def _describe_other(path: Path) -> dict:
    """Rows for a file without a generator; ValueError for any other file."""
    kinds: tuple[Callable[[], dict], ...] = (
        lambda: describe_discriminator(stylegan.load_discriminator(path)),
        lambda: describe_encoder(encoders.read(path)),
        lambda: describe_latents(Latents.load(path)),
        lambda: describe_codes(files.codes.read(path)),
    )
    for rows in kinds:
        try:
            return rows()
        except ValueError:
            continue
    raise ValueError(f"{path} holds nothing that is known")


def describe_generator(generator: Generator) -> dict:
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
        rows["mean w"] = "computed from 10,000 samples, as the original file has none"
    return rows


def _describe_its_discriminator(checkpoint: Networks) -> str:
    if checkpoint.discriminator is not None:
        return f"present, {checkpoint.discriminator.config.architecture}"
    path = checkpoint.generator.path
    inside = path is not None and "discriminator" in files.kinds(path)
    return "in the file, but not supported" if inside else "none in the file or beside it"


def describe_discriminator(network: Discriminator) -> dict:
    config = network.config
    return {
        "kind": f"discriminator, {config.architecture}",
        "resolution": f"{config.img_resolution} px, {config.img_channels} channels",
        "labels": config.c_dim or "none",
        "parameters": _parameters(network),
        "fingerprint": fingerprint(network.state_dict()),
    }


def describe_encoder(encoder: nn.Module) -> dict:
    config: Any = encoder.config
    sizes = asdict(config)
    for name, value in sizes.items():
        if isinstance(value, dict):
            sizes[name] = _describe_part(value)
    return {
        "kind": f"encoder, {encoders.kind_of(encoder).name}",
        "of the generator": config.fingerprint,
        "sizes": ", ".join(
            f"{name} {value}"
            for name, value in sizes.items()
            if name != "fingerprint" and value is not None
        ),
        "parameters": _parameters(encoder),
        "fingerprint": fingerprint(encoder.state_dict()),
    }


def _describe_part(config: dict) -> str:
    """The configuration of a part of an encoder; a discriminator's has more than one line holds."""
    if "img_resolution" in config:
        return f"{config['img_resolution']} px"
    return f"({', '.join(f'{name} {value}' for name, value in config.items())})"


def describe_latents(latents: Latents) -> dict:
    return {
        "kind": f"latents of {len(latents)} image{'s' * (len(latents) != 1)}",
        "space": latents.space,
        "code": tuple(latents.code.shape),
        "feature": "none"
        if latents.feature is None
        else f"{latents.layer} {tuple(latents.feature.shape)}",
        "rgb skip": "none" if latents.rgb is None else f"{tuple(latents.rgb.shape)}",
        "noise": "constant" if latents.noise is None else f"{len(latents.noise)} maps",
        "truncation": _describe_truncation(latents),
        "generator": latents.fingerprint,
    }


def describe_codes(codes: Codes) -> dict:
    """Rows for latent codes of another program. Without the generator their space is read off."""
    *outer, w_dim = codes.values.shape
    count = outer[0] if outer else 1
    images = f"{count} image{'s' * (count != 1)}"
    space = f"w of {images}"
    if len(outer) == 2:
        space = f"w+ of {images}, {outer[1]} style inputs"
    elif count > 1:
        space += f"; w+ of 1 image for a generator of {count} style inputs"
    return {
        "kind": f"latent codes of another program: {codes.program}",
        "space": space,
        "code": tuple(codes.values.shape),
        "numbers in a w": w_dim,
        "generator": codes.fingerprint or "not named in the file",
        "to start from them": "facsimile invert PHOTO --init FILE --recipe w+",
        "as our latents": "facsimile convert FILE --out latents.safetensors",
    }


def _describe_truncation(latents: Latents) -> str:
    if latents.truncation_psi == 1:
        return "none"
    cutoff = latents.truncation_cutoff
    inputs = "all style inputs" if cutoff is None else f"the first {cutoff} style inputs"
    return f"psi {latents.truncation_psi} on {inputs}"


def _parameters(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def print_rows(rows: dict) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
