"""The small region network: from the image of a face to the probability of each part at a pixel.

Legend: N images, R side of the image, S side of the network's input, C channels, K classes.

A U-Net ("U-Net: Convolutional Networks for Biomedical Image Segmentation") of residual blocks whose
skips are added. The first convolution halves the side; the last one predicts 2 x 2 pixels at once.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.pixels import from_uint8
from facsimile.metrics.resize import resize
from facsimile.stylegan import files, freeze

from .landmark_network import SLOPE, ResidualBlock
from .photos import check_square

FORMAT, KIND, VERSION = "facsimile regions", "face parts", 1
FILE = "regions.safetensors"
CLASSES = ("background", "hair", "body", "skin", "brows", "eyes", "nose", "lips", "teeth")
"""Every pixel belongs to one. "body": neck and clothes, and what else of the person is not hair or
face. "teeth": the opening between the lips. "skin": the rest of the face."""
COLOURS = (
    *((0, 0, 0), (200, 60, 200), (60, 60, 200), (230, 180, 140), (120, 60, 0), (0, 200, 255)),
    *((255, 200, 0), (255, 0, 0), (255, 255, 255)),
)
"""RGB of the classes in pictures of them."""
REGIONS: dict[str, tuple[str, ...]] = {
    "eyes": ("eyes",),
    "brows": ("brows",),
    "nose": ("nose",),
    "mouth": ("lips", "teeth"),
    "lips": ("lips",),
    "teeth": ("teeth",),
    "face": ("skin", "brows", "eyes", "nose", "lips", "teeth"),
    "skin": ("skin",),
    "hair": ("hair",),
    "person": ("hair", "body", "skin", "brows", "eyes", "nose", "lips", "teeth"),
    "background": ("background",),
}
"""Words of `--mask`, and the classes that each is made of."""
HALVINGS = 4
"""From the side of the input to the coarsest stage."""


@dataclass(frozen=True, kw_only=True)
class RegionConfig:
    """Sizes of a `RegionNetwork`."""

    side: int = 128
    """S: images are resized to it."""
    width: int = 16
    """Channels of the finest stage. Each coarser one has twice as many."""
    depth: int = 2
    """Residual blocks of the coarsest stage."""

    def __post_init__(self) -> None:
        if self.side < 16 or self.side % 2**HALVINGS:
            raise ValueError(
                f"got a side of {self.side} pixels, expected a multiple of {2**HALVINGS}"
            )
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"got width {self.width} and depth {self.depth}, expected at least 1")


class RegionNetwork(nn.Module):
    """Images (N, 1 or 3, R, R) in [-1, 1] -> probabilities (N, K, R, R) and logits (N,)."""

    def __init__(self, config: RegionConfig):
        super().__init__()
        self.config = config
        channels = [config.width * 2**stage for stage in range(HALVINGS)]
        finest, coarsest = channels[0], channels[-1]
        self.stem = nn.Conv2d(3, finest, 3, stride=2, padding=1)
        self.encode = nn.ModuleList(ResidualBlock(c) for c in channels[:-1])
        pairs = list(zip(channels, channels[1:], strict=False))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.middle = nn.Sequential(*(ResidualBlock(coarsest) for _ in range(config.depth)))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(pairs))
        self.decode = nn.ModuleList(ResidualBlock(a) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(finest, 4 * len(CLASSES), 3, padding=1)
        self.presence = nn.Linear(coarsest, 1)
        self.act = nn.LeakyReLU(SLOPE)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            # At initialisation blocks are the identity, and all classes nearly equally likely.
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.second.weight.zero_()
            self.head.weight.mul_(0.1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """R may be any side; ValueError for images of another shape."""
        check_square(images)
        x = resize(images, (self.config.side,) * 2, clamp=True).expand(-1, 3, -1, -1)
        logits, presence = self.predict(x)
        size = images.shape[-2:]
        if images.shape[-1] > self.config.side:  # logits keep edges sharp when they are enlarged
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            return logits.softmax(1), presence
        return resize(logits.softmax(1), (size[0], size[1])).clamp(0, 1), presence

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, 3, S, S) -> logits (N, K, S, S), and logits (N,) of a face."""
        # Brightness and contrast do not depend on where the parts are.
        deviation, mean = torch.std_mean(x, (1, 2, 3), correction=0, keepdim=True)
        x = self.stem((x - mean) / (deviation + 0.05))
        skips = []
        for block, down in zip(self.encode, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(self.act(x))
        x = self.middle(x)
        presence = self.presence(self.act(x).mean((2, 3)))[:, 0]
        for up, block in zip(self.up, self.decode, strict=True):
            x = F.interpolate(up(self.act(x)), scale_factor=2.0, mode="nearest")
            x = block(x + skips.pop())
        return F.pixel_shuffle(self.head(self.act(x)), 2), presence


@dataclass(frozen=True)
class Regions:
    """What the network sees in N images."""

    shares: Tensor
    """(N, K, R, R), probability of each class at each pixel."""
    is_face: Tensor
    """(N,) bool: whether the image shows an upright face. Elsewhere the rest means nothing."""


class RegionFinder:
    """The network of a file, averaged over an image and its mirror image."""

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        """path: the network's file or a run's folder. Raises FileNotFoundError or ValueError."""
        self.network = load(path, device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Regions:
        """images: (N, 1 or 3, R, R) in [-1, 1], faces aligned as FFHQ's are, of any side."""
        shares, presence = self.network(torch.cat([images, images.flip(3)]))
        shares, mirrored = shares.chunk(2)
        return Regions((shares + mirrored.flip(3)) / 2, presence.unflatten(0, (2, -1)).mean(0) > 0)


def region_map(shares: Tensor, name: str) -> Tensor:
    """shares: (N, K, R, R), probabilities of the classes -> that of a region (N, 1, R, R)."""
    return shares[:, [CLASSES.index(part) for part in REGIONS[name]]].sum(1, keepdim=True)


def class_colours(classes: Tensor) -> Tensor:
    """classes: (N, R, R), indices of `CLASSES` -> a picture of them (N, 3, R, R) in [-1, 1]."""
    table = from_uint8(torch.tensor(COLOURS, dtype=torch.uint8, device=classes.device))
    return table[classes.long()].movedim(3, 1)


def save(network: RegionNetwork, path: str | Path) -> None:
    """Write a network as one .safetensors file in float16; raises OSError."""
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": KIND,
        "config": json.dumps(asdict(network.config)),
        "classes": json.dumps(CLASSES),
    }
    files.write_tensors(path, {k: x.half() for k, x in network.state_dict().items()}, metadata)


def load(path: str | Path, device: torch.device | str = "cpu") -> RegionNetwork:
    """The frozen network of a file, or of a run's folder, in float32.

    Raises FileNotFoundError, or ValueError if the file holds something else.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a region network's file, or a folder with {FILE}"
        )
    metadata, tensors = files.read_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") != KIND:
        raise ValueError(
            f"{path} is not a region network; expected a file of facsimile train regions"
        )
    files.check_version(path, metadata, VERSION)
    try:
        if tuple(json.loads(metadata["classes"])) != CLASSES:
            raise ValueError(f"it knows {metadata['classes']}, not {', '.join(CLASSES)}")
        network = RegionNetwork(RegionConfig(**json.loads(metadata["config"])))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error).splitlines()[0]}); copy it again"
        ) from error
    return freeze(network).to(device)
