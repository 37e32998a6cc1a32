"""Opens the set that a run trains on."""

from collections.abc import Sequence
from pathlib import Path

from facsimile import data

from .checkpoint import Checkpoints
from .keyed_sampler import cache_on_gpu
from .recipe import Distributed
from .settings import TrainingSettings

INDEX = "images.npz"
"""File in the folder of a run, see `data.load_images`."""


def open_training_set(
    sources: Sequence[str | Path],
    resolution: int,
    settings: TrainingSettings,
    distributed: Distributed,
) -> data.ImageDataset:
    """The images of folders and zips at `resolution`: on the GPU, in memory, or decoded as needed.

    Raises FileNotFoundError, and ValueError if there is no image, or if the run is resumed and the
    images are not those that it began with.
    """
    index = settings.out / INDEX
    checkpoints = Checkpoints(settings.out, {})
    if not (checkpoints.last.exists() or checkpoints.before.exists()):
        index.unlink(missing_ok=True)  # nothing was trained yet, so the images may change
    images = data.load_images(
        sources,
        resolution,
        memory=settings.data_memory,
        workers=settings.data_workers,
        processes=distributed.processes,
        index=index,
    )
    return cache_on_gpu(images, distributed.device)
