"""Whether a face is still that of the person who is followed: by a network that recognises people.

Legend: S side of a crop that is aligned as FFHQ's are, D numbers of an embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facsimile.metrics import IdentityNetwork

EVERY = 10
"""Frames from one look at a face that hardly changes to the next: a look takes longer than a
frame."""
CHANGED = 0.12
"""Mean difference of the middles of two crops, in [-1, 1], from which on the face is looked at
again. A person who talks stays below it for some frames; another face is above it."""
COARSE = 16
"""Pixels a side at which these middles are compared."""
DOUBTFUL = 1.25
"""In thresholds of the network: so far from the first face may be one that is close to the last,
as in a turn of the head."""


class FollowedPerson:
    """Crops of a face, frame after frame -> whether they show the person of the first one."""

    def __init__(self, network: IdentityNetwork, device: torch.device | str):
        self.network, self.device = network, device
        self.distance = 0.0
        """From the first face, of the last that was looked at."""
        self._first: Tensor | None = None
        self._last: Tensor | None = None
        self._crop: Tensor | None = None
        self._frames = 0

    def stays(self, crop: Tensor) -> bool:
        """Whether a face that was followed to this crop (3, S, S) is still the person's.

        The network looks if the crop has changed since it did, and at every tenth frame.
        """
        coarse = _coarse(crop)
        self._frames += 1
        if self._crop is None or self._frames >= EVERY:
            return self.is_in(crop)
        changed = float((coarse - self._crop).abs().mean()) >= CHANGED
        return self.is_in(crop) if changed else True

    def is_in(self, crop: Tensor) -> bool:
        """Whether a crop (3, S, S) shows the person; the first one does."""
        embedding = self._embed([crop])
        if self._first is None or self._last is None:
            self._remember(crop, embedding)
            return True
        self.distance = float((embedding - self._first).norm())
        bound = self.network.threshold
        same = self.distance < bound or (
            self.distance < DOUBTFUL * bound and float((embedding - self._last).norm()) < bound
        )
        if same:
            self._remember(crop, embedding)
        return same

    def find(self, crops: Sequence[Tensor]) -> int | None:
        """Which of several crops (3, S, S) shows the person; None for none."""
        assert self._first is not None
        distances = (self._embed(crops) - self._first).norm(dim=1)  # (crops,)
        self.distance = float(distances.min())
        return int(distances.argmin()) if self.distance < self.network.threshold else None

    @torch.no_grad()
    def _embed(self, crops: Sequence[Tensor]) -> Tensor:
        """(crops, D) on the CPU."""
        return self.network.embed(torch.stack(list(crops)).to(self.device)).float().cpu()

    def _remember(self, crop: Tensor, embedding: Tensor) -> None:
        self._first = embedding if self._first is None else self._first
        self._last, self._crop, self._frames = embedding, _coarse(crop), 0


def _coarse(crop: Tensor) -> Tensor:
    """The middle half of a crop (3, S, S), where the face is, at about (3, COARSE, COARSE)."""
    side = crop.shape[-1]
    middle = crop[None, :, side // 4 : side - side // 4, side // 4 : side - side // 4]
    return avg_pool2d(middle, max(1, middle.shape[-1] // COARSE))[0]
