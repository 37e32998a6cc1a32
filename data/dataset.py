"""Image sets to train on, of any size: in memory where they fit, else decoded as they are needed.

Legend: M images of a set, N of a batch, S side in pixels.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from facsimile.metrics.pixels import from_uint8

from .dataset_index import DatasetIndex
from .decoding import DecodedImages, decode, decode_batches, default_memory, default_workers
from .image_files import ImageFiles, list_image_files

PART = 64
"""Images that a worker decodes at a time when a set is opened."""


class ImageDataset(Dataset[Tensor]):
    """M square RGB images, as uint8 (3, S, S).

    Without `pixels` the images are decoded as they are needed: those of `batch` in this process,
    those of `stream` and `batches` ahead of their use, in worker processes. The values are the
    same. An image that could be read when the set was opened and cannot be read any more raises
    ValueError; it is never replaced.
    """

    def __init__(
        self,
        files: ImageFiles,
        resolution: int,
        sizes: Tensor,
        failed: tuple[str, ...] = (),
        *,
        pixels: Tensor | None = None,
        workers: int = 0,
    ):
        """sizes: (M, 2), width and height of the originals. failed: one sentence for each image
        that is left out. pixels: (M, 3, S, S) uint8. workers: processes of `stream`."""
        self.files, self.resolution, self.sizes, self.failed = files, resolution, sizes, failed
        self.pixels, self.workers = pixels, workers

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """uint8 (3, S, S)."""
        return self.read(torch.tensor([range(len(self))[index]]))[0]

    @property
    def names(self) -> Sequence[str]:
        """Paths of the files, or names of the entries of a zip."""
        return self.files.names

    @property
    def in_memory(self) -> bool:
        """Whether `pixels` holds the whole set."""
        return self.pixels is not None

    @property
    def enlarged(self) -> int:
        """Number of images whose originals were smaller than S."""
        return int((self.sizes.amin(1) < self.resolution).sum())

    def summary(self) -> str:
        """One line: the number of images, where they are, and how many were left out and why."""
        summary = f"{len(self)} images"
        if not self.in_memory:
            summary += f" (decoded by {self.workers} workers, as they are too many for the memory)"
        if self.failed:
            summary += f", {len(self.failed)} could not be read ({self.failed[0]})"
        if self.enlarged:
            summary += f", {self.enlarged} were smaller than {self.resolution} px and enlarged"
        return summary

    def read(self, indices: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) of these indices (N,), decoded in this process if not in memory."""
        if self.pixels is not None:
            return self.pixels[indices.to(self.pixels.device)]
        return self._checked(decode(self.files, self.resolution, indices.tolist()))

    def batch(self, indices: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] of these indices (N,)."""
        return from_uint8(self.read(indices).to(device, non_blocking=True), dtype)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, dtype: torch.dtype
    ) -> Iterator[Tensor]:
        """What `batch` returns, for one tensor of indices after the other."""
        for pixels in self.stream(indices, pin=device.type == "cuda"):
            yield from_uint8(pixels.to(device, non_blocking=True), dtype)

    def stream(self, indices: Iterable[Tensor], pin: bool = False) -> Iterator[Tensor]:
        """uint8 (N, 3, S, S) for each tensor of indices (N,), in their order.

        Of a set that is not in memory, the next ones are decoded in worker processes meanwhile;
        `indices` may be endless. pin: put them into page-locked memory.
        """
        if self.in_memory:
            yield from map(self.read, indices)
            return
        for decoded in decode_batches(self.files, self.resolution, indices, self.workers, pin=pin):
            yield self._checked(decoded)

    def subset(self, indices: Tensor) -> "ImageDataset":
        """The set of the images of these indices."""
        return ImageDataset(
            self.files.subset(indices),
            self.resolution,
            self.sizes[indices],
            self.failed,
            pixels=None if self.pixels is None else self.pixels[indices.to(self.pixels.device)],
            workers=self.workers,
        )

    def to(self, device: torch.device) -> "ImageDataset":
        """The same set with its pixels on a device; a set that is not in memory stays as it is."""
        if self.pixels is None:
            return self
        return ImageDataset(
            self.files,
            self.resolution,
            self.sizes,
            self.failed,
            pixels=self.pixels.to(device),
            workers=self.workers,
        )

    def pixel_hash(self) -> str:
        """16 hexadecimal digits over all pixels, which takes a while for a set on disk."""
        digest = hashlib.sha256()
        for pixels in self.stream(torch.arange(len(self)).split(PART)):
            digest.update(pixels.cpu().numpy())
        return digest.hexdigest()[:16]

    def _checked(self, decoded: DecodedImages) -> Tensor:
        """The pixels; ValueError if an image is not the one that the set was opened with."""
        if decoded.errors:
            _, reason = decoded.errors[0]
            raise ValueError(
                f"an image of the training set cannot be read any more ({reason}); restore it and "
                "run the same command again"
            )
        changed = (decoded.sizes != self.sizes[decoded.indices]).any(1).nonzero()
        if len(changed):
            index = int(decoded.indices[changed[0, 0]])
            raise ValueError(
                f"{self.names[index]} has changed since the training set was opened; restore it "
                "and run the same command again"
            )
        return decoded.pixels


def load_images(
    sources: Sequence[str | Path],
    resolution: int,
    *,
    memory: float | None = None,
    workers: int | None = None,
    processes: int = 1,
    index: Path | None = None,
) -> ImageDataset:
    """All images of folders, zips and files, centre-cropped to squares and resized to `resolution`.

    Broken images are left out and listed. They are found before anything is trained: the set is
    decoded once when it is opened, in several processes if it is large, and its length is final.

    memory: GB (1e9 bytes) of pixels to hold; larger sets are decoded as they are needed. Default:
        half of the memory that is available, shared between the training processes.
    workers: processes that decode. Default: one for each CPU core, shared likewise.
    processes: number of training processes that open the set at the same time.
    index: file for what was found when the set was opened. A set that is too large for the memory
        and whose files have not changed is then opened without being decoded again.

    Raises FileNotFoundError for a source that does not exist, and ValueError if no image is left,
    or if the images are not those of `index`: a run would go on with others than it began with.
    """
    files = list_image_files(sources)
    bound = default_memory(processes) if memory is None else memory * 1e9
    in_memory = len(files) * 3 * resolution**2 <= bound
    workers = default_workers(processes) if workers is None else workers
    opened = None if index is None else DatasetIndex.read(index)
    fingerprint = None if index is None else files.fingerprint()
    pixels = None
    if in_memory or opened is None or opened.fingerprint != fingerprint:
        sizes, errors, pixels = _decode_all(files, resolution, workers, in_memory)
        current = DatasetIndex.of(fingerprint or "", files.names, sizes, errors)
        if index is not None and opened is not None:
            opened.check_same_images(current, index)
        opened = current
    good = (opened.sizes[:, 0] > 0).nonzero()[:, 0]
    if not len(good):
        first = f", first {opened.errors[0]}" if opened.errors else ""
        raise ValueError(
            f"no image found in {', '.join(map(str, sources))} ({len(opened.errors)} could not be "
            f"read{first}); expected a folder or a zip with photos in it"
        )
    if index is not None:
        opened.write(index)
    if len(good) < len(files):
        files = files.subset(good)
        pixels = None if pixels is None else pixels[good]
    return ImageDataset(
        files, resolution, opened.sizes[good], opened.errors, pixels=pixels, workers=workers
    )


def _decode_all(
    files: ImageFiles, resolution: int, workers: int, with_pixels: bool
) -> tuple[Tensor, tuple[str, ...], Tensor | None]:
    """(sizes (M, 2), 0 where an image is broken; the reasons; pixels (M, 3, S, S) if wanted)."""
    sizes = torch.zeros(len(files), 2, dtype=torch.int64)
    shape = (len(files), 3, resolution, resolution)
    pixels = torch.empty(shape, dtype=torch.uint8) if with_pixels else None
    errors: list[str] = []
    # Processes are worth their start only if each has some work.
    workers = min(workers, len(files) // (4 * PART))
    parts = torch.arange(len(files)).split(PART)
    for decoded in decode_batches(
        files, resolution, parts, workers, with_pixels=with_pixels, progress=len(files)
    ):
        sizes[decoded.indices] = decoded.sizes
        errors += [reason for _, reason in decoded.errors]
        if pixels is not None:
            pixels[decoded.indices] = decoded.pixels
    return sizes, tuple(errors), pixels
