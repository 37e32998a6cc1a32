"""`facsimile convert`: networks of any format as .safetensors, and latents to and from others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from facsimile import checkpoints, encoders, stylegan
from facsimile.exit_status import OK
from facsimile.stylegan import files
from facsimile.stylegan.foreign_codes import is_latents_file, read_latents

from .info import (
    describe_codes,
    describe_discriminator,
    describe_encoder,
    describe_generator,
    describe_latents,
    print_rows,
)
from .options import CommonOptions

Form = Literal["safetensors", "npz", "pt", "npy"]


@dataclass(frozen=True, kw_only=True)
class Convert(CommonOptions):
    """Write a network of any format as one self-describing .safetensors file; or latents as the
    codes of other programs, and back.

    Reads the .pkl of NVIDIA (StyleGAN3, StyleGAN2-ADA and StyleGAN2 for PyTorch; StyleGAN2-ADA,
    StyleGAN2 and StyleGAN1 for TensorFlow), state dicts with NVIDIA's names, rosinality's .pt,
    genforce's and IDInvert's .pth, the generator inside pSp and e4e checkpoints, and .safetensors;
    each also with the prefixes of DataParallel, Lightning and torch.compile. Nothing in a file is
    executed.

    A generator: facsimile convert ffhq.pkl --out ffhq/generator.safetensors

    The bundled one at half the size: facsimile convert faces --half --out small.safetensors

    Its discriminator, for the perceptual term: facsimile convert ffhq.pkl --network discriminator
    --out ffhq/discriminator.safetensors

    A trained encoder, at half the size, to be found beside its generator: facsimile convert
    runs/feature/encoder.safetensors --network encoder --half --out ffhq/feature.safetensors

    Latents from NVIDIA's projector, e4e, pSp, PTI or rosinality's projector: facsimile convert
    projected_w.npz --out latents.safetensors --generator ffhq.pkl

    Latents for them: facsimile convert out/me/latents.safetensors --to npz --out me.npz
    """

    file: tyro.conf.Positional[Path]
    """The network's file, a folder with it (generator.safetensors, discriminator.safetensors,
    encoder.safetensors), or a bundled name; or a file of latents or codes."""
    out: Path
    """The file to write."""
    to: Annotated[Form | None, tyro.conf.arg(metavar="{safetensors,npz,pt,npy}")] = None
    """Its format. Default: as it is called. npz, pt and npy are for latents: W+ of NVIDIA's
    projector, of e4e, and as a plain array."""
    generator: str = "faces"
    """For latents: the generator with which they were made."""
    network: Literal["generator", "discriminator", "encoder"] = "generator"
    """Which network of the file."""
    half: bool = False
    """Store float16: half the size, and images that differ a little. A generator is then another
    one, with a fingerprint of its own: latents of the original are refused."""

    def run(self) -> int:
        form = self.to or self.out.suffix.removeprefix(".")
        if self.to in files.codes.FORMATS or holds_codes(self.file):
            convert_codes(self.file, self.out, form, self.generator)
        else:
            convert(self.file, self.out, self.network, half=self.half)
        return OK


def holds_codes(path: Path) -> bool:
    """Whether a file holds latents, or the codes of another program."""
    if not path.is_file() or is_latents_file(path):
        return path.is_file()
    try:
        files.codes.read(path)
    except ValueError:
        return False
    return True


def convert_codes(file: Path, out: Path, form: str, generator: str) -> None:
    """Write latents of a generator as "npz", "pt" or "npy", or another program's codes in any form.

    Prints what was written, and what of the latents has no place there. Raises FileNotFoundError,
    and ValueError for a file without latents, or with those of another generator.
    """
    if out.suffix != f".{form}" or form not in get_args(Form):
        expected = f".{form}" if form in get_args(Form) else ", .".join(("", *get_args(Form)))[2:]
        raise ValueError(f"--out is {out}; it must end in {expected}, the format that is written")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out is {file} itself; choose another name")
    network = checkpoints.find(generator).generator
    try:
        latents = read_latents(file, network)
    except ValueError as error:
        raise ValueError(f"{error} (--generator is {generator})") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    if form == "safetensors":
        latents.save(out)
        rows = describe_latents(latents)
    else:
        files.codes.write(out, latents.to_w_plus(network), form, network.fingerprint)
        rows = describe_codes(files.codes.read(out))
    print(out)
    print_rows(rows)
    lost = [
        name for name in ("feature", "noise", "placement") if getattr(latents, name) is not None
    ]
    if lost and form != "safetensors":
        print(f"other programs have no place for the {' and the '.join(lost)} of {file}: left out")


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
