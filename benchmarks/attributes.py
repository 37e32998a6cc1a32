"""A small network that says how old, bald, bearded and moustached a face is, for scores only.

It learns from the labels of training faces alone: {"ID": {"age": years, "bald": .., ..}, ..}, the
ID being the name of the face's file without its ending.

Legend: N faces, S side of the network's input.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from benchmarks import faces
from facsimile.stylegan.randomness import keyed_generator

NAMES = ("age", "bald", "beard", "moustache")
CENTURY = 100.0
"""Years that count as an age of 1."""
SIDE = 64
BATCH = 64
HELD_OUT = 100
"""Faces after those of the training, on which the network is tried."""


@dataclass(frozen=True)
class Attributes:
    network: nn.Module
    correlation: list[float]
    """With the labels of held-out faces, of each of NAMES; NaN where these do not differ."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, R, R) in [-1, 1] -> (N, 4) in [0, 1]: NAMES."""
        device = next(self.network.parameters()).device
        small = interpolate(images.to(device), (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.network(small).sigmoid().cpu()


def network() -> nn.Module:
    """Images (N, 3, S, S) -> logits (N, 4)."""
    layers: list[nn.Module] = []
    widths = (3, 32, 64, 128, 128)
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512, len(NAMES)))


def load_or_train(
    folder: Path, labels: Path, photos: Path, count: int, steps: int, device: str
) -> Attributes:
    """The network in the folder, trained first if it is not there.

    labels: JSON. photos: folder or .zip of the training faces, of which the first `count` are
    learnt from and the next HELD_OUT try it. Raises FileNotFoundError or ValueError.
    """
    digest = hashlib.sha256(labels.read_bytes() + f"{count} {steps} {SIDE}".encode()).hexdigest()
    path = folder / f"attributes-{digest[:8]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = network()
    if not path.is_file():
        correlation = train(net, labels, photos, count, steps, device)
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"correlation": json.dumps(correlation)}
        save_file({k: x.cpu().contiguous() for k, x in net.state_dict().items()}, path, metadata)
    with safe_open(path, "pt") as file:
        correlation = json.loads(file.metadata()["correlation"])
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return Attributes(net.eval().requires_grad_(False).to(device), correlation)


def train(
    net: nn.Module, labels: Path, photos: Path, count: int, steps: int, device: str
) -> list[float]:
    """Fit the network, and its correlations on the faces after the first `count`."""
    known = json.loads(labels.read_text())
    learnt = faces.read(photos, SIDE, count).to(device)
    values, is_known = targets(known, learnt.names)
    chosen = is_known.nonzero()[:, 0]
    if not len(chosen):
        raise ValueError(f"{labels} has labels of none of the faces in {photos}; name their file")
    rng = keyed_generator("cpu", 0, "attributes")
    net.to(device).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(steps):
        some = chosen[torch.randint(len(chosen), (BATCH,), generator=rng)]
        images = learnt.images[some.to(device)]
        if torch.rand((), generator=rng) < 0.5:
            images = images.flip(3)
        loss = binary_cross_entropy_with_logits(net(images), values[some].to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval().requires_grad_(False)
    tried = faces.read(photos, SIDE, HELD_OUT, first=count).to(device)
    values, is_known = targets(known, tried.names)
    predictions = Attributes(net, [])(tried.images)[is_known]
    pairs = zip(predictions.T, values[is_known].T, strict=True)
    return [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]


def targets(known: dict[str, dict], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(N, 4) labels of files in [0, 1], and (N,) whether there are any."""
    rows = [known.get(Path(name).stem) for name in names]
    values = [[0.0 if row is None else float(row[x]) for x in NAMES] for row in rows]
    labels = torch.tensor(values) / torch.tensor([CENTURY, 1, 1, 1])
    return labels.clamp(0, 1), torch.tensor([row is not None for row in rows])
