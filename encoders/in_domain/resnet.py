"""The former network of the in-domain encoder, that of the authors' code.

A dense layer makes all codes of one vector. Legend: N images, HxW pixels, L style inputs, D numbers
in w.
"""

from torch import Tensor, nn

from facsimile.stylegan.layers import SLOPE
from facsimile.stylegan.pooling import mean2x2

from ..layers import MIN_SIDE, GhostBatchNorm, channel_schedule
from .config import InDomainConfig


class DownBlock(nn.Module):
    """Halves the side, then a residual block."""

    def __init__(self, inputs: int, outputs: int, bn_group_size: int):
        super().__init__()
        hidden = min(inputs, outputs)
        self.main = nn.Sequential(
            *_conv_block(inputs, hidden, 3, bn_group_size),
            *_conv_block(hidden, outputs, 3, bn_group_size),
        )
        self.skip = nn.Sequential()
        if inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.skip = nn.Sequential(conv, GhostBatchNorm(outputs, bn_group_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        x = mean2x2(x)
        return self.main(x) + self.skip(x)


def resnet_modules(config: InDomainConfig, bn_group_size: int) -> dict[str, nn.Module]:
    """Its parts by their names in files, in order; those after "dense" work on (N, L * D).

    The dense layer has no bias, which the normalisation after it, the paper's, would cancel.
    """
    channels = channel_schedule(config.resolution, config.width, config.max_width)
    first = nn.Sequential(*_conv_block(config.img_channels, channels[0], 5, bn_group_size))
    pairs = zip(channels, channels[1:], strict=False)
    blocks = nn.Sequential(*(DownBlock(a, b, bn_group_size) for a, b in pairs))
    codes = config.num_ws * config.w_dim
    dense = nn.Linear(channels[-1] * MIN_SIDE**2, codes, bias=False)
    parts = {"first": first, "blocks": blocks, "dense": dense}
    parts["norm"] = GhostBatchNorm(codes, bn_group_size)
    for part in parts.values():
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return parts


def _conv_block(inputs: int, outputs: int, kernel: int, bn_group_size: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return [conv, nn.LeakyReLU(SLOPE), GhostBatchNorm(outputs, bn_group_size)]
