"""The distribution of a generator's samples in W and in P, estimated from random codes.

Legend: L style inputs, D = w_dim.
"Improved StyleGAN Embedding: Where are the Good Latents?", section 3.
"""

import contextlib
import math
from pathlib import Path

import torch
from torch import Tensor

from .generator import Generator
from .layers import SLOPE
from .randomness import keyed_generator
from .statistics_file import Statistics, read_statistics, write_statistics

SAMPLES = 100_000
"""The paper takes a million."""


@torch.no_grad()
def compute(generator: Generator, samples: int = SAMPLES, seed: int = 0) -> Statistics:
    """Mean and covariance of w and p over seeded samples, with uniformly random labels.

    samples: number of vectors w. If f(z) has one for each of L inputs, samples / L codes z are
    drawn.
    """
    rng = keyed_generator("cpu", seed, "statistics")
    shape = generator.mapping.shape
    dim, inputs = shape[-1], math.prod(shape[:-1])
    sums = {name: torch.zeros(inputs, dim, dtype=torch.float64) for name in "wp"}
    squares = {name: torch.zeros(dim, dim, dtype=torch.float64) for name in "wp"}
    done, total = 0, math.ceil(samples / inputs)
    while done < total:
        n = min(math.ceil(10_000 / inputs), total - done)
        z = torch.randn(n, generator.z_dim, generator=rng).to(generator.mapping.w_avg)
        c = None
        if generator.c_dim:
            classes = torch.randint(generator.c_dim, (n,), generator=rng)
            c = torch.nn.functional.one_hot(classes, generator.c_dim).to(z)
        w = generator.mapping(z, c)
        for name, x in (("w", w), ("p", gaussianize(w))):
            x = x.cpu().double().reshape(n, inputs, dim)
            sums[name] += x.sum(0)
            squares[name] += x.flatten(0, 1).T @ x.flatten(0, 1)
        done += n
    mean = {"w": sums["w"] / done, "p": sums["p"].mean(0, keepdim=True) / done}
    covariance = {
        name: squares[name] / (done * inputs) - x.T @ x / len(x) for name, x in mean.items()
    }
    values, vectors = torch.linalg.eigh(covariance["p"])
    values = values.clamp(min=float(values.max()) * 1e-8)
    return Statistics(
        mean["w"].float().reshape(shape),
        covariance["w"].float(),
        mean["p"].float()[0],
        vectors.flip(1).float().contiguous(),
        values.flip(0).sqrt().float(),
    )


def gaussianize(w: Tensor) -> Tensor:
    """P = LeakyReLU_5(w): undoes the mapping's last activation."""
    return torch.nn.functional.leaky_relu(w, 1 / SLOPE)


@torch.inference_mode(False)  # a later gradient needs tensors that are not of inference mode
def latent_statistics(generator: Generator, cache: Path | None = None) -> Statistics:
    """The statistics of a generator: from memory, from a cache file, or computed now.

    cache: a file, or a folder in which the file is named by the generator's fingerprint. It is
    read, and written after a computation. None: `generator.statistics_cache`, a list of such
    places; all are read in order, and the first writable one is written.
    Raises ValueError for a file that a newer version of facsimile wrote.
    The result stays in `generator.statistics`.
    """
    statistics = generator.statistics
    if statistics is None:
        statistics = _from_cache_or_computed(generator, cache)
    if statistics.w_mean.device != generator.device or statistics.w_mean.dtype != generator.dtype:
        statistics = statistics.to(generator.mapping.w_avg)
    generator.statistics = statistics
    return statistics


def principal_directions(generator: Generator) -> Tensor:
    """The eigenvectors of the covariance of w, by falling variance, as rows (D, D).

    Each is one standard deviation of the samples long, and its number of the largest size is
    positive. If a mapping has a w for every style input, the covariance is that within the inputs.
    """
    covariance = latent_statistics(generator).w_covariance
    values, vectors = torch.linalg.eigh(covariance.cpu().double())
    rows = (vectors * values.clamp_min(0).sqrt()).flip(1).T
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * torch.where(largest < 0, -1.0, 1.0)


def _from_cache_or_computed(generator: Generator, cache: Path | None) -> Statistics:
    places = generator.statistics_cache if cache is None else (cache,)
    if not places:
        return compute(generator)
    fingerprint = generator.fingerprint
    paths = [
        place if place.suffix == ".safetensors" else place / f"{fingerprint}.statistics.safetensors"
        for place in places
    ]
    for path in paths:
        statistics = read_statistics(path, fingerprint)
        if statistics is not None:
            return statistics
    statistics = compute(generator)
    for path in paths:
        with contextlib.suppress(OSError):
            write_statistics(path, statistics, fingerprint)
            break
    return statistics
