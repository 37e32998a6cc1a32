"""How an embedding stands moved, turned and damaged faces, and being embedded again.

"Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?": Table 1 (affine transforms),
Table 3 (parts painted out), section 5.4 (iterative embedding). Lengths are shares of the side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from PIL import Image, ImageDraw

from benchmarks import embeddings, faces, report
from benchmarks.bench import Bench
from benchmarks.embeddings import RECIPE
from benchmarks.faces import Faces
from benchmarks.rows import Row, collect, machines

Change = Callable[[Image.Image], Image.Image]

CONTROL = "as it is"
ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Embed faces that are moved, turned, scaled and damaged, each beside itself, and embed a
    picture of the result again and again.

    Writes transforms.md, defects.md and rounds.md, with pictures of the same names.
    """

    count: int = 8
    steps: int = 5000
    batch: int = 8
    rounds: int = ROUNDS
    """Of iterative embedding."""
    out: Path = Path("runs/damage")
    studies: tuple[str, ...] = ("transforms", "defects", "rounds")


def shift(picture: Image.Image, share: float) -> Image.Image:
    """To the right by a share of the side, black behind it."""
    moved = Image.new(picture.mode, picture.size)
    moved.paste(picture, (round(share * picture.width), 0))
    return moved


def zoom_out(picture: Image.Image) -> Image.Image:
    """Half as large, in the middle of black."""
    width, height = picture.size
    canvas = Image.new(picture.mode, picture.size)
    small = picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    canvas.paste(small, (width // 4, height // 4))
    return canvas


def zoom_in(picture: Image.Image) -> Image.Image:
    """The middle, twice as large."""
    width, height = picture.size
    middle = picture.crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    return middle.resize(picture.size, Image.Resampling.LANCZOS)


def paint_out(picture: Image.Image, parts: tuple[str, ...]) -> Image.Image:
    """Parts of an aligned face under black boxes."""
    damaged = picture.copy()
    for part in parts:
        left, top, right, bottom = (round(x * picture.width) for x in PARTS_OF_A_FACE[part])
        ImageDraw.Draw(damaged).rectangle((left, top, right - 1, bottom - 1), fill=0)
    return damaged


PARTS_OF_A_FACE = {
    "eyes": (0.2, 0.4, 0.8, 0.55),
    "nose": (0.39, 0.5, 0.61, 0.68),
    "mouth": (0.32, 0.68, 0.68, 0.82),
}
"""Left, top, right and bottom in sides of FFHQ's crop."""
TRANSFORMS: dict[str, Change] = {
    "140 of 1024 to the right": partial(shift, share=140 / 1024),
    "160 of 1024 to the left": partial(shift, share=-160 / 1024),
    "half as large": zoom_out,
    "twice as large": zoom_in,
    "by 90 degrees": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "by 180 degrees": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
}
DEFECTS: dict[str, Change] = {
    " and ".join(parts): partial(paint_out, parts=parts)
    for parts in (
        ("eyes",),
        ("nose",),
        ("mouth",),
        ("eyes", "mouth"),
        ("eyes", "nose", "mouth"),
    )
}
PAPER = {
    "140 of 1024 to the right": (0.782, 48.56),
    "160 of 1024 to the left": (0.406, 44.12),
    "half as large": (0.225, 38.04),
    "twice as large": (0.718, 40.55),
    "by 90 degrees": (0.622, 47.21),
    "by 180 degrees": (0.599, 42.93),
    CONTROL: (0.204, 29.19),
    "eyes": (0.271, 34.90),
    "nose": (0.311, 39.20),
    "mouth": (0.301, 37.04),
    "eyes and mouth": (0.233, 39.62),
    "eyes and nose and mouth": (0.285, 37.59),
}
"""Loss in 1e5, and distance of the code to the mean w."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    for study in options.studies:
        if study == "rounds":
            show_rounds(bench, options)
        else:
            show(bench, study, TRANSFORMS if study == "transforms" else DEFECTS)


def show(bench: Bench, study: str, changes: dict[str, Change]) -> None:
    """A table and a picture of faces under each change, with the faces as they are."""
    options = bench.options
    benches = {CONTROL: bench} | {
        name: embeddings.of_pictures(bench, embeddings.changed(bench.faces, change))
        for name, change in changes.items()
    }
    rows, missing = collect({name: partial(b.run, RECIPE) for name, b in benches.items()})
    if options.rows_only:
        return
    lines = [*table(bench, rows), "", machines([*rows.values()]), *missing]
    text = "\n".join(lines)
    report.write_text(options.out / f"{study}.md", text + "\n")
    print(f"{text}\n")
    sheet = {}
    for name, row in rows.items():
        sheet[name] = benches[name].faces.images
        sheet[f"{name}: embedded"] = bench.synthesize(row.latents)
    faces.save_picture(options.out / f"{study}.png", sheet)


def table(bench: Bench, rows: dict[str, Row]) -> list[str]:
    """The table, and whether every changed face lies farther from the mean w than its control."""
    distances = {name: embeddings.distance_to_mean(bench, row) for name, row in rows.items()}
    lines, findings = [], []
    for name, row in rows.items():
        numbers = (f"{embeddings.loss(row):.4f}", f"{row.mean['psnr']:.2f}")
        paper = [f"{x:g}" for x in PAPER[name]]
        farther = ""
        if name != CONTROL and CONTROL in rows:
            count, of = int((distances[name] > distances[CONTROL]).sum()), len(distances[name])
            farther = f"{count} of {of}"
            outcome = "holds" if count == of else "FAILS"
            findings.append(f"{outcome}: {name}: farther than the face as it is, {farther}")
        lines.append((name, *numbers, f"{float(distances[name].mean()):.1f}", farther, *paper))
    head = ("", "loss", "PSNR", "distance", "farther", "paper's loss, 1e5", "its distance")
    return [report.table(head, lines), "", *findings]


@dataclass(frozen=True)
class Output(Faces):
    """What an embedding drew, to be embedded in turn.

    Devices differ in its last bits. That must not make it another row, so it goes by its origin.
    """

    origin: str

    @property
    def fingerprint(self) -> str:
        return self.origin

    def to(self, device: str) -> "Output":
        return Output(self.names, self.images.to(device), self.origin)


def show_rounds(bench: Bench, options: Options) -> None:
    """Embed, take the output as the input, and embed again; against round 1 and the photo."""
    photos = bench.faces
    rows, missing = [], []
    sheet, current = {"target": photos.images}, bench
    for number in range(1, options.rounds + 1):
        done, missing = collect({number: partial(current.run, RECIPE)})
        if missing:
            break
        rows.append(done[number])
        drawn = bench.synthesize(done[number].latents)
        sheet[f"round {number}"] = drawn
        pixels = (drawn * 127.5).round() / 127.5
        output = Output(photos.names, pixels, f"{photos.fingerprint}, after {number}")
        current = embeddings.of_pictures(bench, output)
    if options.rows_only:
        return
    text = "\n".join([table_of_rounds(bench, sheet, rows), "", machines(rows), *missing])
    report.write_text(options.out / "rounds.md", text + "\n")
    print(f"{text}\n")
    faces.save_picture(options.out / "rounds.png", sheet)


def table_of_rounds(bench: Bench, sheet: dict, rows: list[Row]) -> str:
    """Scores of every round to its own input, and to the photo."""
    lines, photos, seen = [], bench.faces.images, bench.studio.perceptual
    for row, (name, drawn) in zip(rows, [*sheet.items()][1:], strict=True):
        far = "" if seen is None else f"{float(seen(drawn, photos).mean()):.4f}"
        input_psnr, whole = row.mean["psnr"], embeddings.psnr(drawn, photos)
        distance = float(embeddings.distance_to_mean(bench, row).mean())
        lines.append((name, f"{input_psnr:.2f}", f"{whole:.2f}", far, f"{distance:.1f}"))
    return report.table(
        ("", "PSNR to its input", "PSNR to the photo", "distance to the photo", "to the mean w"),
        lines,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
