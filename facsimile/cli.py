"""The command line: `facsimile invert | align | landmarks | prepare-data | info | convert | ..`.

Exit status: 0 all done, 1 some photo failed (the others are done), 2 wrong use, 130 after Ctrl-C.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

import checkpoints
import data
from metrics import PERCEPTUALS
from stylegan.randomness import source

from . import about, pictures
from . import studio as studios
from .demo import demo
from .jobs import Job, Options, mean_scores
from .landmarks import FindLandmarks, find_landmarks
from .prepare import prepare

OK, SOME_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class Invert:
    """Find the latents that redraw photos.

    Writes for every photo OUT/NAME/ with target.png, reconstruction.png, comparison.png, loss.png,
    latents.safetensors and scores.json, and for the run OUT/overview.png and OUT/summary.json.
    Run the same command again to go on after a stop: what is done is skipped.

    One photo: facsimile invert me.jpg --out out

    A folder, nearly exactly: facsimile invert holiday/ --out out --recipe "w+ +noise"

    Aligned faces, another generator: facsimile invert aligned/ --out out --no-align --generator
    my-generator.safetensors
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the results."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    recipe: str = "f/z+"
    """What moves: z, z+, w, w+, p_n+, s, f/w+, f/p_n+, f/s, f/z, f/z+; the noise maps follow with
    "w+ +noise"."""
    steps: int | None = None
    """Steps of the code; those of the noise go in proportion. Default: the recipe's own."""
    seed: int = 0
    """Of random starts (the Z spaces)."""
    batch: int = 8
    """Photos refined at once. It changes the time, and the result by no more than rounding."""
    perceptual: Literal[PERCEPTUALS] = "auto"
    """Perceptual term. auto: LPIPS-VGG where its weights are or can be fetched, else the
    generator's own discriminator."""
    perceptual_weights: Path | None = None
    """Local file of the perceptual network's ImageNet weights (torchvision's names)."""
    start: Literal["mean", "random"] | None = None
    """Where the code starts. Default: random in Z spaces, else the mean."""
    label: int | None = None
    """Class, from 0 on, that a conditional generator is to draw."""
    layer: str | None = None
    """Convolution whose output is the feature of f/ recipes, e.g. b16.conv0."""
    lr: float = 1.0
    """Factor of the papers' learning rates. About 3 gets further in a few hundred steps."""
    patience: int | None = None
    """Stop an image early when its loss has not fallen by 0.1 % in so many steps."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class Align:
    """Find the faces in photos and crop them as FFHQ does.

    Writes OUT/NAME.png; with --face all the further faces are NAME-face2.png and so on.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the crops."""
    size: int = 1024
    """Side of the crops in pixels."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class PrepareData:
    """Make a training set for train.py out of photos: a zip of aligned faces.

    Photos without a face are listed and left out. Run the same command again to go on after a stop,
    or with more photos to add them.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """The zip to write."""
    resolution: int
    """Side of the faces in pixels."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    processes: int = os.cpu_count() or 1
    """Photos at a time."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a file of networks or of latents is.

    It opens what convert opens, and runs nothing that is in a file.
    """

    file: tyro.conf.Positional[str]
    """A file, a folder with generator.safetensors, or a bundled name."""


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a network of any format as one .safetensors file, which says what it holds.

    Reads the .pkl of NVIDIA (StyleGAN3, StyleGAN2-ADA and StyleGAN2 for PyTorch; StyleGAN2-ADA,
    StyleGAN2 and StyleGAN1 for TensorFlow), rosinality's .pt, genforce's and IDInvert's .pth, the
    generator inside pSp and e4e checkpoints, and .safetensors. Nothing in a file is executed.

    A generator: facsimile convert ffhq.pkl --out ffhq/generator.safetensors

    Its discriminator, for the perceptual term: facsimile convert ffhq.pkl --network discriminator
    --out ffhq/discriminator.safetensors
    """

    file: tyro.conf.Positional[Path]
    """The network's file."""
    out: Path
    """The .safetensors file to write."""
    network: Literal["generator", "discriminator"] = "generator"
    """Which network of the file."""
    half: bool = False
    """Store float16: half the size, and images that differ a little. It is another generator, with
    a fingerprint of its own: latents of the original are refused."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw samples of a generator as one sheet."""

    out: Path
    """The picture to write."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    count: int = 48
    """Samples, eight to a row."""
    truncation: float = 0.7
    """psi: 1 is the generator's whole variety, 0 its average image."""
    seed: int = 0
    """Sample i of a seed is the same in any count."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Invert the face of scikit-image's astronaut photo, in F/Z+ and in W+ then noise."""

    out: Path = Path("out/demo")
    """Folder for the results."""


def main(args: list[str] | None = None) -> None:
    """Entry point of `facsimile`; leaves with the exit status."""
    command = tyro.cli(
        Annotated[Invert, tyro.conf.subcommand("invert")]
        | Annotated[Align, tyro.conf.subcommand("align")]
        | Annotated[PrepareData, tyro.conf.subcommand("prepare-data")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Convert, tyro.conf.subcommand("convert")]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
        | Annotated[FindLandmarks, tyro.conf.subcommand("landmarks")]
        | Annotated[Demo, tyro.conf.subcommand("demo")],
        prog="facsimile",
        description="StyleGAN inversion: find the latents that redraw a photo, and edit it there.",
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    run = {Invert: invert, Align: align, PrepareData: prepare_data, Sample: sample, Demo: _demo}
    run |= {Info: _info, Convert: _convert, FindLandmarks: find_landmarks}
    try:
        sys.exit(run[type(command)](command))
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        print(f"facsimile: {error}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except torch.OutOfMemoryError:
        print(
            "facsimile: out of memory; choose a smaller --batch, or --device cpu", file=sys.stderr
        )
        sys.exit(WRONG_USE)


def invert(command: Invert) -> int:
    photos = _photos(command.photos)
    if command.batch < 1:
        raise ValueError(f"--batch is {command.batch}; it must be at least 1")
    if command.lr <= 0:
        raise ValueError(f"--lr is {command.lr}; it must be above 0")
    if command.steps is not None and command.steps < 0:
        raise ValueError(f"--steps is {command.steps}; it must be 0 or more")
    studio = studios.load(
        command.generator,
        perceptual=command.perceptual,
        perceptual_weights=command.perceptual_weights,
        device=command.device,
    )
    recipe = studio.recipe(command.recipe, command.steps)
    if command.lr != 1:
        recipe = recipe.with_lr(command.lr)
    if command.patience is not None:
        recipe = recipe.with_patience(command.patience)
    if command.layer is not None:
        studio.generator.first_input(command.layer)  # says which layers there are, if not this one
        recipe = recipe.with_layer(command.layer)
    if studio.perceptual is not None:
        print(studio.perceptual.note)
    options = Options(
        recipe=recipe,
        seed=command.seed,
        batch=command.batch,
        start=command.start,
        label=command.label,
        align=command.align,
        face=command.face,
    )
    job = Job(studio, photos, command.out, options)
    job.run()
    return _report(job)


def _report(job: Job) -> int:
    means = mean_scores(job.records())
    if means:
        print("  ".join(f"{name} {value:.4g}" for name, value in means.items()))
    kept = f", {len(job.skipped)} done before" if job.skipped else ""
    print(f"{len(job.done)} inverted{kept}, {len(job.failed)} failed: {job.out / 'overview.png'}")
    for reason in job.failed.values():
        print(f"  {reason}", file=sys.stderr)
    return SOME_FAILED if job.failed else OK


def align(command: Align) -> int:
    detector = data.FaceDetector(studios.pick_device(command.device))
    command.out.mkdir(parents=True, exist_ok=True)
    failed, taken = 0, set()
    for photo in _photos(command.photos):
        try:
            faces = data.align_faces(
                data.read_photo(photo), command.size, detector, which=command.face
            )
        except (data.PhotoError, OSError) as error:
            print(f"failed: {error}" if str(photo) in str(error) else f"failed: {photo}: {error}")
            failed += 1
            continue
        for index, aligned in enumerate(faces):
            stem = photo.stem if index == 0 else f"{photo.stem}-face{index + 1}"
            name, number = stem, 2
            while name in taken:
                name, number = f"{stem}-{number}", number + 1
            taken.add(name)
            path = command.out / f"{name}.png"
            aligned.image.save(path)
            print(path)
    return SOME_FAILED if failed else OK


def prepare_data(command: PrepareData) -> int:
    for name in ("resolution", "processes"):
        if getattr(command, name) < 1:
            raise ValueError(f"--{name} is {getattr(command, name)}; it must be at least 1")
    done = prepare(
        _photos(command.photos),
        command.out,
        command.resolution,
        align=command.align,
        face=command.face,
        processes=command.processes,
    )
    kept = f", {done.kept} photos done before" if done.kept else ""
    print(f"{done.faces} faces{kept}, {len(done.failed)} photos failed: {command.out}")
    for reason in done.failed:
        print(f"  {reason}", file=sys.stderr)
    return SOME_FAILED if done.failed else OK


def sample(command: Sample) -> int:
    if command.count < 1:
        raise ValueError(f"--count is {command.count}; it must be at least 1")
    generator = checkpoints.find(command.generator, studios.pick_device(command.device)).generator
    images = []
    for index in range(command.count):
        rng = source("cpu", command.seed, "sample", index)
        z = torch.randn(1, generator.z_dim, generator=rng).to(generator.device)
        c = None
        if generator.c_dim:
            c = torch.zeros(1, generator.c_dim, device=generator.device)
            c[0, torch.randint(generator.c_dim, (), generator=rng)] = 1
        with torch.no_grad():
            images.append(generator.synthesize(generator.map(z, c, command.truncation))[0].cpu())
    rows = [images[i : i + 8] for i in range(0, len(images), 8)]
    command.out.parent.mkdir(parents=True, exist_ok=True)
    pictures.sheet(rows, smallest=1).save(command.out)
    print(command.out)
    return OK


def _demo(command: Demo) -> int:
    return demo(command.out)


def _info(command: Info) -> int:
    about.info(command.file)
    return OK


def _convert(command: Convert) -> int:
    about.convert(command.file, command.out, command.network, half=command.half)
    return OK


def _photos(paths: list[Path]) -> list[Path]:
    if not paths:
        raise ValueError("no photo was named; give photos or folders of photos")
    photos = data.find_photos(paths)
    if not photos:
        raise ValueError(
            f"no photo found in {', '.join(map(str, paths))}; expected photos or folders of photos"
        )
    return photos


if __name__ == "__main__":
    main()
