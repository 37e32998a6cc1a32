"""Image files to pixels, in this process or ahead of their use in worker processes.

Legend: N images of a batch, S side in pixels.
"""

import atexit
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .image_files import ImageFiles
from .photo_formats import PhotoError
from .photos import centre_square, read_photo
from .progress import ProgressBar

AHEAD = 2
"""Batches that each worker decodes ahead."""
PROGRESS_AFTER = 5
"""Seconds after which a progress bar appears."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Memory that a container may use, on Linux: a number of bytes, or "max"."""


class DecodedImages(NamedTuple):
    """A batch of decoded files."""

    indices: Tensor
    """(N,)"""
    sizes: Tensor
    """(N, 2): width and height of the originals; 0 where an image is broken."""
    pixels: Tensor
    """(N, 3, S, S) uint8, undefined where an image is broken; (N, 3, 0, 0) if not asked for."""
    errors: list[tuple[int, str]]
    """(index, what is wrong) of the broken images."""


def decode(
    files: ImageFiles, resolution: int, indices: Sequence[int], with_pixels: bool = True
) -> DecodedImages:
    """Images of these indices, their middle squares resized to `resolution`."""
    side = resolution if with_pixels else 0
    pixels = torch.empty(len(indices), 3, side, side, dtype=torch.uint8)
    sizes = torch.zeros(len(indices), 2, dtype=torch.int64)
    errors = []
    for row, index in enumerate(indices):
        try:
            photo = read_photo(files.names[index], files.content(index))
        except (PhotoError, OSError) as error:
            errors.append((index, str(error)))
            continue
        sizes[row] = torch.tensor(photo.size)
        if with_pixels:
            square = np.array(centre_square(photo, resolution))  # (S, S, 3)
            pixels[row] = torch.from_numpy(square).permute(2, 0, 1)
    return DecodedImages(torch.tensor(indices, dtype=torch.int64), sizes, pixels, errors)


def decode_batches(
    files: ImageFiles,
    resolution: int,
    indices: Iterable[Tensor],
    workers: int,
    *,
    with_pixels: bool = True,
    pin: bool = False,
    progress: int = 0,
) -> Iterator[DecodedImages]:
    """`decode` for each tensor of indices (N,), in their order, ahead of their use.

    workers: processes; 0: this one, when a batch is asked for. pin: in page-locked memory.
    progress: images in all, for a bar that appears if this takes long; 0: none.
    """
    loader = _loader(_Decoder(files, resolution, with_pixels), indices, workers, pin)
    bar = ProgressBar(
        total=progress,
        desc="reading images",
        unit="img",
        delay=PROGRESS_AFTER,
        leave=False,
        disable=not progress,
    )
    batches = [iter(loader)]
    with bar, _ended_at_exit(batches):
        while True:
            try:
                decoded = next(batches[0])
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise OSError(
                    f"a process that decodes images has died ({reason}), most "
                    "likely for want of memory; use fewer workers or a smaller batch"
                ) from error
            bar.update(len(decoded.indices))
            yield decoded


def _loader(
    decoder: "_Decoder", indices: Iterable[Tensor], workers: int, pin: bool
) -> DataLoader[DecodedImages]:
    with warnings.catch_warnings():
        # More workers than cores are the caller's choice.
        warnings.filterwarnings("ignore", message="This DataLoader will create", append=False)
        return DataLoader(
            decoder,
            batch_sampler=(part.tolist() for part in indices),
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            collate_fn=_unchanged,
            worker_init_fn=_ignore_signals,
            pin_memory=pin,
            generator=torch.Generator(),  # the global one's state is part of a run
        )


@contextmanager
def _ended_at_exit(batches: list[Iterator[DecodedImages]]) -> Iterator[None]:
    """Drop the only reference to the batches when the context is left, or when Python exits.

    That ends their workers. Python itself would send SIGTERM, which they ignore, and wait for ever.
    """
    atexit.register(batches.clear)
    try:
        yield
    finally:
        atexit.unregister(batches.clear)
        batches.clear()


def default_workers(processes: int = 1) -> int:
    """Worker processes for each of `processes` training processes: the CPU cores, shared."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // processes)


def default_memory(processes: int = 1) -> float:
    """Bytes of pixels that each of `processes` may hold: half of what is available, shared."""
    available = psutil.virtual_memory().available
    if CGROUP_LIMIT.is_file() and (limit := CGROUP_LIMIT.read_text().strip()).isdigit():
        available = min(available, int(limit))
    return available / 2 / processes


class _Decoder(Dataset[DecodedImages]):
    """What a worker holds."""

    def __init__(self, files: ImageFiles, resolution: int, with_pixels: bool):
        self.files, self.resolution, self.with_pixels = files, resolution, with_pixels

    def __getitem__(self, index: int) -> DecodedImages:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> DecodedImages:
        return decode(self.files, self.resolution, indices, self.with_pixels)


def _unchanged(decoded: DecodedImages) -> DecodedImages:
    return decoded


def _ignore_signals(worker: int) -> None:
    """Workers end with their parent, which finishes its step and saves after Ctrl-C or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
