"""Checkpoints of a run: written completely or not at all, the last two of them."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .recipe import Trainable, TrainingRecipe

VERSION = 1
"""Version of the format; checkpoints from before it was written cannot be resumed."""


class Checkpoints:
    """The files checkpoint.pt and checkpoint-before.pt of a folder."""

    def __init__(self, out: Path, settings: dict[str, Any]):
        """settings: by flag name, what a checkpoint must agree with to be resumed."""
        self.last, self.before = out / "checkpoint.pt", out / "checkpoint-before.pt"
        self.settings = settings

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; raises OSError and leaves the older ones if it cannot be written."""
        part = self.last.with_suffix(".part")
        try:
            with part.open("wb") as file:
                torch.save({"version": VERSION, "settings": self.settings, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            part.unlink(missing_ok=True)
            # torch wraps errors of the disk.
            if isinstance(error, RuntimeError):
                raise OSError(f"cannot write {self.last}: {error}") from error
            raise
        if self.last.exists():
            self.last.replace(self.before)
        part.replace(self.last)

    def drop_before(self) -> None:
        """Delete the older checkpoint: a run that is complete needs no second one."""
        self.before.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, on the CPU; None if there is no checkpoint.

        Raises ValueError if it belongs to other settings or another version of the format, or if
        there are checkpoints and none can be read.
        """
        damaged = []
        for path in (self.last, self.before):
            if not path.exists():
                continue
            try:
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
                _check_version(checkpoint.get("version", 0), path)
                self._check_settings(checkpoint["settings"], path)
                return checkpoint["state"]
            except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                damaged.append(f"{path} ({reason})")
        if damaged:
            raise ValueError(
                f"no checkpoint can be read: {', '.join(damaged)}; "
                "copy it again, or train into another folder"
            )
        return None

    def _check_settings(self, settings: dict[str, Any], path: Path) -> None:
        # Settings added after the checkpoint was written are not compared.
        changed = sorted(name for name in settings if settings[name] != self.settings.get(name))
        if changed:
            differences = ", ".join(
                f"{name} {settings[name]} and not {self.settings.get(name)}" for name in changed
            )
            raise ValueError(
                f"{path} was trained with {differences}; give the same settings to resume it, "
                "or another folder to start over"
            )


def _check_version(version: int, path: Path) -> None:
    if version > VERSION:
        raise ValueError(
            f"{path} was written by a newer version of facsimile (checkpoint format {version}, "
            f"expected {VERSION}); update facsimile, or train into another folder"
        )
    if version < VERSION:
        raise ValueError(
            f"{path} was written by an older version of facsimile, whose unfinished runs cannot be "
            "resumed; train into another folder"
        )


def run_state(step: int, recipe: TrainingRecipe) -> dict[str, Any]:
    """Everything that a resumed run needs after `step` steps."""
    trainables: Sequence[Trainable] = recipe.trainables
    return {
        "step": step,
        "modules": {x.name: x.to_store(x.module.state_dict()) for x in trainables},
        "optimizers": {x.name: x.optimizer.state_dict() for x in trainables},
        "recipe": recipe.state(),
    }


def resume(checkpoints: Checkpoints, recipe: TrainingRecipe) -> int:
    """Load the last checkpoint into the recipe; returns the steps done, 0 if there is none."""
    state = checkpoints.load()
    if state is None:
        return 0
    try:
        for trainable in recipe.trainables:
            trainable.load(trainable.module, state["modules"][trainable.name])
            trainable.optimizer.load_state_dict(state["optimizers"][trainable.name])
        recipe.load_state(state["recipe"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            f"the checkpoint in {checkpoints.last.parent} does not fit the networks of these "
            f"settings ({str(error).splitlines()[0]}); give the same settings to resume it, or "
            "another folder"
        ) from error
    return state["step"]
