"""What a job hands from its readers over refinement to its writers."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from facsimile.stylegan import PhotoCrop

from .results_folder import Start


@dataclass
class Item:
    """One face to invert."""

    name: str
    photo: str
    """Name of its photo's first face."""
    source: Path
    digest: str
    """Of the photo's bytes."""
    face: int
    """Its number among the faces that were taken from the photo, from 0 on."""
    faces: int
    """How many these are."""
    target: Tensor
    """(C, R, R) in [-1, 1]."""
    crop: PhotoCrop
    start: Start | None
    """An earlier result from which it goes on."""

    @property
    def phases_done(self) -> int | None:
        """Of the earlier result; None without one. The same for all items of a batch."""
        return None if self.start is None else self.start.phases


@dataclass
class Read:
    """The outcome of reading a photo."""

    photo: Path
    items: list[Item]
    """Its faces that are still to be inverted."""
    done: list[str] = field(default_factory=list)
    """Its faces that an earlier run has finished."""
    elsewhere: list[str] = field(default_factory=list)
    """Its faces that another process has finished meanwhile."""
    busy: bool = False
    """Another process has it."""
    error: Exception | None = None


@dataclass
class Saved:
    """The outcome of writing a face."""

    item: Item
    written: bool
    reason: str = ""
    """What is wrong with the result."""
