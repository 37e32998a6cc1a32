"""Checkpoints of a run: whole or not at all, the last and the one before it."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch


class Checkpoints:
    """The files checkpoint.pt and checkpoint-before.pt of a folder."""

    def __init__(self, out: Path, settings: dict[str, Any]):
        """settings: what a checkpoint must agree with to be gone on from."""
        self.last, self.before = out / "checkpoint.pt", out / "checkpoint-before.pt"
        self.settings = settings

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; raises OSError, the older ones still there, where it cannot."""
        part = self.last.with_suffix(".part")
        try:
            with part.open("wb") as file:
                torch.save({"settings": self.settings, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            part.unlink(missing_ok=True)
            # torch's writer wraps what the disk said.
            if isinstance(error, RuntimeError):
                raise OSError(f"cannot write {self.last}: {error}") from error
            raise
        if self.last.exists():
            self.last.replace(self.before)
        part.replace(self.last)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, on the CPU; None where there is none.

        Raises ValueError where it belongs to other settings, or where none can be read.
        """
        damaged = []
        for path in (self.last, self.before):
            if not path.exists():
                continue
            try:
                found = torch.load(path, map_location="cpu", weights_only=True)
                self._compare(found["settings"], path)
                return found["state"]
            except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                damaged.append(f"{path} ({reason})")
        if damaged:
            raise ValueError(
                f"no checkpoint can be read: {', '.join(damaged)}; "
                "copy it again, or train into another folder"
            )
        return None

    def _compare(self, found: dict[str, Any], path: Path) -> None:
        # A setting that was not there then is none that was changed.
        other = sorted(name for name in found if found[name] != self.settings.get(name))
        if other:
            said = ", ".join(
                f"{name.replace('_', '-')} {found[name]} and not {self.settings.get(name)}"
                for name in other
            )
            raise ValueError(
                f"{path} was trained with {said}; give the same settings to go on, "
                "or another folder to start anew"
            )
