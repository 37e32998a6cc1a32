"""Activation tensors: what one layer draws for two pictures, put together ("Image2StyleGAN++",
sections 5.4 and 7.6).

Legend: C channels of the layer, HxW its pixels, R resolution of the generator.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.synthesis import Feature

from .local_edit import start_in_w_plus
from .parameters import Parameter

LAYER = Parameter(
    name="layer",
    # StyleGAN2's nearest to the paper's layer 4, the second convolution at 8x8.
    default="b8.conv1",
    help="The layer whose activation is changed, such as b8.conv1 or b16.conv0.",
)


def activation(generator: Generator, latents: Latents, layer: str) -> Feature:
    """A_l: the output of a layer, after noise, bias and activation, with the RGB skip so far.

    Latents with a feature of that very layer hold it already. Raises ValueError for those with one
    of another layer, or in S.
    """
    if latents.layer == layer and latents.feature is not None:
        return Feature(layer, latents.feature, latents.rgb)
    codes = start_in_w_plus(generator, latents, "transfer").code
    feature = generator.synthesize(codes, latents.noise or "const", stop=layer)
    assert isinstance(feature, Feature)
    return feature


def attributes(generator: Generator, a: Feature, b: Feature, m1: Tensor, m2: Tensor) -> Tensor:
    """I_att: t = M_1 A_l + (1 - M_2) B_l, the masks (N, 1, R, R) taken to the layer's size by the
    nearest neighbour."""
    small = [interpolate(m, a.x.shape[2:], mode="nearest").to(a.x) for m in (m1, m2)]
    return small[0] * a.x + (1 - small[1]) * b.x


def copy_channels(a: Feature, b: Feature, channels: Sequence[int]) -> Tensor:
    """t[c] = A[c] for the chosen channels, else B[c]."""
    chosen = torch.zeros(a.x.shape[1], dtype=torch.bool, device=a.x.device)
    chosen[list(channels)] = True
    return torch.where(chosen[:, None, None], a.x, b.x)


def with_activation(generator: Generator, base: Latents, feature: Feature) -> Latents:
    """The base in f/w+ with this activation: styles, noise maps and RGB skip are its own."""
    if base.layer == feature.layer:
        return replace(base, feature=feature.x)
    codes = start_in_w_plus(generator, base, "transfer")
    return replace(codes, space="f/w+", layer=feature.layer, feature=feature.x, rgb=feature.rgb)
