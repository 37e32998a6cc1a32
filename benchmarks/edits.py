"""Identity similarity after random edits of an inversion: the F/Z+ paper's figure 6.

Legend: N faces, R side of the image.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.judges import IdentityJudge, facenet_judge, identity_judge
from benchmarks.rows import Row
from facsimile.stylegan import Latents
from facsimile.stylegan.randomness import keyed_generator

CLOSE = ("F/Z+", "F/W+")
PAIRS = (
    ("IDInvert", "W+ from the encoder"),
    ("IDInvert", "W+ from the mean"),
    ("IDInvert", "Image2StyleGAN"),
    CLOSE,
)
"""The first of each is expected to preserve identity better. IDInvert and W+ from the encoder have
the same initialisation and steps, and differ by the domain term; W+ from the mean has the same
steps, Image2StyleGAN thousands."""
NAMES = tuple(dict.fromkeys(name for pair in PAIRS for name in pair))
STRENGTHS = torch.linspace(-2, 2, 11).tolist()
DIRECTIONS = 4
DEVIATION = 0.04**0.5
"""Standard deviation of a direction's entries; the paper's variance is 0.04."""
MSE_TOLERANCE = 0.10
"""F/Z+ counts as being as close to the photo as F/W+ up to this relative difference in MSE."""


@torch.no_grad()
def compare(bench: Bench, rows: dict[str, Row], path: Path | None) -> list[str]:
    """A table of the similarity by strength and what is expected of it, for each judge; writes
    edits.png.

    path: of the judge, see benchmarks.judges. The other is FaceNet, by the paper's definition, if
    its weights are there. The MSE of the inversion itself says how close to the photo an edit
    started.
    """
    if missing := [x for x in NAMES if x not in rows or rows[x].latents is None]:
        return [f"left out: edits, as there are no latents of {', '.join(missing)}"]
    judges = {} if path is None else {path.name: identity_judge(path)}
    if (facenet := facenet_judge()) is not None:
        judges["FaceNet, as in the paper"] = facenet
    lines = []
    for name, judge in judges.items():
        similarity = by_strength(bench, rows, judge)
        lines += [table(rows, similarity, name), "", *_findings(rows, similarity), ""]
    if judges:
        faces.save_picture(bench.options.out / "edits.png", _pictures(bench, rows))
    if facenet is None:
        lines.append(
            "left out: identity by the paper's definition (MTCNN, InceptionResnetV1 of VGGFace2), "
            "as its weights are not there"
        )
    return lines


def by_strength(bench: Bench, rows: dict[str, Row], judge: IdentityJudge) -> dict[str, Tensor]:
    """For each row the similarity to the faces at STRENGTHS, means over directions and faces."""
    embeddings = judge(bench.faces.images)
    similarity = {}
    for name in NAMES:
        values = torch.empty(DIRECTIONS, len(STRENGTHS), len(embeddings))
        for number in range(DIRECTIONS):
            for index, strength in enumerate(STRENGTHS):
                images = bench.synthesize(edited(rows[name].latents, number, strength))
                values[number, index] = cosine_similarity(judge(images), embeddings)
        # Where no face is detected any more, the similarity is 0.
        similarity[name] = values.nan_to_num(0).mean((0, 2))
    return similarity


def _pictures(bench: Bench, rows: dict[str, Row]) -> dict[str, Tensor]:
    """The faces after the largest edits in the first direction."""
    drawn = {
        f"{name} {strength:+g}": bench.synthesize(edited(rows[name].latents, 0, strength))
        for name in NAMES
        for strength in (STRENGTHS[0], STRENGTHS[-1])
    }
    return {"target": bench.faces.images} | drawn


def table(rows: dict[str, Row], similarity: dict[str, Tensor], judge: str) -> str:
    strengths = (f"{x:+.1f}" for x in STRENGTHS)
    head = (f"identity after an edit of strength ({judge})", *strengths, "mean", "MSE unedited")
    lines = [
        (
            name,
            *(f"{x:.3f}" for x in values.tolist()),
            f"{values.mean():.3f}",
            f"{rows[name].mean['mse']:.4f}",
        )
        for name, values in similarity.items()
    ]
    return report.table(head, lines)


def edited(latents: Latents, number: int, strength: float) -> Latents:
    """The code of every style input moved along a random direction, and back onto its space."""
    rng = keyed_generator("cpu", number, "edit")
    direction = torch.randn(latents.code.shape[-1], generator=rng) * DEVIATION
    code = latents.code + strength * direction.to(latents.code)
    return latents.with_tensors(latents.tensors() | {"code": code}).retract()


def _findings(rows: dict[str, Row], similarity: dict[str, Tensor]) -> list[str]:
    claims = []
    for better, worse in PAIRS:
        for what, part in (("", slice(None)), (" at strength 2", [0, -1])):
            a, b = (float(similarity[name][part].mean()) for name in (better, worse))
            claims.append(
                (f"{better} preserves identity better than {worse}{what} ({a:.3f}, {b:.3f})", a > b)
            )
    a, b = (rows[name].mean["mse"] for name in CLOSE)
    claims.append(
        (
            f"MSE of {' within 10 % of '.join(CLOSE)} ({a:.4f}, {b:.4f})",
            a <= b * (1 + MSE_TOLERANCE),
        )
    )
    return [f"{'holds' if is_met else 'FAILS'}: {claim}" for claim, is_met in claims]
