"""W and P_N, and the mean of W.

Legend: N labels, L style inputs, D numbers in w.
"Improved StyleGAN Embedding: Where are the Good Latents?", section 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import mapping, statistics
from ..generator import Generator
from ..layers import SLOPE


def whiten(generator: Generator, w: Tensor) -> Tensor:
    """w (..., D) -> P_N (..., D), of zero mean and unit covariance."""
    moments = statistics.latent_statistics(generator)
    return (statistics.gaussianize(w) - moments.p_mean) @ (moments.p_basis / moments.p_std)


def unwhiten(generator: Generator, code: Tensor) -> Tensor:
    """P_N (..., D) -> w (..., D): the inverse of `whiten`."""
    moments = statistics.latent_statistics(generator)
    p = (code * moments.p_std) @ moments.p_basis.T + moments.p_mean
    return F.leaky_relu(p, SLOPE)


def mean_w(generator: Generator, label: Tensor | None = None) -> Tensor:
    """(1, D) mean of f(z); with label (N, c_dim) the mean of f(z, c) for each label, (N, D).

    (.., L, D) if f(z) has a w for every style input.
    """
    if label is None or not generator.c_dim:
        return statistics.latent_statistics(generator).w_mean[None]
    return torch.stack([mapping.mean_w(generator.mapping, c) for c in label])
