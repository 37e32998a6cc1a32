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

CONSEQUENCES = {
    "batch": "the run goes on at step {2} ({1} of {0} images count as seen), with other images and "
    "random numbers than it would have had",
    "data": "the images are the same, by their names and sizes",
}
"""What follows when a run goes on with another value of a setting."""


class Checkpoints:
    """The files checkpoint.pt and checkpoint-before.pt of a folder."""

    def __init__(self, out: Path, settings: dict[str, Any], anyway: Sequence[str] = ()):
        """settings: by flag name, what a checkpoint must agree with to be resumed.
        anyway: those of them in which it may differ nevertheless; ValueError for other names.
        """
        self.last, self.before = out / "checkpoint.pt", out / "checkpoint-before.pt"
        self.settings, self.anyway = settings, tuple(anyway)
        self.changes: list[str] = []
        """What differs from the run that `load` has found, and what follows from it."""
        for name in self.anyway:
            if name not in settings:
                raise ValueError(
                    f"--resume-anyway names {name}, which is no setting that a run must keep; "
                    f"these are {', '.join(settings)}"
                )

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
                return self._adapted(checkpoint["state"], checkpoint["settings"])
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
        changed = self._changed(settings)
        if set(changed) - set(self.anyway):
            differences = ", ".join(
                f"{name} {settings[name]} and not {self.settings.get(name)}" for name in changed
            )
            raise ValueError(
                f"{path} was trained with {differences}; give the same settings to resume it, "
                "another folder to start over, or to go on with the new ones --resume-anyway "
                f"{' '.join(changed)}"
            )

    def _changed(self, settings: dict[str, Any]) -> list[str]:
        return sorted(name for name in settings if settings[name] != self.settings.get(name))

    def _adapted(self, state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """The state of a run with other settings, for these; fills `changes`."""
        self.changes = []
        for name in self._changed(settings):
            old, new = settings[name], self.settings.get(name)
            words = CONSEQUENCES.get(name, "the steps from here on are made with it")
            if name == "batch":
                images = state["step"] * old
                state = state | {"step": images // new}
                words = words.format(images, images // new * new, images // new)
            self.changes.append(f"{name} {new} and not {old} as before: {words}")
        return state


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
