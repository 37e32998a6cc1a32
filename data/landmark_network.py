"""The small landmark network: from the image of a face to 68 points, and whether it is a face.

Legend: N images, R side of the image, S side of the network's input, g x g cells, C channels,
K = 68 points.

Each cell predicts each point by an offset from its centre, and an attention weight: a softmax over
the cells. The weighted sum has subpixel accuracy, may lie outside the image, and is differentiable.
This is the soft-argmax of "Integral Human Pose Regression" with the offsets of "Pixel-in-Pixel Net:
Towards Efficient Facial Landmark Detection in the Wild".
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from facsimile.metrics.resize import resize
from facsimile.stylegan import files, freeze

from .photos import check_square
from .points68 import NUM_POINTS

FORMAT, KIND = "facsimile landmarks", "points68"
VERSION = 1
"""Of the files that `save` writes. Older files are the same, but have no version."""
FILE = "landmarks.safetensors"
SLOPE = 0.2
"""Of the leaky ReLUs."""
HALVINGS = 3
"""From the side of the input to the cells."""


@dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Sizes of a `LandmarkNetwork`."""

    side: int = 64
    """S: images are resized to it."""
    width: int = 24
    """Channels of the first stage. The second has twice, the third four times as many."""
    depth: int = 3
    """Residual blocks on the cells."""

    def __post_init__(self) -> None:
        if self.side < 16 or self.side % 2**HALVINGS:
            raise ValueError(
                f"got a side of {self.side} pixels, expected a multiple of {2**HALVINGS}, "
                "at least 16"
            )
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"got width {self.width} and depth {self.depth}, expected at least 1")


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), without normalisation: images do not influence one another."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.first(self.act(x))))


class LandmarkNetwork(nn.Module):
    """Images (N, 1 or 3, R, R) in [-1, 1] -> points (N, K, 2) in pixels and logits (N,)."""

    def __init__(self, config: LandmarkConfig):
        super().__init__()
        self.config = config
        w, act = config.width, nn.LeakyReLU(SLOPE)
        self.body = nn.Sequential(
            nn.Conv2d(3, w, 3, stride=2, padding=1),
            act,
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
            ResidualBlock(2 * w),
            act,
            nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1),
            *(ResidualBlock(4 * w) for _ in range(config.depth)),
            act,
        )
        self.votes = nn.Conv2d(4 * w, 3 * NUM_POINTS, 1)
        self.presence = nn.Linear(4 * w, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            # At initialisation blocks are the identity, and all cells get equal weight.
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.second.weight.zero_()
            self.votes.weight.mul_(0.1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """R may be any side; ValueError for images of another shape."""
        check_square(images)
        x = resize(images, (self.config.side,) * 2, clamp=True).expand(-1, 3, -1, -1)
        points, logits = self.predict(x)
        return points * images.shape[-1], logits

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, 3, S, S) -> points (N, K, 2) in sides of the image, and logits (N,) of a face."""
        # Brightness and contrast do not depend on where the points are.
        deviation, mean = torch.std_mean(x, (1, 2, 3), correction=0, keepdim=True)
        x = self.body((x - mean) / (deviation + 0.05))
        weights, offsets = self.votes(x).flatten(2).split([NUM_POINTS, 2 * NUM_POINTS], 1)
        weights = weights.softmax(2)[:, :, None]  # (N, K, 1, g g)
        predicted = _cell_centres(x.shape[-1]).to(x) + offsets.unflatten(1, (NUM_POINTS, 2))
        points = (weights * predicted).sum(3) / x.shape[-1]
        return points, self.presence(x.mean((2, 3)))[:, 0]


def _cell_centres(cells: int) -> Tensor:
    """(2, cells^2): x and y of the centres, in cells."""
    middle = torch.arange(cells) + 0.5
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])


def save(network: LandmarkNetwork, path: str | Path) -> None:
    """Write a network as one .safetensors file in float16; raises OSError."""
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": KIND,
        "config": json.dumps(asdict(network.config)),
    }
    tensors = {name: x.half() for name, x in network.state_dict().items()}
    files.write_tensors(path, tensors, metadata)


def load(path: str | Path, device: torch.device | str = "cpu") -> LandmarkNetwork:
    """The frozen network of a file, or of a run's folder, in float32.

    Raises FileNotFoundError, or ValueError if the file holds something else.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a landmark network's file, or a folder with {FILE}"
        )
    metadata, tensors = files.read_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") != KIND:
        raise ValueError(
            f"{path} is not a landmark network; expected a file of facsimile train landmarks"
        )
    files.check_version(path, metadata, VERSION)
    try:
        network = LandmarkNetwork(LandmarkConfig(**json.loads(metadata["config"])))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error).splitlines()[0]}); copy it again"
        ) from error
    return freeze(network).to(device)
