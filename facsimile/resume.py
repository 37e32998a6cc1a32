"""Stopping and resuming an inversion: the state of a batch on disk, and what saves it."""

import hashlib
import json
import pickle
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from facsimile.refine import Step

from .job_progress import JobProgress

FOLDER = ".resume"
VERSION = 3
"""Of the files; a state of another version is not resumed, and its batch starts over."""
SAVE_EVERY = 30.0
"""Seconds between two saves of the batch in progress."""


class BatchCallback:
    """The callback of a batch: shows its progress, saves its state, stops when asked to."""

    def __init__(self, progress: JobProgress, resume_file: "ResumeFile", stop: threading.Event):
        self.progress, self.resume_file, self.stop = progress, resume_file, stop
        self.saved_at = time.monotonic()

    def __call__(self, step: Step) -> None:
        self.progress.step(step)
        if self.stop.is_set() or time.monotonic() - self.saved_at > SAVE_EVERY:
            self.resume_file.save(step.state(), self.progress.batch_steps)
            self.saved_at = time.monotonic()
        if self.stop.is_set():
            raise KeyboardInterrupt


class ResumeFile:
    """The state of a batch in progress, in a file of its own inside the results' folder."""

    def __init__(self, out: Path, faces: Sequence[tuple[str, int]], digest: str):
        """faces: digest of its photo and number of each. digest: of the plan. A state belongs to
        both, whatever the results will be called."""
        self.key = json.dumps([VERSION, faces, digest])
        name = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        self.path = out / FOLDER / f"{name}.pt"

    def save(self, state: dict, steps: int) -> None:
        """steps: of all images of this batch together. A full disk is ignored: the run goes on, and
        can only not be resumed within this batch."""
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

    def remove(self) -> None:
        """The batch is done. States of other batches, which other calls have left, stay."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            self.path.parent.rmdir()
