"""The command line: `facsimile invert | align | landmarks | reenact | prepare-data | info | ..`.

Exit status: 0 all done, 1 some photo failed (the others are done), 2 wrong use, 130 after Ctrl-C.
"""

import sys
from collections.abc import Iterator
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from facsimile import checkpoints, data
from facsimile.stylegan.randomness import keyed_generator

from . import info, pictures
from . import studio as studios
from .commands import Align, Convert, Demo, Info, Invert, PrepareData, Sample
from .demo import demo
from .inputs import free_name, keys, photos_for
from .jobs import Job, Options
from .landmarks import FindLandmarks, find_landmarks
from .prepare import prepare, work_folder
from .reenact_command import Reenact, reenact
from .summary import mean_scores

OK, SOME_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


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
        | Annotated[Reenact, tyro.conf.subcommand("reenact")]
        | Annotated[Demo, tyro.conf.subcommand("demo")],
        prog="facsimile",
        description="StyleGAN inversion: find the latents that redraw a photo, and edit it there.",
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    run = {Invert: invert, Align: align, PrepareData: prepare_data, Sample: sample, Demo: _demo}
    run |= {Info: _info, Convert: _convert, FindLandmarks: find_landmarks, Reenact: reenact}
    malloc.keep()
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
    photos = photos_for(command.photos, command.out)
    if command.batch < 1:
        raise ValueError(f"--batch is {command.batch}; it must be at least 1")
    if command.lr <= 0:
        raise ValueError(f"--lr is {command.lr}; it must be above 0")
    if command.steps is not None and command.steps < 0:
        raise ValueError(f"--steps is {command.steps}; it must be 0 or more")
    perceptual = command.perceptual
    if perceptual == "auto" and command.steps == 0:
        perceptual = "none"  # to judge a guess would take longer than to make it
    studio = studios.load(
        command.generator,
        perceptual=perceptual,
        perceptual_weights=command.perceptual_weights,
        encoders=command.encoder,
        device=command.device,
    )
    recipe = studio.recipe(command.recipe, command.steps)
    if command.lr != 1:
        recipe = recipe.with_lr(command.lr)
    if command.patience is not None:
        recipe = recipe.with_patience(command.patience)
    if command.layer is not None:
        studio.generator.first_ws_index(
            command.layer
        )  # says which layers there are, if not this one
        recipe = recipe.with_layer(command.layer)
    if studio.perceptual is not None:
        print(studio.perceptual.note)
    print(studio.start(recipe, command.start).note)
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
    photos = photos_for(command.photos, command.out)
    detector = data.FaceDetector(studios.pick_device(command.device))
    command.out.mkdir(parents=True, exist_ok=True)
    failed, taken = 0, keys(photos)
    for photo in photos:
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
            path = command.out / f"{free_name(stem, command.out, taken)}.png"
            aligned.image.save(path)
            print(path)
    return SOME_FAILED if failed else OK


def prepare_data(command: PrepareData) -> int:
    for name in ("resolution", "processes"):
        if getattr(command, name) < 1:
            raise ValueError(f"--{name} is {getattr(command, name)}; it must be at least 1")
    done = prepare(
        photos_for(command.photos, work_folder(command.out)),
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
    images = _samples(command)
    if command.out.suffix:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        drawn = list(images)
        rows = [drawn[i : i + 8] for i in range(0, len(drawn), 8)]
        pictures.sheet(rows, smallest=1).save(command.out)
    else:
        command.out.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(tqdm(images, total=command.count, unit="sample")):
            pictures.save(data.to_pil(image.clamp(-1, 1)), command.out / f"{index:06d}.png")
    print(command.out)
    return OK


@torch.no_grad()
def _samples(command: Sample) -> Iterator[torch.Tensor]:
    """Images (C, R, R), one after another."""
    generator = checkpoints.find(command.generator, studios.pick_device(command.device)).generator
    for index in range(command.count):
        rng = keyed_generator("cpu", command.seed, "sample", index)
        z = torch.randn(1, generator.z_dim, generator=rng).to(generator.device)
        c = None
        if generator.c_dim:
            c = torch.zeros(1, generator.c_dim, device=generator.device)
            c[0, torch.randint(generator.c_dim, (), generator=rng)] = 1
        yield generator.synthesize(generator.map(z, c, command.truncation))[0].cpu()


def _demo(command: Demo) -> int:
    return demo(command.out)


def _info(command: Info) -> int:
    info.info(command.file)
    return OK


def _convert(command: Convert) -> int:
    info.convert(command.file, command.out, command.network, half=command.half)
    return OK


if __name__ == "__main__":
    main()
