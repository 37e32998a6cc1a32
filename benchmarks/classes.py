"""Codes of pictures of several classes: how far apart, and what mixing them draws.

"Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", sections 4 to 5.2: codes of
faces lie near one another, those of other classes do not; morphs within and between these fail, and
a crossover of layers keeps no structure but that of faces. Each class beside faces is one picture,
seen through several windows: real classes are wider than these.

Legend: N pictures, K classes, L style inputs, D numbers in w.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from PIL import Image
from torch import Tensor

from benchmarks import embeddings, faces, report, settling
from benchmarks.bench import Bench
from benchmarks.embeddings import RECIPE
from benchmarks.faces import Faces
from benchmarks.rows import MissingRow, Row, machines
from facsimile import Studio, data, metrics
from facsimile.editing import get, style_embedding
from facsimile.refine import Recipe
from facsimile.stylegan import Latents

FACE = "a face"
WINDOW = 0.8
"""Side of the windows in the corners, of that of the picture's middle square."""
FRAMES = 7


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Embed faces and windows of other pictures from the mean w, compare and mix their codes.

    Writes distances.md and distances.png (the heat map), morphs.png, crossovers.png, and styles.png
    (the late codes of style embeddings on every face).
    """

    count: int = 5
    steps: int = 5000
    style_steps: int = 1000
    batch: int = 8
    out: Path = Path("runs/classes")


def main(options: Options) -> None:
    bench = Bench.load(options)
    windows = windows_of(settling.named_pictures(), bench.generator.resolution)
    rows = [bench.run(RECIPE), embeddings.of_pictures(bench, windows).run(RECIPE)]
    styled, missing = styles(bench)
    if options.rows_only:
        return
    names = [*[FACE] * options.count, *windows.names]
    codes = Latents.concatenate([embeddings.latents(row) for row in rows])
    distances = pairwise(codes.to_w_plus(bench.generator))
    known = [*rows, *([] if styled is None else [styled])]
    text = "\n".join([*table(distances, names), "", machines(known), *missing])
    report.write_text(options.out / "distances.md", text + "\n")
    print(text)
    save_heat_map(options.out / "distances.png", distances, names)
    images = torch.cat([bench.faces.images, windows.images.to(bench.faces.images)])
    firsts = [names.index(name) for name in dict.fromkeys(names)]
    faces.save_picture(options.out / "morphs.png", morphs(bench, codes, names, firsts))
    faces.save_picture(options.out / "crossovers.png", crossovers(bench, codes, images, firsts))
    if styled is not None:
        sheet = styled_faces(bench, rows[0], embeddings.latents(styled))
        faces.save_picture(options.out / "styles.png", sheet)


def windows_of(pictures: Iterator[tuple[str, Image.Image]], side: int) -> Faces:
    """The middle square of every picture, and four windows in its corners."""
    names, squares = [], []
    for title, picture in pictures:
        whole = settling.middle_square(picture)
        size, rest = round(WINDOW * whole.width), whole.width - round(WINDOW * whole.width)
        corners = [(x, y) for y in (0, rest) for x in (0, rest)]
        views = [whole, *(whole.crop((x, y, x + size, y + size)) for x, y in corners)]
        names += [title] * len(views)
        squares += [data.to_tensor(data.fit_square(view, side)) for view in views]
    return Faces(names, torch.stack(squares))


def styles(bench: Bench) -> tuple[Row | None, list[str]]:
    """The style embeddings of the pictures beside faces, by the recipe of the edit of this name."""
    studio, options = bench.studio, bench.options
    network = metrics.build_style(studio.discriminator).to(options.device)
    networks = studio.networks | {"style": network}
    with_style = Studio(
        studio.generator, perceptual=studio.perceptual, networks=networks, name=studio.name
    )
    pictures = settling.pictures(bench.generator.resolution).to(options.device)
    bench = replace(bench, studio=with_style, faces=pictures)
    try:
        return bench.run(style_recipe(network), steps=options.style_steps, init="mean"), []
    except MissingRow as error:
        return None, [f"left out: {error}"]


def style_recipe(network: metrics.Perceptual) -> Recipe:
    """`facsimile edit style-embedding --paper`, as rows name their target."""
    recipe = style_embedding.recipe(style_embedding.style_weight({"style": network}), paper=True)
    (phase,) = recipe.phases
    terms = tuple(replace(term, target="target") for term in phase.terms)
    return replace(recipe, phases=(replace(phase, terms=terms),))


def pairwise(codes: Tensor) -> Tensor:
    """(N, N) |w_i - w_j| of codes (N, L, D), over the whole code."""
    flat = codes.flatten(1).cpu().double()
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


def table(distances: Tensor, names: Sequence[str]) -> list[str]:
    """Mean distances between two pictures of two classes, and whether faces are the nearest."""
    classes = list(dict.fromkeys(names))
    means = {(a, b): mean_between(distances, names, a, b) for a in classes for b in classes}
    lines = [(a, *(f"{means[a, b]:.1f}" for b in classes)) for a in classes]
    between = min(means[a, b] for a in classes for b in classes if a != b)
    within = means[FACE, FACE]
    outcome = "holds" if within < between else "FAILS"
    finding = f"{outcome}: faces are nearer to one another than any two classes"
    finding += f" ({within:.1f}, {between:.1f})"
    return [report.table(("", *classes), lines), "", finding]


def mean_between(distances: Tensor, names: Sequence[str], a: str, b: str) -> float:
    """Of the pairs of two different pictures; NaN without one."""
    is_a, is_b = (torch.tensor([name == x for name in names]) for x in (a, b))
    pairs = is_a[:, None] & is_b & ~torch.eye(len(names), dtype=torch.bool)
    return float(distances[pairs].mean())


def save_heat_map(path: Path, distances: Tensor, names: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(distances.numpy(), cmap="viridis")
    figure.colorbar(image, label="distance of two codes in W+")
    classes = list(dict.fromkeys(names))
    middles = [sum(i for i, x in enumerate(names) if x == c) / names.count(c) for c in classes]
    axes.set_xticks(middles, classes, rotation=30)
    axes.set_yticks(middles, classes)
    faces.save_figure(path, figure)


def morphs(
    bench: Bench, codes: Latents, names: Sequence[str], firsts: Sequence[int]
) -> dict[str, Tensor]:
    """Two faces, each class and a face, each class and the next: FRAMES each."""
    pairs = [(0, min(1, names.count(FACE) - 1)), *((0, i) for i in firsts[1:])]
    pairs += zip(firsts[1:], firsts[2:], strict=False)
    sheet = {}
    for a, b in pairs:
        frames = get("morph")(bench.generator, codes[a], codes[b], frames=FRAMES)
        sheet[f"{names[a]} to {names[b]}"] = bench.synthesize(frames)
    return sheet


def crossovers(
    bench: Bench, codes: Latents, images: Tensor, firsts: Sequence[int]
) -> dict[str, Tensor]:
    """Below, the first picture of each class with the late codes of every other one."""
    columns = firsts[: faces.SHOWN - 1]
    blank = torch.ones_like(images[:1])
    sheet = {"late codes of": torch.cat([blank, images[list(columns)]])}
    for number, content in enumerate(columns, 1):
        mixed = [get("style")(bench.generator, codes[content], codes[other]) for other in columns]
        drawn = bench.synthesize(Latents.concatenate(mixed))
        sheet[f"content {number}"] = torch.cat([images[content][None], drawn])
    return sheet


def styled_faces(bench: Bench, row: Row, styled: Latents) -> dict[str, Tensor]:
    """Every face with the late codes of every style embedding."""
    targets = settling.pictures(bench.generator.resolution).images.to(bench.faces.images)
    content = embeddings.latents(row)[: faces.SHOWN - 1]
    blank = torch.ones_like(targets[:1])
    sheet = {"": torch.cat([blank, bench.synthesize(content)])}
    for number, target in enumerate(targets):
        mixed = [get("style")(bench.generator, face, styled[number]) for face in each(content)]
        drawn = bench.synthesize(Latents.concatenate(mixed))
        sheet[f"style {number + 1}"] = torch.cat([target[None], drawn])
    return sheet


def each(latents: Latents) -> list[Latents]:
    return [latents[i] for i in range(len(latents))]


if __name__ == "__main__":
    main(tyro.cli(Options))
