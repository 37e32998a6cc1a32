"""What random edits of an inversion leave of the person: the F/Z+ paper's figure 6.

Legend: N faces, R side of the image.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.faces import Bench, Row
from stylegan import Latents
from stylegan.randomness import source

PAIRS = (("IDInvert", "W+ from the mean"), ("F/Z+", "F/W+"))
"""The first of each is expected to keep the person better."""
STRENGTHS = torch.linspace(-2, 2, 11).tolist()
DIRECTIONS = 4
DEVIATION = 0.04**0.5
"""Of a direction's numbers: the paper's variance is 0.04."""
NEAR = 0.10
"""F/Z+ is as close to the photo as F/W+ when its MSE is at most so much larger, relatively."""

Judge = Callable[[Tensor], Tensor]
"""Images (N, 3, R, R) in [-1, 1] -> unit vectors (N, D), NaN where there is no face."""


def judge(path: Path | None) -> Judge | None:
    """Who says whether two pictures show the same person; None where nobody can.

    path: a Python file with a function identity(image) from uint8 (H, W, 3) to a unit vector, or
    None where it sees no face; or FaceNet's weights. None: FaceNet, if its weights can be had.
    """
    if path is None or path.suffix != ".py":
        from metrics.identity import Identity

        try:
            return Identity(path).whole
        except FileNotFoundError:
            if path is not None:
                raise
            return None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def look(images: Tensor) -> Tensor:
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()
        found = [module.identity(np.ascontiguousarray(x)) for x in pixels.numpy()]
        size = next(len(x) for x in found if x is not None)
        return torch.tensor(np.stack([np.full(size, np.nan) if x is None else x for x in found]))

    return look


@torch.no_grad()
def compare(bench: Bench, rows: dict[str, Row], path: Path | None) -> list[str]:
    """A table of the similarity by strength, and what is expected of it; writes edits.png."""
    look = judge(path)
    if look is None:
        return ["Edits: left out, as there is no judge of identity (--identity)"]
    known = look(bench.faces.images)
    similar, pictures = {}, {"target": bench.faces.images}
    for name in (name for pair in PAIRS for name in pair):
        found = torch.empty(DIRECTIONS, len(STRENGTHS), len(known))
        for number in range(DIRECTIONS):
            for index, strength in enumerate(STRENGTHS):
                images = bench.draw(edited(rows[name].latents, number, strength))
                found[number, index] = cosine_similarity(look(images), known)
                if number == 0 and abs(strength) == max(STRENGTHS):
                    pictures[f"{name} {strength:+g}"] = images
        # A face that is not seen any more is nobody's.
        similar[name] = found.nan_to_num(0).mean((0, 2))
    faces.save_picture(bench.options.out / "edits.png", pictures)
    head = ("identity after an edit of strength", *(f"{x:+.1f}" for x in STRENGTHS), "mean")
    lines = [
        (name, *(f"{x:.3f}" for x in found.tolist()), f"{found.mean():.3f}")
        for name, found in similar.items()
    ]
    return [report.table(head, lines), "", *_findings(rows, similar)]


def edited(latents: Latents, number: int, strength: float) -> Latents:
    """The code of every style input moved along a random direction, and back onto its space."""
    rng = source("cpu", number, "edit")
    direction = torch.randn(latents.code.shape[-1], generator=rng) * DEVIATION
    moved = latents.code + strength * direction.to(latents.code)
    return latents.with_tensors(latents.tensors() | {"code": moved}).retract()


def _findings(rows: dict[str, Row], similar: dict[str, Tensor]) -> list[str]:
    claims = []
    for better, worse in PAIRS:
        for what, part in (("", slice(None)), (" at strength 2", [0, -1])):
            a, b = (float(similar[name][part].mean()) for name in (better, worse))
            claims.append(
                (f"{better} keeps the person better than {worse}{what} ({a:.3f}, {b:.3f})", a > b)
            )
    a, b = (rows[name].mean["mse"] for name in PAIRS[1])
    claims.append(
        (f"MSE of {' within 10 % of '.join(PAIRS[1])} ({a:.4f}, {b:.4f})", a <= b * (1 + NEAR))
    )
    return [f"{'holds' if held else 'FAILS'}: {what}" for what, held in claims]
