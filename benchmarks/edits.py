"""Identity similarity after random edits of an inversion: the F/Z+ paper's figure 6.

Legend: N faces, R side of the image.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.judges import identity_judge
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
STRENGTHS = torch.linspace(-2, 2, 11).tolist()
DIRECTIONS = 4
DEVIATION = 0.04**0.5
"""Standard deviation of a direction's entries; the paper's variance is 0.04."""
MSE_TOLERANCE = 0.10
"""F/Z+ counts as being as close to the photo as F/W+ up to this relative difference in MSE."""


@torch.no_grad()
def compare(bench: Bench, rows: dict[str, Row], path: Path | None) -> list[str]:
    """A table of the similarity by strength, and what is expected of it; writes edits.png.

    The MSE of the inversion itself says how close to the photo each edit started.
    """
    embed = identity_judge(path)
    if embed is None:
        return ["Edits: left out, because there is no judge of identity (--identity)"]
    embeddings = embed(bench.faces.images)
    similarity, pictures = {}, {"target": bench.faces.images}
    for name in dict.fromkeys(name for pair in PAIRS for name in pair):
        values = torch.empty(DIRECTIONS, len(STRENGTHS), len(embeddings))
        for number in range(DIRECTIONS):
            for index, strength in enumerate(STRENGTHS):
                images = bench.synthesize(edited(rows[name].latents, number, strength))
                values[number, index] = cosine_similarity(embed(images), embeddings)
                if number == 0 and abs(strength) == max(STRENGTHS):
                    pictures[f"{name} {strength:+g}"] = images
        # Where no face is detected any more, the similarity is 0.
        similarity[name] = values.nan_to_num(0).mean((0, 2))
    faces.save_picture(bench.options.out / "edits.png", pictures)
    strengths = (f"{x:+.1f}" for x in STRENGTHS)
    head = ("identity after an edit of strength", *strengths, "mean", "MSE unedited")
    lines = [
        (
            name,
            *(f"{x:.3f}" for x in values.tolist()),
            f"{values.mean():.3f}",
            f"{rows[name].mean['mse']:.4f}",
        )
        for name, values in similarity.items()
    ]
    return [report.table(head, lines), "", *_findings(rows, similarity)]


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
