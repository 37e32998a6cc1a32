"""The networks of the perceptual distances: LPIPS, VGG16 layers, SqueezeNet, a discriminator.

Legend: N images, C channels, HxW pixels; tap l is a layer whose output is a feature, with C_l
channels and h_l x w_l pixels. lpips and torchvision are imported where they are used.
"""

import copy
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from .backbone_weights import backbone_file, load_backbone
from .perceptual import Perceptual, normalize_features

# ImageNet's mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225), which are for
# images in [0, 1], converted to [-1, 1]. LPIPS uses the same numbers.
IMAGENET_SHIFT = (-0.030, -0.088, -0.188)
IMAGENET_SCALE = (0.458, 0.448, 0.450)

IMAGE2STYLEGAN = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
IMAGE2STYLEGAN_PP = ("conv1_1", "conv1_2", "conv2_2", "conv3_3")

SMALL_IMAGE = 20_480
"""Numbers in an image. On a CPU PyTorch convolves a single image of up to this size with another
routine than a batch, which rounds differently. Refinement would amplify the difference, so such an
image is evaluated twice in a batch."""

SQUEEZENET_TAPS = (1, 4, 7, 9, 10, 11, 12)
"""LPIPS's taps of SqueezeNet 1.1."""

LPIPS_BACKBONES = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 17),
}
"""LPIPS network -> (torchvision's name of its weights, smallest side in pixels)."""


class Discriminator(Protocol):
    """A discriminator; `features`: images (N, C, H, W) in [-1, 1] -> the outputs of its blocks."""

    img_resolution: int
    img_channels: int

    def features(self, image: Tensor) -> list[Tensor]: ...


class Backbone(nn.Module):
    """The first layers of an ImageNet network; the channels of each tap are weighted.

    layers:    the network's layers in order; ReLUs may work in place, as every tap follows one.
    taps:      ascending indices of the layers whose output is a feature.
    weights:   per tap the factor of the *squared* difference, (C_l,) or one number.
    normalize: whether each pixel's channel vector is divided by its length first.
    """

    def __init__(
        self, layers: nn.Sequential, taps: Sequence[int], weights: Sequence[Tensor], normalize: bool
    ) -> None:
        super().__init__()
        starts = (0, *(tap + 1 for tap in taps))
        self.slices = nn.ModuleList(
            layers[start : tap + 1] for start, tap in zip(starts, taps, strict=False)
        )
        self.normalize = normalize
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
            features.append(normalize_features(x[:n], root) if self.normalize else x[:n] * root)
        return features


class DiscriminatorBackbone(nn.Module):
    """A discriminator's block outputs, scaled so that `distance` is a mean of 1 - cosine."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (N, C, H, W) in [-1, 1] -> per block (N, C_l, h_l, w_l)."""
        features = self.discriminator.features(image)
        # |u - v|^2 = 2 - 2 cos for unit vectors; half of it, and the mean over the blocks.
        root = (0.5 / len(features)) ** 0.5
        return [normalize_features(feature, root, eps=1e-6) for feature in features]


def lpips_distance(
    net: Literal["alex", "vgg", "squeeze"] = "vgg",
    weights: Path | None = None,
    *,
    max_size: int | None = 256,
    random: bool = False,
) -> Perceptual:
    """LPIPS 0.1: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", eq. 1.

    net: the backbone. Its weights are read from `weights` (a torchvision state dict), else from
    torch's cache or the internet; the linear weights are those of the lpips package.
    max_size: the longest side that the network processes, in pixels; None: any.
    random: random backbone weights from a fixed seed, for tests.
    Raises FileNotFoundError, naming file and folder, when the weights are not available.
    """
    if net not in LPIPS_BACKBONES:
        raise ValueError(f"got net={net!r}, expected one of {', '.join(LPIPS_BACKBONES)}")
    network, min_size = LPIPS_BACKBONES[net]
    # Before the slow imports: without the file, the caller may choose another distance.
    path = None if random else backbone_file(network, weights)
    import lpips

    # The package initialises its backbone randomly; the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        torch.default_generator.manual_seed(0)
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    slices = [getattr(model.net, f"slice{i + 1}") for i in range(model.net.N_slices)]
    layers = nn.Sequential(*(layer for part in slices for layer in part))
    if path is not None:
        load_backbone(layers, path)
    taps = [end - 1 for end in accumulate(len(part) for part in slices)]
    channel_weights = [lin.model[-1].weight.flatten() for lin in model.lins]
    backbone = Backbone(layers, taps, channel_weights, normalize=True)
    description = (
        f"LPIPS 0.1, {net} backbone, {_input_size(max_size)}, mean over pixels, sum over layers; "
        "0 = equal, lower is better"
    )
    return Perceptual(f"lpips-{net}", backbone, description, max_size=max_size, min_size=min_size)


def vgg16_layers(
    layers: Sequence[str] = IMAGE2STYLEGAN,
    weights: Path | None = None,
    *,
    max_size: int | None = 256,
    name: str = "vgg16",
    random: bool = False,
) -> Perceptual:
    """Image2StyleGAN, eq. 2: sum over layers of ||F_l(a) - F_l(b)||^2 / N_l, F_l after the ReLU.

    layers: names such as "conv3_2"; no layer is computed beyond the last of them.
    The network is torchvision's VGG16, with ImageNet's mean and standard deviation. The other
    arguments are those of `lpips_distance`. Raises ValueError for a layer that VGG16 does not have,
    FileNotFoundError when the weights are not available.
    """
    from torchvision.models import vgg16

    with torch.device("meta"):
        stack = vgg16(init_weights=False).features
    relus = _relu_indices(stack)
    if not layers or not set(layers) <= set(relus):
        raise ValueError(f"got layers {list(layers)}, expected names among {', '.join(relus)}")
    taps = sorted({relus[layer] for layer in layers})
    stack = stack[: taps[-1] + 1]
    if random:
        _randomize(stack)
    else:
        load_backbone(stack, backbone_file("VGG16_Weights", weights))
    counts = [stack[tap - 1].out_channels for tap in taps]
    backbone = Backbone(stack, taps, [torch.tensor(1 / count) for count in counts], normalize=False)
    description = (
        f"VGG16 (torchvision, ImageNet) {', '.join(layers)} after ReLU, {_input_size(max_size)}, "
        "mean over all scalars of a layer, sum over layers; 0 = equal, lower is better"
    )
    return Perceptual(name, backbone, description, max_size=max_size, min_size=16)


def squeezenet_features(
    weights: Path | None, *, max_size: int | None = 256, random: bool = False
) -> Perceptual:
    """Normalised features of an ImageNet SqueezeNet 1.1, all weighted equally: not LPIPS.

    It has LPIPS's taps, but no weights fitted to human judgement; it is for scoring what was not
    optimised with it. weights: a .safetensors or .pth file with torchvision's names. The other
    arguments are those of `lpips_distance`. Distances are in [0, 2].
    """
    stack = squeezenet_layers(weights, random=random)
    share = torch.tensor(1 / len(SQUEEZENET_TAPS))
    backbone = Backbone(stack, SQUEEZENET_TAPS, [share] * len(SQUEEZENET_TAPS), normalize=True)
    description = (
        "squared distance of unit SqueezeNet 1.1 features (ImageNet; not LPIPS), "
        f"{_input_size(max_size)}, mean over pixels and layers; 0 = equal, at most 2, "
        "lower is better"
    )
    return Perceptual("squeezenet1_1", backbone, description, max_size=max_size, min_size=17)


def squeezenet_layers(weights: Path | None, *, random: bool = False) -> nn.Sequential:
    """The convolutional layers of an ImageNet SqueezeNet 1.1, from a file or torch's cache.

    random: random weights from a fixed seed, for tests.
    """
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        stack = squeezenet1_1().features
    if random:
        _randomize(stack)
    else:
        load_backbone(stack, backbone_file("SqueezeNet1_1_Weights", weights))
    return stack


def discriminator_features(discriminator: Discriminator) -> Perceptual:
    """1 - cosine between a discriminator's block features, mean over pixels and blocks, in [0, 2].

    Images larger than the discriminator's resolution are shrunk to it. A discriminator in training
    is copied and the copy is frozen; a frozen one is used itself.
    """
    if isinstance(discriminator, nn.Module) and (
        discriminator.training or any(p.requires_grad for p in discriminator.parameters())
    ):
        discriminator = copy.deepcopy(discriminator)
    max_size = discriminator.img_resolution
    description = (
        "1 - cosine of the generator's own discriminator's features, "
        f"{_input_size(max_size)}, mean over pixels and blocks; 0 = equal, at most 2, "
        "lower is better; not comparable between networks"
    )
    return Perceptual(
        "discriminator",
        DiscriminatorBackbone(discriminator),
        description,
        max_size=max_size,
        multiple=4,
        channels=discriminator.img_channels,
    )


def _input_size(max_size: int | None) -> str:
    if max_size is None:
        return "images [-1, 1] at full size"
    return f"images [-1, 1] shrunk to at most {max_size} px (area or antialiased bicubic)"


def _relu_indices(stack: nn.Sequential) -> dict[str, int]:
    """Index of the ReLU after each convolution of a VGG, by the papers' names ("conv3_2")."""
    indices, block, number = {}, 1, 0
    for index, layer in enumerate(stack):
        if isinstance(layer, nn.Conv2d):
            number += 1
            indices[f"conv{block}_{number}"] = index + 1
        elif isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
    return indices


def _randomize(stack: nn.Sequential) -> None:
    """Random weights from a fixed seed (He initialisation, which suits ReLUs)."""
    stack.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.parameters():
        fan_in = max(parameter[0].numel(), 1)
        with torch.no_grad():
            parameter.normal_(
                0, (2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.01, generator=generator
            )
