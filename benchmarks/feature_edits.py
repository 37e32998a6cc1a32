"""How far edits of latents with a feature go, and whether the person stays.

The measure of an edit is what it does to the code of W+ alone: the in-domain encoder's, edited the
same way. Compared are features that stay, features to which the change is added, and features
that the feature editor changes.

Legend: N faces, R side of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.judges import IdentityJudge, LandmarkJudge, identity_judge, landmark_judge
from facsimile import editing
from facsimile.editing.feature_transport import FeatureTransport
from facsimile.feature_edits import find_transport
from facsimile.metrics import Perceptual
from facsimile.stylegan import Latents

IN_DOMAIN, STAYS, ADDED, EDITOR = (
    "in-domain code",
    "feature stays",
    "change added",
    "feature editor",
)


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Edit faces along principal components of w, both ways, with and without the feature editor.

    Needs a feature encoder, an in-domain encoder and a feature editor. Writes edits.md and, for the
    first component, edits.png.
    """

    count: int = 24
    steps: int = 0
    """Steps that refine the latents in F/Z+ before they are edited."""
    directions: int = 6
    """Principal components."""
    strength: float = 2.0
    """In standard deviations of samples."""
    batch: int = 8
    out: Path = Path("runs/feature-edits")
    identity: Path | None = None
    """The judge of identity and landmarks, see benchmarks.judges."""


@dataclass(frozen=True)
class Pictures:
    """The faces before and after an edit, (N, 3, R, R) both."""

    before: Tensor
    after: Tensor


def main(options: Options) -> None:
    bench = Bench.load(options)
    text = report.table(("", *COLUMNS), compare(bench, options))
    (options.out / "edits.md").write_text(text + "\n")
    print(text)


COLUMNS = ("goes", "landmarks go", "judge's cosine to the photo")
"""Shares of the in-domain code's way: of the change of discriminator features, projected on that of
the in-domain picture; of the displacement of landmarks, likewise."""


@torch.no_grad()
def compare(bench: Bench, options: Options) -> list[tuple[str, ...]]:
    """A line for every way to edit: its name and the values of COLUMNS, means over all edits."""
    studio, generator = bench.studio, bench.generator
    if studio.perceptual is None:
        raise ValueError('--perceptual is "none"; its features say how far an edit goes')
    judge = identity_judge(options.identity)
    landmarks, _ = landmark_judge(options.identity, None)
    latents = bench.run("f/z+", steps=options.steps, init="encoder").latents
    edit = editing.get("direction")
    transport, note = find_transport(generator, studio.encoders, edit, [latents])
    if transport is None:
        raise ValueError(f"{note}; this benchmark compares with it")
    code = bench.run("w+", steps=0, init="encoder").latents
    ways: dict[str, tuple[Latents, FeatureTransport | None]] = {
        IN_DOMAIN: (code, None),
        STAYS: (latents, None),
        ADDED: (latents, with_editor(transport, torch.add)),
        EDITOR: (latents, transport),
    }
    unedited = {name: bench.synthesize(given) for name, (given, _) in ways.items()}
    values: dict[str, list[Tensor]] = {name: [] for name in ways}
    sheet = {"target": bench.faces.images}
    for number in range(1, options.directions + 1):
        for strength in (-options.strength, options.strength):
            parameters = {"direction": f"pca:{number}", "strength": strength}
            pictures = {}
            for name, (given, carrier) in ways.items():
                edited = edit(generator, given, transport=carrier, **parameters)
                pictures[name] = Pictures(unedited[name], bench.synthesize(edited))
            if number == 1:
                sheet |= {f"{name} {strength:+g}": x.after for name, x in pictures.items()}
            measures = measure(pictures, bench.faces.images, studio.perceptual, judge, landmarks)
            for name, measured in measures.items():
                values[name].append(measured)
    faces.save_picture(options.out / "edits.png", sheet)
    means = {name: torch.stack(x).nanmean((0, 2)).tolist() for name, x in values.items()}
    return [(name, *(f"{x:.3f}" for x in means[name])) for name in ways]


def with_editor(
    transport: FeatureTransport, editor: Callable[[Tensor, Tensor], Tensor]
) -> FeatureTransport:
    """The same transport with another feature editor."""
    return FeatureTransport(transport.layer, transport.predict_ws, editor)


def measure(
    pictures: dict[str, Pictures],
    photos: Tensor,
    perceptual: Perceptual,
    judge: IdentityJudge | None,
    landmarks: LandmarkJudge,
) -> dict[str, Tensor]:
    """(len(COLUMNS), N) of every way; NaN without a judge, or where it detects no face."""
    features = {name: _change(x, lambda y: _flat(perceptual, y)) for name, x in pictures.items()}
    points = {name: _change(x, landmarks) for name, x in pictures.items()}
    missing = torch.full((len(photos),), torch.nan)
    persons = None if judge is None else judge(photos)
    return {
        name: torch.stack(
            [
                projected(features[name], features[IN_DOMAIN]).cpu(),
                projected(points[name], points[IN_DOMAIN]).cpu(),
                missing if judge is None else cosine_similarity(judge(x.after), persons).cpu(),
            ]
        )
        for name, x in pictures.items()
    }


def projected(change: Tensor, reference: Tensor) -> Tensor:
    """(N,): how far (N, ...) goes along `reference`, as a share of its length."""
    change, reference = change.flatten(1), reference.flatten(1)
    return (change * reference).sum(1) / reference.square().sum(1)


def _change(pictures: Pictures, describe: Callable[[Tensor], Tensor]) -> Tensor:
    return describe(pictures.after) - describe(pictures.before)


def _flat(perceptual: Perceptual, images: Tensor) -> Tensor:
    """(N, D): all features of a perceptual metric."""
    parts = [
        torch.cat([x.flatten(1) for x in perceptual.features(part)], 1) for part in images.split(8)
    ]
    return torch.cat(parts)


if __name__ == "__main__":
    main(tyro.cli(Options))
