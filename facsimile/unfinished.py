"""Stopping and going on: what Ctrl-C does, the progress bar, the state of a batch on disk."""

import contextlib
import json
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from facsimile.refine import Step

FOLDER = ".unfinished"
SAVE_EVERY = 30.0
"""Seconds between two savings of the batch under way."""
SHOW_EVERY = 10
"""Steps between two figures in the progress bar: reading one waits for the GPU."""


class Watch:
    """The callback of a batch: the progress bar, and the state on disk now and then."""

    def __init__(
        self,
        bar: tqdm,
        unfinished: "Unfinished",
        stop: threading.Event,
        names: list[str],
        shown: int,
    ):
        self.bar, self.unfinished, self.stop = bar, unfinished, stop
        self.saved = time.monotonic()
        self.shown = 0
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        bar.set_description(f"{names[0][:24]}{more}")
        self._show(shown)

    def __call__(self, step: Step) -> None:
        self._show(len(step.rows))
        if step.done % SHOW_EVERY == 0:
            shown = {k: f"{float(v.mean()):.4f}" for k, v in step.losses.items()}
            self.bar.set_postfix(shown, refresh=False)
        if self.stop.is_set() or time.monotonic() - self.saved > SAVE_EVERY:
            self.unfinished.save(step.state(), self.shown)
            self.saved = time.monotonic()
        if self.stop.is_set():
            raise KeyboardInterrupt

    def _show(self, steps: int) -> None:
        self.bar.update(steps)
        self.shown += steps

    def finish(self, total: int) -> None:
        """Steps that were not needed, because an image stopped early, count as done."""
        self._show(total - self.shown)


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets: no step is cut in two. The second acts."""
    stop = threading.Event()
    main = threading.current_thread() is threading.main_thread()
    before = {}

    def restore(*_) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(*_) -> None:
        restore()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        # A job in the background ignores Ctrl-C, as it should.
        if main and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


class Unfinished:
    """The state of the batch under way, in a file of `out`."""

    def __init__(self, out: Path, faces: Sequence[tuple[str, str]], settings: dict):
        """faces: name and digest of each; a state belongs to these faces under these settings."""
        self.path = out / FOLDER / "batch.pt"
        self.key = json.dumps([faces, settings])

    def save(self, state: dict, shown: int) -> None:
        temporary = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(exist_ok=True)
            torch.save({"key": self.key, "state": state, "shown": shown}, temporary)
            temporary.replace(self.path)
        except (OSError, RuntimeError):
            # No room for it: the run goes on, and only cannot be taken up in its middle.
            temporary.unlink(missing_ok=True)

    def load(self, device: torch.device) -> tuple[dict | None, int]:
        """The state of this very batch and the steps shown; (None, 0) if it was not cut off."""
        try:
            found = torch.load(self.path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None, 0
        return (found["state"], found["shown"]) if found.get("key") == self.key else (None, 0)

    @staticmethod
    def forget(out: Path) -> None:
        """All is done, and nothing is under way any more."""
        shutil.rmtree(out / FOLDER, ignore_errors=True)
