"""Stopping and resuming an inversion: the progress bar, and the state of a batch on disk."""

import json
import pickle
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from facsimile.refine import Step

FOLDER = ".resume"
VERSION = 1
"""Of the file; a state of another version is not resumed, and its batch starts over."""
SAVE_EVERY = 30.0
"""Seconds between two saves of the batch in progress."""
SHOW_EVERY = 10
"""Steps between two updates of the losses in the progress bar: reading one waits for the GPU."""


class ProgressCallback:
    """The callback of a batch: updates the progress bar, saves the state, stops when asked to."""

    def __init__(
        self,
        bar: tqdm,
        resume_file: "ResumeFile",
        stop: threading.Event,
        names: list[str],
        steps_done: int,
    ):
        """names: of the batch's images. steps_done: of an earlier run, of all images together."""
        self.bar, self.resume_file, self.stop = bar, resume_file, stop
        self.saved_at = time.monotonic()
        self.steps = 0
        self._last_step = 0
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        bar.set_description(f"{names[0][:24]}{more}")
        self._advance(steps_done)

    def __call__(self, step: Step) -> None:
        # A phase ends with an evaluation that takes no step.
        self._advance(len(step.active) if step.done > self._last_step else 0)
        self._last_step = step.done
        if step.done % SHOW_EVERY == 0:
            losses = {name: f"{float(x.mean()):.4f}" for name, x in step.losses.items()}
            self.bar.set_postfix(losses, refresh=False)
        if self.stop.is_set() or time.monotonic() - self.saved_at > SAVE_EVERY:
            self.resume_file.save(step.state(), self.steps)
            self.saved_at = time.monotonic()
        if self.stop.is_set():
            raise KeyboardInterrupt

    def _advance(self, steps: int) -> None:
        self.bar.update(steps)
        self.steps += steps

    def finish(self, total: int) -> None:
        """Count the steps that were not needed, because an image stopped early, as done."""
        self._advance(total - self.steps)


class ResumeFile:
    """The state of the batch in progress, in a file inside the results' folder."""

    def __init__(self, out: Path, faces: Sequence[tuple[str, str]], digest: str):
        """faces: name and digest of each. digest: of the plan. A state belongs to both."""
        self.path = out / FOLDER / "batch.pt"
        self.key = json.dumps([VERSION, faces, digest])

    def save(self, state: dict, steps: int) -> None:
        """steps: what the progress bar counts of this batch. A full disk is ignored: the run goes
        on, and can only not be resumed within this batch."""
        temporary = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(exist_ok=True)
            torch.save({"key": self.key, "state": state, "steps": steps}, temporary)
            temporary.replace(self.path)
        except (OSError, RuntimeError):
            temporary.unlink(missing_ok=True)

    def load(self, device: torch.device) -> tuple[dict | None, int]:
        """The state of this batch and its steps; (None, 0) if it was not interrupted."""
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None, 0
        if content.get("key") != self.key:
            return None, 0
        return content["state"], content["steps"]

    @staticmethod
    def clear(out: Path) -> None:
        """Nothing is in progress any more."""
        shutil.rmtree(out / FOLDER, ignore_errors=True)
