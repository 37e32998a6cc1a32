"""What the recipes of the small networks of faces share: one network, its rate and its average."""

import math
from typing import Any

from torch import Tensor, nn

from . import ema
from .recipe import BatchSlice, Trainable

FINAL_LR = 0.01
"""Share of the learning rate at the end of its schedule."""


class FaceNetworkRecipe:
    """A recipe adds the network, the photos, the losses, and what to report."""

    settings: Any  # with the sections `optimizer` and `ema`
    network: nn.Module
    average: nn.Module
    """The network's moving average, which is used."""
    trainables: tuple[Trainable, ...]

    def record(self, statistics: dict[str, Tensor]) -> None:
        """The losses return no statistics."""

    def learning_rates(self, images_seen: int) -> dict[str, float]:
        schedule = self.settings.optimizer
        rate = schedule.lr * cosine_decay(images_seen / schedule.lr_decay_images)
        return {x.name: rate for x in self.trainables}

    def on_step_end(self, batch: BatchSlice) -> None:
        settings = self.settings
        images_seen = (batch.step + 1) * settings.batch
        average = settings.ema
        factor = ema.decay(settings.batch, images_seen, average.ema_images, average.ema_rampup)
        ema.update(self.average, self.network, factor)

    def state(self) -> dict[str, Any]:
        return {"average": self.average.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])

    def extra_metrics(self) -> dict[str, float]:
        return {}


def cosine_decay(progress: float) -> float:
    """1 at progress 0, FINAL_LR from progress 1 on: half a cosine."""
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return FINAL_LR + (1 - FINAL_LR) * cosine
