"""The progress of a job: photos and steps as people count them, and the time that is left.

Inside, a bar counts steps of photos, as photos of one batch may stop at different steps.
"""

import time
from collections.abc import Sequence

from facsimile.data.progress import ProgressBar
from facsimile.refine import Step
from facsimile.training.machine import duration

FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}"
SHOW_EVERY = 10
"""Steps between two losses that are shown."""
WARM_UP = 2
"""Steps that are not timed: the first ones take longer."""
TIMED = 3
"""Steps after which the whole job's time is told."""


class JobProgress:
    """The progress bar of a job. `batch_steps` are those of the batch, of all photos together."""

    def __init__(self, photos: int, steps: int, typical_steps: int, *, quiet: bool = False):
        """steps: that a photo takes at most; typical_steps: that most take, as long as none is done
        that would tell."""
        self.photos, self.steps = photos, steps
        self._typical, self._finished, self._finished_steps = typical_steps, 0, 0
        self._waiting = photos
        self.batch_steps, self._last_step, self._step, self._names = 0, 0, 0, ""
        self._began, self._steps_timed = 0.0, -WARM_UP
        self._told = quiet
        self.bar = ProgressBar(
            total=photos * self._expected, disable=quiet, smoothing=0.05, bar_format=FORMAT
        )
        self.bar.set_description(f"reading {_count(photos)}", refresh=False)

    @property
    def _expected(self) -> float:
        """Steps that a photo will probably take; one without refinement counts 1."""
        if self._finished:
            return max(1.0, self._finished_steps / self._finished)
        return max(1, self._typical)

    def change_count(self, photos: int) -> None:
        """So many photos more, or fewer: one shows several faces, or is done already, or bad."""
        self.photos += photos
        self._waiting += photos
        self._set_total(0)

    def begin_batch(self, names: Sequence[str], batch_steps: int, steps_done: int = 0) -> None:
        """names: of the photos of a batch. batch_steps: that an interrupted call has done of it.
        steps_done: of each photo, that its earlier result has behind it."""
        self._waiting -= len(names)
        self._last_step = self.batch_steps = 0
        self._step = steps_done + batch_steps // len(names)
        first = self._finished + 1
        numbers = f"{first}" if len(names) == 1 else f"{first}-{self._finished + len(names)}"
        self._loss = 0.0
        self._names = f"photo {numbers} of {self.photos}"
        self._count_steps(batch_steps)
        self._show(self._names)
        self._steps_timed = -WARM_UP

    def leave_batch(self, photos: int) -> None:
        """The batch, of so many photos, ends without a result and begins again."""
        self._waiting += photos
        self.bar.update(-self.batch_steps)
        self._set_total(0)

    def step(self, step: Step) -> None:
        """A step of the batch is done."""
        # A phase ends with an evaluation that takes no step.
        taken = len(step.active) if step.done > self._last_step else 0
        first, self._last_step = self._last_step == 0, step.done
        self._step += bool(taken)
        self._count_steps(taken)
        self._set_total(len(step.active))
        if first or self._step % SHOW_EVERY == 0:
            # Reading a loss waits for the GPU.
            self._loss = sum(float(x.mean()) for x in step.losses.values())
        of = "at most " * (self._expected < self.steps)
        self._show(f"{self._names}, step {self._step} of {of}{step.total}, loss {self._loss:.4f}")
        if not self._told:
            self._time_steps(step)

    def end_batch(self, steps: Sequence[int]) -> None:
        """steps: that each photo of the batch has taken."""
        if not self.steps:
            self.bar.update(len(steps))
        self._finished += len(steps)
        self._finished_steps += sum(steps)
        self._set_total(0)

    def close(self) -> None:
        self.bar.close()

    def _count_steps(self, steps: int) -> None:
        self.bar.update(steps)
        self.batch_steps += steps

    def _set_total(self, active: int) -> None:
        """What the bar counts up to, by what is known now."""
        # A photo that has taken longer than others will probably take another while.
        left = max(self._step / 10, self._expected - self._step, 1.0)
        left = active * min(left, max(0.0, self.steps - self._step))
        self.bar.total = max(1.0, self.bar.n + left + self._waiting * self._expected)

    def _show(self, words: str) -> None:
        self.bar.set_description_str(words, refresh=False)

    def _time_steps(self, step: Step) -> None:
        """Say how long the job will take, once a few steps have told."""
        self._steps_timed += 1
        if self._steps_timed == 0:
            self._began = time.monotonic()
        elif self._steps_timed == TIMED:
            self._told = True
            seconds, batch = (time.monotonic() - self._began) / TIMED, len(step.active)
            left = seconds / batch * (self.bar.total - self.bar.n)
            steps = round(self._expected)
            each = f"{steps} steps" if steps == step.total else f"about {steps} steps"
            self.bar.write(
                f"{_count(self.photos)}, {each} each: about {duration(left)} "
                f"({seconds:.2g} s a step of {_count(batch)})"
            )


def _count(photos: int) -> str:
    return f"{photos} photo{'s' * (photos != 1)}"
