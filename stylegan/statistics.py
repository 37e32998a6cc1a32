"""What a generator's own samples look like in W and P: computed once, cached beside its file.

Legend: L style inputs, D = w_dim.
"Improved StyleGAN Embedding: Where are the Good Latents?", section 3.
"""

import contextlib
import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import files
from .generator import Generator
from .layers import SLOPE
from .randomness import keyed_generator

SAMPLES = 100_000


@dataclass(frozen=True)
class Statistics:
    w_mean: Tensor
    """(D,) mean of f(z): the average image's code; (L, D) where f(z) has a w for every input."""
    w_covariance: Tensor
    """(D, D) about that mean, over all inputs."""
    p_mean: Tensor
    """(D,) mean of p = LeakyReLU_5(w), over all inputs."""
    p_basis: Tensor
    """(D, D) eigenvectors of cov(p) as columns, largest eigenvalue first."""
    p_std: Tensor
    """(D,) square roots of the eigenvalues."""

    def to(self, like: Tensor) -> "Statistics":
        return Statistics(*(getattr(self, f.name).to(like) for f in fields(self)))


@torch.no_grad()
def compute(generator: Generator, samples: int = SAMPLES, seed: int = 0) -> Statistics:
    """Mean and covariance of w and p over seeded samples; labels are drawn uniformly.

    samples: vectors w; where f(z) has one for every input, so many fewer z are drawn.
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
            drawn = torch.randint(generator.c_dim, (n,), generator=rng)
            c = torch.nn.functional.one_hot(drawn, generator.c_dim).to(z)
        w = generator.mapping(z, c)
        for name, x in (("w", w), ("p", gaussianize(w))):
            x = x.double().cpu().reshape(n, inputs, dim)
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


@torch.inference_mode(False)  # what is kept must serve a gradient later
def latent_statistics(generator: Generator) -> Statistics:
    """The statistics of a generator, from memory, from the cache beside its file, or computed now.

    Where the generator's folder cannot be written, the cache is in the home folder.
    """
    known = getattr(generator, "_statistics", None)
    if known is None:
        known = _read(generator)
        if known is None:
            known = compute(generator)
            _write(generator, known)
    if known.w_mean.device != generator.device or known.w_mean.dtype != generator.dtype:
        known = known.to(generator.mapping.w_avg)
    generator._statistics = known
    return known


def _caches(generator: Generator) -> list[Path]:
    if generator.path is None:
        return []
    beside = generator.path.with_name(f"{generator.path.stem}.statistics.safetensors")
    home = Path.home() / ".cache" / "facsimile"
    return [beside, home / f"{generator.fingerprint}.statistics.safetensors"]


def _read(generator: Generator) -> Statistics | None:
    for path in _caches(generator):
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
            # A cache that another generator of the same name left behind is computed anew.
            if (file.metadata() or {}).get("fingerprint") == generator.fingerprint:
                return Statistics(*(file.get_tensor(f.name).float() for f in fields(Statistics)))
    return None


def _write(generator: Generator, statistics: Statistics) -> None:
    tensors = {f.name: getattr(statistics, f.name) for f in fields(Statistics)}
    for path in _caches(generator):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_tensors(path, tensors, {"fingerprint": generator.fingerprint})
            return
