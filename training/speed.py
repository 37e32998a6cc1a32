"""The speed of a run, and what the rest of it will take: time, disk, on which machine."""

import time
from typing import Any

import torch

from .machine import duration, format_bytes, machine_name, tensor_bytes
from .settings import TrainingSettings

WARM_UP = 1
"""Steps that are not timed: the first takes longer."""
TIMED = 3
"""Steps by which the speed is told."""
SLOW = 3600.0
"""Seconds of a run that `--preset small` is proposed for."""


class Speed:
    """Times the steps of a session, from its first one on."""

    def __init__(self, settings: TrainingSettings, images_seen: int, device: torch.device):
        """images_seen: before this session."""
        self._settings, self._began_with = settings, images_seen
        self._machine = machine_name(device)
        self._began = self._warm = time.monotonic()

    def after_step(self, images_seen: int) -> bool:
        """Note the time; returns True once, as soon as the speed is known and a rest is to come."""
        steps = (images_seen - self._began_with) // self._settings.batch
        if steps == WARM_UP:
            self._warm = time.monotonic()
        return steps == WARM_UP + TIMED and images_seen < self._settings.images

    def expectation(self, images_seen: int, state: dict[str, Any]) -> str:
        """What the rest will take. state: that of a checkpoint, of which a run keeps two."""
        settings = self._settings
        seconds = time.monotonic() - self._warm
        images_per_second = TIMED * settings.batch / seconds
        rest = settings.images - images_seen
        left = rest / images_per_second
        checkpoint = tensor_bytes(state)
        disk = format_bytes(2 * checkpoint + tensor_bytes(state["recipe"]))
        sentence = (
            f"{images_per_second:.3g} images/s on {self._machine}: about {duration(left)} for the "
            f"other {rest} images, without scores; about {disk} of disk, of which two checkpoints "
            f"of {format_bytes(checkpoint)}"
        )
        if left > SLOW and settings.preset == "paper" and settings.SMALL:
            sentence += "; --preset small takes less of both, in another folder"
        return sentence

    def measured(self, images_seen: int) -> str:
        """What this session has taken, the first steps included."""
        seconds, images = time.monotonic() - self._began, images_seen - self._began_with
        return (
            f"{images} images in {duration(seconds)}: {images / seconds:.3g} images/s on "
            f"{self._machine}"
        )
