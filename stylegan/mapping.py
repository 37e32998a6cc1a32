"""The mapping network: z, and a label if the generator has labels, to w.

Legend: N images, L style inputs, D numbers in a vector.
"""

import math

import torch
from torch import Tensor, nn

from .layers import GAIN, Linear, activate
from .randomness import keyed_generator


def normalize_second_moment(x: Tensor) -> Tensor:
    """x (..., D) scaled to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-8)


def check_label(c: Tensor | None, c_dim: int) -> Tensor:
    """Return c, or raise ValueError if it is not (N, c_dim)."""
    if c is None or c.shape[-1] != c_dim:
        got = "none" if c is None else f"one of length {c.shape[-1]}"
        raise ValueError(
            f"this network needs a label of length {c_dim}, got {got}; pass c of the shape "
            f"(N, {c_dim})"
        )
    return c


class Mapping(nn.Module):
    """f: Z -> W, fully connected layers with leaky ReLU.

    c_dim: length of a label, 0 where there are none. w_dim: width of every layer and of w.
    With z_dim 0 the label alone is mapped, as in a conditional discriminator.
    per_layer: L if the last layer emits a w for every style input, as in IDInvert; else 0.
    """

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        layers: int = 8,
        *,
        lr_multiplier: float = 0.01,
        per_layer: int = 0,
    ):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_layers = z_dim, c_dim, w_dim, layers
        self.shape = (per_layer, w_dim) if per_layer else (w_dim,)
        width = z_dim
        if c_dim:
            self.embed = Linear(c_dim, w_dim)
            width += w_dim
        for index in range(layers):
            outputs = w_dim if index < layers - 1 else math.prod(self.shape)
            layer = Linear(width, outputs, lr_multiplier=lr_multiplier)
            setattr(self, f"fc{index}", layer)
            width = w_dim
        if z_dim:
            self.register_buffer("w_avg", torch.zeros(self.shape))

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        """z: (N, z_dim); c: (N, c_dim) -> w: (N, w_dim), or with `per_layer` (N, L, w_dim)."""
        parts = [] if z is None else [normalize_second_moment(z)]
        if self.c_dim:
            c = check_label(c, self.c_dim).to(self.embed.weight.dtype)
            parts.append(normalize_second_moment(self.embed(c)))
        x = torch.cat(parts, -1)
        for index in range(self.num_layers):
            x = activate(getattr(self, f"fc{index}")(x, gain=GAIN))
        return x.unflatten(1, self.shape)


@torch.no_grad()
def mean_w(
    mapping: Mapping,
    c: Tensor | None = None,
    *,
    seed: int = 0,
    samples: int = 10_000,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The mean (w_dim,) of f(z, c) over z of a fixed seed; (L, w_dim) with a w for every input.

    c: one label (c_dim,). dtype: of the random numbers; another one gives other samples.
    """
    rng = keyed_generator("cpu", seed, "mean w")
    z = torch.randn(samples, mapping.z_dim, generator=rng, dtype=dtype).to(mapping.w_avg)
    return mapping(z, None if c is None else c.expand(samples, -1)).mean(0)
