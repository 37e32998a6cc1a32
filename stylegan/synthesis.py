"""What every synthesis network has in common: layers that run in order, to stop at and start from.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels, R side of the image, r side of a
noise map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Linear, image_layout

Noise = str | Sequence[Tensor] | None
""""const", "random", "none" (or None), or one map (1 or N, 1, r, r) per noise input."""


class Feature(NamedTuple):
    """The state of synthesis between two layers."""

    layer: str
    """Name of the layer whose output x is, e.g. "b16.conv0"."""
    x: Tensor
    """(N, C, H, W), after noise, bias and activation."""
    rgb: Tensor | None
    """(N, img_channels, H', W') image so far, from the toRGB layers before; None: zero."""

    def lerp(self, other: "Feature", share: Tensor) -> "Feature":
        """The share (N, 1, H, W) in [0, 1] of the way to another feature of the same layer.

        An RGB skip goes the same share, resized to its side, if both have one.
        """
        x, rgb = torch.lerp(self.x, other.x.to(self.x), share.to(self.x)), self.rgb
        if rgb is not None and other.rgb is not None:
            share = F.interpolate(share, rgb.shape[2:], mode="bilinear", align_corners=False)
            rgb = torch.lerp(rgb, other.rgb.to(rgb), share.to(rgb))
        return Feature(self.layer, x, rgb)


class Layer(NamedTuple):
    """One step of synthesis. Its style acts when the layer runs, and not before."""

    name: str
    module: nn.Module
    """The module that runs. If it adds noise, it has a `noise_const` and a `noise_strength`."""
    affine: Linear | None
    """Style input to style; None if the layer has no style."""
    style: int | None
    """Index of the style input that the layer reads."""
    noise: int | None
    """Index of its noise map; None if the layer adds no noise."""
    resolution: int
    """Side of its output in pixels, without margins."""
    feature: bool
    """Whether synthesis can stop after the layer and start from it."""


class Synthesis(nn.Module):
    """Styles to image. `layers` lists every layer in the order in which it runs.

    An architecture fills `layers` and implements `begin` and `run`.
    """

    layers: list[Layer]
    takes_placement = False
    """Whether a placement, a transform of the input, can turn and shift the image (StyleGAN3)."""

    @classmethod
    def from_config(cls, config: dict) -> "Synthesis":
        """The network that a `Generator`'s configuration describes."""
        raise NotImplementedError

    @classmethod
    def ws_of_mapping(cls, config: dict) -> int:
        """L if the mapping gives each style input a different w; 0 if one w serves all."""
        return 0

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

        The style of a layer without an affine has length 0.
        """
        return tuple(
            ws.new_empty(len(ws), 0) if layer.affine is None else layer.affine(ws[:, layer.style])
            for layer in self.layers
        )

    def begin(self, styles: Sequence[Tensor], placement: Tensor | None) -> Tensor:
        """The input of the first layer. placement: (3, 3) or (N, 3, 3), if `takes_placement`."""
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
        placement: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor | Feature:
        """Run from `start` (or layer 0) to `stop` (or the image (N, img_channels, R, R))."""
        maps = self._noise_maps(noise, styles[0].shape[0], generator)
        if start is None:
            first, x, rgb = 0, self.begin(styles, placement), None
        else:
            names = [layer.name for layer in self.layers]
            first, x, rgb = names.index(start.layer) + 1, start.x, start.rgb
        for layer, style in zip(self.layers[first:], styles[first:], strict=True):
            noise_map = None if layer.noise is None else maps[layer.noise]
            x, rgb = self.run(layer, x, rgb, style, noise_map)
            if layer.name == stop:
                return Feature(layer.name, x, rgb)
        return rgb

    def _noise_maps(
        self, noise: Noise, n: int, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        constants = [module.noise_const for module in self.noise_inputs]
        if noise is None or noise == "none":
            return [None] * len(constants)
        if noise == "const":
            return [const[None, None] for const in constants]
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
                for const in constants
            ]
        if isinstance(noise, str):
            raise ValueError(
                f'noise is "{noise}"; it must be "const", "random", "none" or a list of maps'
            )
        if len(noise) != len(constants):
            raise ValueError(
                f"got {len(noise)} noise maps, this generator has {len(constants)} noise inputs"
            )
        return list(noise)


class ConstantInputSynthesis(Synthesis):
    """StyleGAN1 and StyleGAN2: the first layer reads a learned constant."""

    @property
    def const(self) -> Tensor:
        """(C, 4, 4)"""
        raise NotImplementedError

    def begin(self, styles: Sequence[Tensor], placement: Tensor | None) -> Tensor:
        return self.const.to(styles[0].dtype).expand(len(styles[0]), *self.const.shape)

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x = image_layout(x)
        if layer.feature:
            return layer.module(x, style, noise), rgb
        return x, self.add_rgb(layer, layer.module(x, style), rgb)

    def add_rgb(self, layer: Layer, y: Tensor, rgb: Tensor | None) -> Tensor:
        """The image after a toRGB layer: its output y (N, img_channels, H, W), and rgb so far."""
        return y
