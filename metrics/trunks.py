"""The networks of the perceptual distances: LPIPS, VGG16 layers, SqueezeNet, a discriminator.

Legend: N images, C channels, HxW pixels. lpips and torchvision are imported where they are used.
"""

import copy
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from .perceptual import Perceptual, unit
from .trunk_weights import load_trunk, trunk_file

# ImageNet's mean and deviation, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) on [0, 1], for
# images in [-1, 1]. LPIPS uses the same numbers.
IMAGENET_SHIFT = (-0.030, -0.088, -0.188)
IMAGENET_SCALE = (0.458, 0.448, 0.450)

IMAGE2STYLEGAN = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
IMAGE2STYLEGAN_PP = ("conv1_1", "conv1_2", "conv2_2", "conv3_3")

SMALL_IMAGE = 20_480
"""On a CPU PyTorch convolves one image of up to so many numbers with another routine than a batch,
which rounds differently: refinement would amplify that, so such an image goes in twice."""

SQUEEZENET_TAPS = (1, 4, 7, 9, 10, 11, 12)
"""The layers at which LPIPS taps SqueezeNet 1.1."""

LPIPS_TRUNKS = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 17),
}
"""Per LPIPS network: torchvision's name of its weights, least side in pixels."""


class Discriminator(Protocol):
    """What a discriminator offers: `features`: (N, C, H, W) in [-1, 1] -> its blocks' outputs."""

    img_resolution: int
    img_channels: int

    def features(self, image: Tensor) -> list[Tensor]: ...


class Trunk(nn.Module):
    """The first layers of an ImageNet network, tapped, with each tap's channels weighted.

    layers:  the network's layers in order; ReLUs may work in place: every tap is behind one.
    taps:    ascending indices of layers whose output is a feature.
    weights: per tap the factor of the *squared* difference, (C_l,) or one number.
    unit:    whether each pixel's channel vector is brought to length 1 first.
    """

    def __init__(
        self, layers: nn.Sequential, taps: Sequence[int], weights: Sequence[Tensor], unit: bool
    ) -> None:
        super().__init__()
        starts = (0, *(tap + 1 for tap in taps))
        self.slices = nn.ModuleList(
            layers[start : tap + 1] for start, tap in zip(starts, taps, strict=False)
        )
        self.unit = unit
        self.register_buffer("shift", torch.tensor(IMAGENET_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(IMAGENET_SCALE).view(1, 3, 1, 1))
        for index, weight in enumerate(weights):
            self.register_buffer(f"root{index}", weight.detach().sqrt().view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (N, 3, H, W) in [-1, 1] -> per tap (N, C_l, h_l, w_l)."""
        x = (image - self.shift) / self.scale
        n, features = len(x), []
        for index, layers in enumerate(self.slices):
            for layer in layers:
                if len(x) == 1 and x.numel() <= SMALL_IMAGE and x.device.type == "cpu":
                    x = torch.cat([x, x.detach()])
                x = layer(x)
            root = self.get_buffer(f"root{index}")
            features.append(unit(x[:n], root) if self.unit else x[:n] * root)
        return features


class DiscriminatorTrunk(nn.Module):
    """A discriminator's block outputs, scaled so that `distance` is a mean of 1 - cosine."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (N, C, H, W) in [-1, 1] -> per block (N, C_l, h_l, w_l)."""
        features = self.discriminator.features(image)
        # |u - v|^2 = 2 - 2 cos for unit vectors; half of it, and the mean over the blocks.
        root = (0.5 / len(features)) ** 0.5
        return [unit(feature, root, eps=1e-6) for feature in features]


def lpips_distance(
    net: Literal["alex", "vgg", "squeeze"] = "vgg",
    weights: Path | None = None,
    *,
    side: int | None = 256,
    random: bool = False,
) -> Perceptual:
    """LPIPS 0.1: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", eq. 1.

    Linear weights from the lpips package; the trunk's from `weights` (a torchvision state dict),
    else from torch's cache or the internet. side: longest side shown to the network, pixels.
    random: leave the trunk random, from a fixed seed: for tests.
    Raises FileNotFoundError, naming file and folder, when the trunk's weights cannot be had.
    """
    if net not in LPIPS_TRUNKS:
        raise ValueError(f"got net={net!r}, expected one of {', '.join(LPIPS_TRUNKS)}")
    network, smallest = LPIPS_TRUNKS[net]
    # Before the slow imports: the caller may have another choice.
    path = None if random else trunk_file(network, weights)
    import lpips

    # Building draws a random trunk: keep that away from the caller's random numbers.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        torch.default_generator.manual_seed(0)
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    slices = [getattr(model.net, f"slice{i + 1}") for i in range(model.net.N_slices)]
    layers = nn.Sequential(*(layer for part in slices for layer in part))
    if path is not None:
        load_trunk(layers, path)
    taps = [end - 1 for end in accumulate(len(part) for part in slices)]
    trunk = Trunk(layers, taps, [lin.model[-1].weight.flatten() for lin in model.lins], unit=True)
    card = (
        f"LPIPS 0.1, {net} backbone, {_shown(side)}, mean over pixels, sum over layers; 0 = equal"
    )
    return Perceptual(
        f"lpips-{net}", trunk, card + ", lower is better", side=side, smallest=smallest
    )


def vgg16_layers(
    layers: Sequence[str] = IMAGE2STYLEGAN,
    weights: Path | None = None,
    *,
    side: int | None = 256,
    name: str = "vgg16",
    random: bool = False,
) -> Perceptual:
    """Image2StyleGAN, eq. 2: sum over layers of ||F_l(a) - F_l(b)||^2 / N_l, F_l after the ReLU.

    layers: such as "conv3_2", used in the network's order, none computed beyond the last.
    torchvision's VGG16 with ImageNet's mean and deviation; arguments as `lpips_distance`.
    Raises ValueError on a layer that VGG16 lacks, FileNotFoundError when weights cannot be had.
    """
    from torchvision.models import vgg16

    with torch.device("meta"):
        stack = vgg16(init_weights=False).features
    known = _convolutions(stack)
    if not layers or not set(layers) <= set(known):
        raise ValueError(f"got layers {list(layers)}, expected names among {', '.join(known)}")
    taps = sorted({known[layer] for layer in layers})
    stack = stack[: taps[-1] + 1]
    if random:
        _draw(stack)
    else:
        load_trunk(stack, trunk_file("VGG16_Weights", weights))
    counts = [stack[tap - 1].out_channels for tap in taps]
    trunk = Trunk(stack, taps, [torch.tensor(1 / count) for count in counts], unit=False)
    card = (
        f"VGG16 (torchvision, ImageNet) {', '.join(layers)} after ReLU, {_shown(side)}, mean over "
        "all scalars of a layer, sum over layers; 0 = equal, lower is better"
    )
    return Perceptual(name, trunk, card, side=side, smallest=16)


def squeezenet_features(
    weights: Path | None, *, side: int | None = 256, random: bool = False
) -> Perceptual:
    """Unit-length features of an ImageNet SqueezeNet 1.1, all weighted alike: not LPIPS.

    It taps the layers that LPIPS taps, but has no weights fitted to human judgement: an outside
    judge. weights: a .safetensors or .pth file with torchvision's names; arguments as
    `lpips_distance`. Distances lie in [0, 2].
    """
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        stack = squeezenet1_1().features
    if random:
        _draw(stack)
    else:
        load_trunk(stack, trunk_file("SqueezeNet1_1_Weights", weights))
    share = torch.tensor(1 / len(SQUEEZENET_TAPS))
    trunk = Trunk(stack, SQUEEZENET_TAPS, [share] * len(SQUEEZENET_TAPS), unit=True)
    card = (
        f"squared distance of unit SqueezeNet 1.1 features (ImageNet; not LPIPS), {_shown(side)}, "
        "mean over pixels and layers; 0 = equal, at most 2, lower is better"
    )
    return Perceptual("squeezenet1_1", trunk, card, side=side, smallest=17)


def discriminator_features(discriminator: Discriminator) -> Perceptual:
    """1 - cosine between a discriminator's block features, mean over pixels and blocks, in [0, 2].

    Images larger than the discriminator's resolution are shrunk to it. A discriminator that is
    still being trained is copied and the copy is frozen; a frozen one is used as it is.
    """
    if isinstance(discriminator, nn.Module) and (
        discriminator.training or any(p.requires_grad for p in discriminator.parameters())
    ):
        discriminator = copy.deepcopy(discriminator)
    side = discriminator.img_resolution
    card = (
        f"1 - cosine of the generator's own discriminator's features, {_shown(side)}, mean over "
        "pixels and blocks; 0 = equal, at most 2, lower is better; not comparable between networks"
    )
    return Perceptual(
        "discriminator",
        DiscriminatorTrunk(discriminator),
        card,
        side=side,
        multiple=4,
        channels=discriminator.img_channels,
    )


def _shown(side: int | None) -> str:
    if side is None:
        return "images [-1, 1] at full size"
    return f"images [-1, 1] shrunk to at most {side} px (area or antialiased bicubic)"


def _convolutions(stack: nn.Sequential) -> dict[str, int]:
    """Index of the ReLU behind each convolution of a VGG, by the papers' names ("conv3_2")."""
    found, block, number = {}, 1, 0
    for index, layer in enumerate(stack):
        if isinstance(layer, nn.Conv2d):
            number += 1
            found[f"conv{block}_{number}"] = index + 1
        elif isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
    return found


def _draw(stack: nn.Sequential) -> None:
    """Random weights from a fixed seed, of a size that keeps signals alive through ReLUs."""
    stack.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.parameters():
        fan_in = max(parameter[0].numel(), 1)
        with torch.no_grad():
            parameter.normal_(
                0, (2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.01, generator=generator
            )
