"""Embedded pictures in the studies of Image2StyleGAN: their codes, losses and distances.

Legend: N pictures, R side of the generator's images, L style inputs, D numbers in w.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from benchmarks.bench import Bench
from benchmarks.faces import Faces
from benchmarks.rows import Row
from facsimile import data, metrics
from facsimile.refine import Recipe, recipes
from facsimile.stylegan import Latents

RECIPE = "image2stylegan"


def of_pictures(bench: Bench, pictures: Faces) -> Bench:
    """The same networks with other pictures."""
    return replace(bench, faces=pictures.to(bench.options.device))


def changed(pictures: Faces, change: Callable[[Image.Image], Image.Image]) -> Faces:
    """Every picture after a change of its 8-bit pixels, which is the same on every machine."""
    images = [data.to_tensor(change(data.to_pil(x))) for x in pictures.images]
    return Faces(pictures.names, torch.stack(images).to(pictures.images))


def fixed(bench: Bench, recipe: str | Recipe = RECIPE) -> Recipe:
    """The recipe with its weights for the perceptual network at hand, as numbers: they stay when
    the network is cut down."""
    recipe = recipes.get(recipe) if isinstance(recipe, str) else recipe
    return recipe.for_networks({"perceptual": bench.studio.perceptual})


def latents(row: Row) -> Latents:
    """Those of a row; ValueError where only its record was brought here."""
    if row.latents is None:
        raise ValueError(
            f"the row {row.name} has no latents here; bring its .safetensors beside its JSON, or "
            "leave out --stored"
        )
    return row.latents


def distance_to_mean(bench: Bench, row: Row) -> Tensor:
    """(N,) |w* - mean w| over the whole code (N, L, D) in W+."""
    codes = latents(row).to_w_plus(bench.generator)
    return (codes - bench.generator.mapping.w_avg).cpu().flatten(1).norm(dim=1)


def loss(row: Row) -> float:
    """The weighted loss at the end of the first phase, mean over the pictures."""
    phase = row.record["settings"]["plan"]["recipe"]["phases"][0]
    curves = row.record["curves"]
    return sum(term["weight"] * curves[term["name"]][-1] for term in phase["terms"])


def psnr(images: Tensor, targets: Tensor, mask: Tensor | None = None) -> float:
    """Mean over the pictures, in dB."""
    return float(metrics.psnr(images, targets, mask).mean())
