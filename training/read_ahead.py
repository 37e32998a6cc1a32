"""The slices of a run in their order, and their images, decoded before they are needed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from facsimile.data import ImageDataset

from .recipe import BatchSlice, Distributed
from .settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class BatchSchedule:
    """Which samples a process sees in a step."""

    batch: int
    """Images per step, over all processes and micro-steps."""
    accumulate: int = 1
    """Micro-steps per step."""
    rank: int = 0
    """Number of this process."""
    processes: int = 1

    @classmethod
    def of(cls, settings: TrainingSettings, distributed: Distributed) -> "BatchSchedule":
        return cls(
            batch=settings.batch,
            accumulate=settings.accumulate,
            rank=distributed.rank,
            processes=distributed.processes,
        )

    def slices(self, step: int) -> list[BatchSlice]:
        """The slices of this process in a step, one for each micro-step."""
        size = self.batch // (self.processes * self.accumulate)
        start = step * self.batch + self.rank * self.accumulate * size
        return [BatchSlice(step, start + i * size, size) for i in range(self.accumulate)]

    def following(self, batch: BatchSlice) -> Iterator[BatchSlice]:
        """`batch`, one of `slices`, and all slices after it, without end."""
        slices = self.slices(batch.step)
        yield from slices[slices.index(batch) :]
        for step in itertools.count(batch.step + 1):
            yield from self.slices(step)


class ReadAhead:
    """Pixels of a set that is not in memory. Worker processes decode the slices to come.

    The slices may be asked for in any order, and several times in a step. Other orders than that of
    the schedule only cost time.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        indices: Callable[[BatchSlice], Tensor],
        schedule: BatchSchedule,
        pin: bool,
    ):
        """indices: of the images of a slice. pin: put the pixels into page-locked memory."""
        self.dataset, self.indices, self.schedule, self.pin = dataset, indices, schedule, pin
        self._step = -1
        self._pixels: dict[BatchSlice, Tensor] = {}
        self._slices: Iterator[BatchSlice] = iter(())
        self._next: BatchSlice | None = None
        self._stream: Iterator[Tensor] = iter(())

    def pixels(self, batch: BatchSlice) -> Tensor:
        """uint8 (N, 3, R, R) of the images of a slice."""
        if batch not in self.schedule.slices(batch.step):
            return self.dataset.read(self.indices(batch))
        if batch.step != self._step:
            self._step, self._pixels = batch.step, {}
        if batch not in self._pixels:
            if batch != self._next:
                self._begin(batch)
            self._pixels[batch] = next(self._stream)
            self._next = next(self._slices)
        return self._pixels[batch]

    def _begin(self, batch: BatchSlice) -> None:
        """Let `batch` be the next slice of the stream."""
        following = self.schedule.following(batch)
        self._stream = self.dataset.stream(map(self.indices, following), pin=self.pin)
        self._slices = self.schedule.following(batch)
        self._next = next(self._slices)
