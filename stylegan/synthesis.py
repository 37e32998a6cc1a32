"""What every synthesis network has in common: layers that run in order, to stop at and start from.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels, r side of a noise map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import Linear

Noise = str | Sequence[Tensor] | None
""""const", "random", "none" (or None), or one map (1 or N, 1, r, r) per noise input."""


class Feature(NamedTuple):
    """What synthesis holds between two layers."""

    layer: str
    """Name of the layer whose output x is, e.g. "b16.conv0"."""
    x: Tensor
    """(N, C, H, W), after noise, bias and activation."""
    rgb: Tensor | None
    """(N, img_channels, H', W') image so far, from the toRGB layers before; None: zero."""


class Layer(NamedTuple):
    """One step of synthesis. A style acts where its layer runs, and never before."""

    name: str
    module: nn.Module
    """What runs; a layer with a noise input has its `noise_const` and `noise_strength`."""
    affine: Linear | None
    """Style input to style; None where no style acts."""
    style: int | None
    """Index of the style input that it reads."""
    noise: int | None
    """Index of its noise map; None where it has no noise input."""
    side: int
    """Side in pixels at which it works, without any margin."""
    feature: bool
    """Whether synthesis can stop after it and start from it."""


class Synthesis(nn.Module):
    """Styles to image. `layers` lists every layer in the order in which it runs.

    An architecture builds `layers`, and says what `begin` and `run` do.
    """

    layers: list[Layer]

    @classmethod
    def from_config(cls, config: dict) -> "Synthesis":
        """The network that a `Generator`'s configuration describes."""
        raise NotImplementedError

    @property
    def num_ws(self) -> int:
        """Style inputs L."""
        return 1 + max(layer.style for layer in self.layers if layer.style is not None)

    @property
    def noise_inputs(self) -> list[nn.Module]:
        """The modules that add noise, in the order of the maps."""
        return [layer.module for layer in self.layers if layer.noise is not None]

    def styles(self, ws: Tensor) -> tuple[Tensor, ...]:
        """ws: (N, L, w_dim) -> the style (N, C) of every layer, in the order of `layers`.

        A layer without a style has one of length 0.
        """
        return tuple(
            ws.new_empty(len(ws), 0) if layer.affine is None else layer.affine(ws[:, layer.style])
            for layer in self.layers
        )

    def begin(self, styles: Sequence[Tensor]) -> Tensor | None:
        """What the first layer takes: (N, C, H, W), or None where that layer makes it."""
        raise NotImplementedError

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(x, rgb) after a layer."""
        raise NotImplementedError

    def forward(
        self,
        styles: Sequence[Tensor],
        noise: Noise = "const",
        *,
        start: Feature | None = None,
        stop: str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor | Feature:
        """Run from `start` (or the constant) to `stop` (or the image (N, img_channels, R, R))."""
        maps = self._noise_maps(noise, styles[0].shape[0], generator)
        if start is None:
            first, x, rgb = 0, self.begin(styles), None
        else:
            names = [layer.name for layer in self.layers]
            first, x, rgb = names.index(start.layer) + 1, start.x, start.rgb
        for layer, style in zip(self.layers[first:], styles[first:], strict=True):
            own = None if layer.noise is None else maps[layer.noise]
            x, rgb = self.run(layer, x, rgb, style, own)
            if layer.name == stop:
                return Feature(layer.name, x, rgb)
        return rgb

    def _noise_maps(
        self, noise: Noise, n: int, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        known = [module.noise_const for module in self.noise_inputs]
        if noise is None or noise == "none":
            return [None] * len(known)
        if noise == "const":
            return [const[None, None] for const in known]
        if noise == "random":
            return [
                torch.randn(
                    n,
                    1,
                    *const.shape,
                    generator=generator,
                    device=const.device,
                    dtype=const.dtype,
                )
                for const in known
            ]
        if isinstance(noise, str):
            raise ValueError(
                f'noise is "{noise}"; it must be "const", "random", "none" or a list of maps'
            )
        if len(noise) != len(known):
            raise ValueError(
                f"got {len(noise)} noise maps, this generator has {len(known)} noise inputs"
            )
        return list(noise)
