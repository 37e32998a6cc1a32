"""StyleGAN2's synthesis network.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels.
"Analyzing and Improving the Image Quality of StyleGAN", architecture "skip"; tensors are named as
in NVIDIA's PyTorch releases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import ModulatedConv, ToRGB, image_layout, resample_filter, upsample
from .synthesis import Layer, Synthesis


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    w_dim: int
    img_resolution: int
    img_channels: int
    channels: tuple[int, ...]
    """Width of the blocks 4, 8, .., img_resolution."""
    conv_clamp: float | None = None


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


class StyleGAN2(Synthesis):
    """A feature is the output of a convolution, after noise, bias and activation."""

    def __init__(self, config: SynthesisConfig):
        super().__init__()
        self.config = config
        inputs = 0
        for index, outputs in enumerate(config.channels):
            side = 4 * 2**index
            setattr(self, f"b{side}", Block(config, side, inputs, outputs))
            inputs = outputs
        self.layers = self._list_layers()

    @classmethod
    def from_config(cls, config: dict) -> "StyleGAN2":
        """config: that of a `Generator`, with the widths "channels" and perhaps a "conv_clamp"."""
        return cls(
            SynthesisConfig(
                w_dim=config["w_dim"],
                img_resolution=config["img_resolution"],
                img_channels=config["img_channels"],
                channels=tuple(config["channels"]),
                conv_clamp=config.get("conv_clamp"),
            )
        )

    def _list_layers(self) -> list[Layer]:
        found, style, noise = [], 0, 0
        for index in range(len(self.config.channels)):
            side = 4 * 2**index
            block = getattr(self, f"b{side}")
            for name in ("conv0", "conv1"):
                if hasattr(block, name):
                    conv = getattr(block, name)
                    found.append(
                        Layer(f"b{side}.{name}", conv, conv.affine, style, noise, side, True)
                    )
                    style, noise = style + 1, noise + 1
            # A toRGB layer shares its style input with the next block's first convolution.
            torgb = block.torgb
            found.append(Layer(f"b{side}.torgb", torgb, torgb.affine, style, None, side, False))
        return found

    def begin(self, styles: Sequence[Tensor]) -> Tensor:
        const = self.b4.const
        return const.to(styles[0].dtype).expand(len(styles[0]), *const.shape)

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x = image_layout(x)
        if layer.feature:
            return layer.module(x, style, noise), rgb
        y = layer.module(x, style)
        if rgb is not None:
            y = upsample(rgb, getattr(self, f"b{layer.side}").resample_filter) + y
        return x, y
