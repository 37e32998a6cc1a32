"""StyleGAN2's synthesis network, which can stop at a layer and start from one.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels.
"Analyzing and Improving the Image Quality of StyleGAN", architecture "skip"; tensors are named as
in NVIDIA's PyTorch releases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import ModulatedConv, ToRGB, image_layout, resample_filter, upsample

Noise = str | Sequence[Tensor] | None
""""const", "random", "none" (or None), or one map (1 or N, 1, r, r) per convolution."""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    w_dim: int
    img_resolution: int
    img_channels: int
    channels: tuple[int, ...]
    """Width of the blocks 4, 8, .., img_resolution."""
    conv_clamp: float | None = None


class Feature(NamedTuple):
    """What synthesis holds between two layers."""

    layer: str
    """Name of the convolution whose output x is, e.g. "b16.conv0"."""
    x: Tensor
    """(N, C, H, W), after noise, bias and activation."""
    rgb: Tensor | None
    """(N, img_channels, H', W') image so far, from the toRGB layers before; None: zero."""


class Layer(NamedTuple):
    name: str
    module: nn.Module
    style: int
    """Index of the style input that it reads."""
    noise: int | None
    """Index of its noise map; None for a toRGB layer."""
    side: int


class Block(nn.Module):
    def __init__(self, config: SynthesisConfig, side: int, inputs: int, outputs: int):
        super().__init__()
        clamp = config.conv_clamp
        if inputs == 0:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        else:
            self.conv0 = ModulatedConv(inputs, outputs, config.w_dim, side, up=True, clamp=clamp)
        self.conv1 = ModulatedConv(outputs, outputs, config.w_dim, side, clamp=clamp)
        self.torgb = ToRGB(outputs, config.img_channels, config.w_dim, clamp)
        self.register_buffer("resample_filter", resample_filter())


class Synthesis(nn.Module):
    """Styles to image. `layers` lists every modulated layer in the order in which it runs."""

    def __init__(self, config: SynthesisConfig):
        super().__init__()
        self.config = config
        inputs = 0
        for index, outputs in enumerate(config.channels):
            side = 4 * 2**index
            setattr(self, f"b{side}", Block(config, side, inputs, outputs))
            inputs = outputs
        self.layers = self._list_layers()
        self.num_ws = self.layers[-1].style + 1

    def _list_layers(self) -> list[Layer]:
        found, style, noise = [], 0, 0
        for index in range(len(self.config.channels)):
            side = 4 * 2**index
            block = getattr(self, f"b{side}")
            for name in ("conv0", "conv1"):
                if hasattr(block, name):
                    layer = getattr(block, name)
                    found.append(Layer(f"b{side}.{name}", layer, style, noise, side))
                    style, noise = style + 1, noise + 1
            # A toRGB layer shares its style input with the next block's first convolution.
            found.append(Layer(f"b{side}.torgb", block.torgb, style, None, side))
        return found

    def styles(self, ws: Tensor) -> tuple[Tensor, ...]:
        """ws: (N, L, w_dim) -> the style (N, C) of every layer, in the order of `layers`."""
        return tuple(layer.module.affine(ws[:, layer.style]) for layer in self.layers)

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
        layers = self.layers
        maps = self._noise_maps(noise, layers, styles[0].shape[0], generator)
        if start is None:
            first, rgb = 0, None
            const = self.b4.const
            x = const.to(styles[0].dtype).expand(styles[0].shape[0], *const.shape)
        else:
            names = [layer.name for layer in layers]
            first, x, rgb = names.index(start.layer) + 1, start.x, start.rgb
        x = image_layout(x)
        for layer, style in zip(layers[first:], styles[first:], strict=True):
            if layer.noise is None:
                y = layer.module(x, style)
                if rgb is not None:
                    rgb = upsample(rgb, getattr(self, f"b{layer.side}").resample_filter)
                rgb = y if rgb is None else rgb + y
            else:
                x = layer.module(x, style, maps[layer.noise])
            if layer.name == stop:
                return Feature(layer.name, x, rgb)
        return rgb

    def _noise_maps(
        self, noise: Noise, layers: list[Layer], n: int, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        convs = [layer.module for layer in layers if layer.noise is not None]
        if noise is None or noise == "none":
            return [None] * len(convs)
        if noise == "const":
            return [conv.noise_const[None, None] for conv in convs]
        if noise == "random":
            return [
                torch.randn(
                    n,
                    1,
                    *conv.noise_const.shape,
                    generator=generator,
                    device=conv.noise_const.device,
                    dtype=conv.noise_const.dtype,
                )
                for conv in convs
            ]
        if isinstance(noise, str):
            raise ValueError(
                f'noise is "{noise}"; it must be "const", "random", "none" or a list of maps'
            )
        if len(noise) != len(convs):
            raise ValueError(
                f"got {len(noise)} noise maps, this generator has {len(convs)} noise inputs"
            )
        return list(noise)
