"""Image folders and zips as one block of memory: what a network is trained on.

Legend: M images, C channels, S side in pixels.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .photos import PHOTO_NAME, PhotoError, centre_square, find_photos, read_photo, to_tensor


@dataclass(frozen=True)
class ImageSet:
    pixels: Tensor
    """(M, 3, S, S) uint8."""
    failed: tuple[str, ...]
    """One sentence per image that could not be read."""
    names: tuple[str, ...]
    """Of the files, or of the entries of a zip."""
    sizes: Tensor
    """(M, 2): width and height of the originals."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def enlarged(self) -> int:
        """Images that were smaller than S."""
        return int((self.sizes.amin(1) < self.pixels.shape[-1]).sum())

    def summary(self) -> str:
        """How many images there are, and what befell the others."""
        said = f"{len(self)} images"
        if self.failed:
            said += f", {len(self.failed)} could not be read ({self.failed[0]})"
        if self.enlarged:
            said += f", {self.enlarged} were smaller than {self.pixels.shape[-1]} px and enlarged"
        return said

    def batch(self, indices: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] of these indices (N,)."""
        chosen = self.pixels[indices.to(self.pixels.device)]
        return chosen.to(device, non_blocking=True).to(dtype) / 127.5 - 1

    def to(self, device: torch.device) -> "ImageSet":
        return replace(self, pixels=self.pixels.to(device))

    def subset(self, indices: Tensor) -> "ImageSet":
        """The images of these indices."""
        names = tuple(self.names[index] for index in indices.tolist())
        return ImageSet(self.pixels[indices], self.failed, names, self.sizes[indices])


def load_images(sources: Sequence[str | Path], side: int) -> ImageSet:
    """All images of folders, zips and files, centre-cropped to squares and resized to `side`.

    Broken images are left out and listed. Raises FileNotFoundError for a source that is not there,
    and ValueError where no image is left.
    """
    entries = [entry for source in sources for entry in _entries(Path(source))]
    pixels = torch.empty(len(entries), 3, side, side, dtype=torch.uint8)
    found: list[tuple[int, int] | str] = []
    for index, (name, archive) in enumerate(entries):
        try:
            photo = read_photo(name, None if archive is None else _member(archive, name))
        except (PhotoError, OSError) as error:
            found.append(str(error))
            continue
        picture = to_tensor(centre_square(photo, side))
        pixels[index] = (picture * 127.5 + 128).to(torch.uint8)
        found.append(photo.size)
    good = [index for index, size in enumerate(found) if not isinstance(size, str)]
    failed = tuple(reason for reason in found if isinstance(reason, str))
    if not good:
        raise ValueError(
            f"no image found in {', '.join(map(str, sources))} ({len(failed)} could not be read); "
            "expected a folder or a zip with photos in it"
        )
    if failed:
        pixels = pixels[torch.tensor(good)]
    names = tuple(entries[index][0] for index in good)
    return ImageSet(pixels, failed, names, torch.tensor([found[index] for index in good]))


def _entries(source: Path) -> Iterator[tuple[str, zipfile.ZipFile | None]]:
    """(name, the archive it is in or None) in a fixed order."""
    if source.suffix.lower() != ".zip" or source.is_dir():
        yield from ((str(path), None) for path in find_photos(source))
        return
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file; expected a zip with photos in it")
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{source} is no zip, or a damaged one ({error}); copy or download it again"
        ) from error
    for name in sorted(archive.namelist()):
        if PHOTO_NAME.search(name) and not Path(name).name.startswith("."):
            yield name, archive


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise PhotoError(
            f"{name} in {archive.filename}: got a damaged entry ({error}), expected a whole "
            "photo; make the zip again"
        ) from error
