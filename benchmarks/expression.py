"""Expression transfer: whether the landmarks follow, and whether the person stays.

"Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", section 5.3: w_1 + strength *
(w_3 - w_2). w_2 is a face's inversion, w_3 the same face as `reenact smile:1` has it, w_1 the
inversion of another face.

Legend: N faces, K = 68 points, R side of the image.
"""

from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import torch
import tyro
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.embeddings import latents
from benchmarks.feature_edits import projected
from benchmarks.judges import IdentityJudge, LandmarkJudge, identity_judge, landmark_judge
from benchmarks.rows import machines
from facsimile import editing
from facsimile.landmarks import load_landmarker
from facsimile.stylegan import Latents

LEAST_SHARE, LEAST_COSINE = 0.5, 0.8
"""Of the landmarks' way from w_2 to w_3; to the unedited inversion, by the judge."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Give every face the smile of the one before, and the opposite.

    Needs a difference encoder. Writes expression.md and expression.png.
    """

    count: int = 10
    steps: int = 100
    batch: int = 10
    amount: float = 1.0
    """Of the smile between w_2 and w_3, see `facsimile reenact`."""
    strengths: tuple[float, ...] = (-1.0, 0.5, 1.0)
    thresholds: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1)
    """Style inputs that change by less stay, in shares of the generator's spread of w; the first
    serves every strength, the others strength 1."""
    identity: Path | None = None
    """The judge of identity and landmarks, see benchmarks.judges."""
    out: Path = Path("runs/expression")


def main(options: Options) -> None:
    bench = Bench.load(options)
    encoder = bench.studio.encoders.get("difference").network  # ValueError without one
    row = bench.run("w+", init="encoder" if bench.studio.encoders.has("in-domain") else None)
    if options.rows_only:
        return
    landmarker = load_landmarker("small", None, torch.device(options.device))
    judge = identity_judge(options.identity)
    look, note = landmark_judge(options.identity, landmarker)
    neutral = latents(row)
    with torch.no_grad():
        points = landmarker(bench.synthesize(neutral)).points
        smiling = editing.smile(points, options.amount)
        expressive = editing.reenact_latents(encoder, bench.generator, neutral, smiling, points)
    w2, w3 = bench.synthesize(neutral), bench.synthesize(expressive)
    w1 = w2.roll(1, 0)
    reference = look(w3) - look(w2)
    sheet = {"w2": w2, "w3": w3, "w1": w1}
    measured = {}
    for strength, threshold in ways(options):
        parameters = {"strength": strength, "threshold": threshold}
        edited = bench.synthesize(transfer(bench, neutral, expressive, **parameters))
        sheet[f"strength {strength:g}, threshold {threshold:g}"] = edited
        measured[strength, threshold] = measure(edited, w1, reference, look, judge)
    text = "\n".join([*table(measured), "", f"{note[0].upper()}{note[1:]}.", "", machines([row])])
    report.write_text(options.out / "expression.md", text + "\n")
    print(text)
    faces.save_picture(options.out / "expression.png", sheet)


def ways(options: Options) -> list[tuple[float, float]]:
    """(strength, threshold) of every line."""
    first, *others = options.thresholds
    return [*((x, first) for x in options.strengths), *((1.0, x) for x in others)]


def transfer(bench: Bench, neutral: Latents, expressive: Latents, **parameters: float) -> Latents:
    """The last face and so on, each with what changes between the two codes of the next one."""
    edit, count = editing.get("expression"), len(neutral)
    triples = [(neutral[(i - 1) % count], neutral[i], expressive[i]) for i in range(count)]
    return Latents.concatenate([edit(bench.generator, *x, **parameters) for x in triples])


def measure(
    edited: Tensor,
    unedited: Tensor,
    reference: Tensor,
    look: LandmarkJudge,
    judge: IdentityJudge | None,
) -> tuple[float, float, float]:
    """(how far the landmarks move, how far in the wanted direction, both as shares of the wanted
    way (N, K, 2), and the judge's cosine): means over the faces that are detected, NaN without."""
    moved = look(edited) - look(unedited)  # on the CPU
    length = moved.flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    cosine = torch.tensor(nan)
    if judge is not None:
        cosine = cosine_similarity(judge(edited), judge(unedited)).nanmean()
    return float(length.nanmean()), float(projected(moved, reference).nanmean()), float(cosine)


def table(measured: dict[tuple[float, float], tuple[float, float, float]]) -> list[str]:
    """A line for every way, and what has to hold of strength 1."""
    lines, findings = [], []
    for (strength, threshold), (length, share, cosine) in measured.items():
        numbers = (f"{length:.2f}", f"{share:.2f}", f"{cosine:.3f}")
        lines.append((f"{strength:g}", f"{threshold:g}", *numbers))
        if strength != 1:
            continue
        for claim, value, least in (
            ("landmarks move at least", length, LEAST_SHARE),
            ("judge's cosine at least", cosine, LEAST_COSINE),
        ):
            outcome = "not shown" if isnan(value) else "holds" if value >= least else "FAILS"
            findings.append(f"{outcome}: threshold {threshold:g}: {claim} {least:g} ({value:.3f})")
    head = ("strength", "threshold", "landmarks move", "the wanted way", "judge's cosine")
    return [report.table(head, lines), "", *findings]


if __name__ == "__main__":
    main(tyro.cli(Options))
