"""StyleGAN2's synthesis network.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels.
"Analyzing and Improving the Image Quality of StyleGAN", architecture "skip"; tensors are named as
in NVIDIA's PyTorch releases.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import ModulatedConv, ToRGB, resample_filter, upsample
from .synthesis import ConstantInputSynthesis, Layer


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Sizes of the network."""

    w_dim: int
    img_resolution: int
    img_channels: int
    channels: tuple[int, ...]
    """Width of the blocks 4, 8, .., img_resolution."""
    conv_clamp: float | None = None


class Block(nn.Module):
    """The layers of one resolution; `inputs` 0 is the first block, with the learned constant."""

    def __init__(self, config: SynthesisConfig, resolution: int, inputs: int, outputs: int):
        super().__init__()
        clamp = config.conv_clamp
        if inputs == 0:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        else:
            self.conv0 = ModulatedConv(
                inputs, outputs, config.w_dim, resolution, up=True, clamp=clamp
            )
        self.conv1 = ModulatedConv(outputs, outputs, config.w_dim, resolution, clamp=clamp)
        self.torgb = ToRGB(outputs, config.img_channels, config.w_dim, clamp)
        self.register_buffer("resample_filter", resample_filter())


class StyleGAN2(ConstantInputSynthesis):
    """A feature is the output of a convolution, after noise, bias and activation."""

    def __init__(self, config: SynthesisConfig):
        super().__init__()
        self.config = config
        inputs = 0
        for index, outputs in enumerate(config.channels):
            resolution = 4 * 2**index
            setattr(self, f"b{resolution}", Block(config, resolution, inputs, outputs))
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
        layers, style, noise = [], 0, 0
        for index in range(len(self.config.channels)):
            resolution = 4 * 2**index
            name = f"b{resolution}"
            block = getattr(self, name)
            convs = {
                part: getattr(block, part) for part in ("conv0", "conv1") if hasattr(block, part)
            }
            for part, conv in convs.items():
                layer = Layer(f"{name}.{part}", conv, conv.affine, style, noise, resolution, True)
                layers.append(layer)
                style, noise = style + 1, noise + 1
            # A toRGB layer shares its style input with the next block's first convolution.
            torgb = block.torgb
            layers.append(
                Layer(f"{name}.torgb", torgb, torgb.affine, style, None, resolution, False)
            )
        return layers

    @property
    def const(self) -> Tensor:
        return self.b4.const

    def add_rgb(self, layer: Layer, y: Tensor, rgb: Tensor | None) -> Tensor:
        if rgb is None:
            return y
        return upsample(rgb, getattr(self, f"b{layer.resolution}").resample_filter) + y
