"""`facsimile convert`: write a network of any format as .safetensors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from facsimile import checkpoints, encoders, stylegan
from facsimile.exit_status import OK
from facsimile.stylegan import files

from .info import describe_discriminator, describe_encoder, describe_generator, print_rows
from .options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Convert(CommonOptions):
    """Write a network of any format as one self-describing .safetensors file.

    Reads the .pkl of NVIDIA (StyleGAN3, StyleGAN2-ADA and StyleGAN2 for PyTorch; StyleGAN2-ADA,
    StyleGAN2 and StyleGAN1 for TensorFlow), rosinality's .pt, genforce's and IDInvert's .pth, the
    generator inside pSp and e4e checkpoints, and .safetensors. Nothing in a file is executed.

    A generator: facsimile convert ffhq.pkl --out ffhq/generator.safetensors

    The bundled one at half the size: facsimile convert faces --half --out small.safetensors

    Its discriminator, for the perceptual term: facsimile convert ffhq.pkl --network discriminator
    --out ffhq/discriminator.safetensors

    A trained encoder, at half the size, to be found beside its generator: facsimile convert
    runs/feature/encoder.safetensors --network encoder --half --out ffhq/feature.safetensors
    """

    file: tyro.conf.Positional[Path]
    """The network's file, a folder with it (generator.safetensors, discriminator.safetensors,
    encoder.safetensors), or a bundled name."""
    out: Path
    """The .safetensors file to write."""
    network: Literal["generator", "discriminator", "encoder"] = "generator"
    """Which network of the file."""
    half: bool = False
    """Store float16: half the size, and images that differ a little. A generator is then another
    one, with a fingerprint of its own: latents of the original are refused."""

    def run(self) -> int:
        convert(self.file, self.out, self.network, half=self.half)
        return OK


def convert(file: Path, out: Path, network: str, *, half: bool = False) -> None:
    """Write the network of a file, "generator", "discriminator" or "encoder", as .safetensors.

    Prints what was written. Raises FileNotFoundError, and ValueError for a file without such a
    network, or if `out` is the file itself.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}; it must end in .safetensors, the format that is written")
    file = _file_in(file, network)
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out is {file} itself; choose another name")
    functions: dict[str, tuple[Callable, Callable, Callable]] = {
        "generator": (stylegan.load, stylegan.save, describe_generator),
        "discriminator": (stylegan.load_discriminator, stylegan.save, describe_discriminator),
        "encoder": (encoders.read, encoders.save, describe_encoder),
    }
    load, save, describe = functions[network]
    module = load(file)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(module, out, half=half)
    print(out)
    print_rows(describe(load(out)))
    for other in () if network == "encoder" else files.kinds(file):
        if other != network:
            print(f"{file} holds a {other} too: --network {other}")


def _file_in(path: Path, network: str) -> Path:
    """The network's file: `path`, or the one in that folder or of that bundled name."""
    folder = checkpoints.BUNDLED / path if str(path) in checkpoints.names() else path
    if not folder.is_dir():
        return path
    files_of = {"generator": checkpoints.GENERATOR, "discriminator": checkpoints.DISCRIMINATOR}
    name = files_of.get(network, encoders.FILE)
    if not (folder / name).is_file():
        there = sorted(file.name for file in folder.glob("*.safetensors"))
        raise FileNotFoundError(
            f"{path} has no {name}; name one of the files in it: {', '.join(there) or 'none'}"
        )
    return folder / name
