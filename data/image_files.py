"""Where the images of a training set are: files in folders and entries of zips.

Legend: M images.

The list is kept in tensors, not in Python objects: 200,000 names take 10 MB, and processes that
decode images share these instead of copying them.
"""

import hashlib
import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from . import zips
from .photo_files import find_photos, is_shown_photo
from .photo_formats import PhotoError

NO_ARCHIVE = -1
"""Instead of the number of an archive, for a file in a folder."""
OTHER = -1
"""Instead of a zip's compression method: encrypted, or compressed by something rare."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip's entry: signature, and the lengths of two fields between it and the content."""


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings in two tensors."""

    def __init__(self, strings: Sequence[str]):
        encoded = [text.encode("utf-8", "surrogateescape") for text in strings]
        ends = torch.tensor([0, *map(len, encoded)], dtype=torch.int64).cumsum(0)
        joined = bytearray(b"".join(encoded))
        self._bytes = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0)
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"got index {index} into {len(self)} strings")
        start, end = self._ends[index % len(self) :][:2].tolist()
        return self._bytes[start:end].numpy().tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        joined, ends = self._bytes.numpy().tobytes(), self._ends.tolist()
        for start, end in itertools.pairwise(ends):
            yield joined[start:end].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class ImageFiles:
    """Names of M images, and the bytes of each. Every process opens zips for itself."""

    def __init__(self, names: Sequence[str], archives: tuple[str, ...], entries: Tensor):
        """names: of files, or of entries in `archives`, which are paths of zips.

        entries: (M, 6) int64: number of the archive or NO_ARCHIVE; and in it the offset, the
        compressed size, the size, the CRC-32 and the method of compression (0, 8, or OTHER).
        """
        self.names, self.archives, self.entries = PackedStrings(names), archives, entries
        self._handles: dict[tuple[str, Callable], Any] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": {}}

    def subset(self, indices: Tensor) -> "ImageFiles":
        """The files of these indices (N,)."""
        names = list(self.names)
        return ImageFiles(
            [names[index] for index in indices.tolist()], self.archives, self.entries[indices]
        )

    def content(self, index: int) -> bytes | None:
        """Bytes of an entry of a zip; None for a file in a folder, which is read by its name.

        Raises PhotoError for a damaged entry, and OSError.
        """
        archive, *entry = self.entries[index].tolist()
        if archive == NO_ARCHIVE:
            return None
        path, name = self.archives[archive], self.names[index]
        try:
            return self._read_entry(path, name, *entry)
        except (
            *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
            *(RuntimeError, NotImplementedError, KeyError),  # zipfile's for what it cannot read
        ) as error:
            raise PhotoError(
                f"{name} in {path}: got a damaged entry ({error}), expected a whole photo; make "
                "the zip again"
            ) from error

    def _read_entry(
        self, path: str, name: str, offset: int, packed_size: int, size: int, crc: int, method: int
    ) -> bytes:
        if method == OTHER:
            opened = self._handle(path, zipfile.ZipFile)
            if reason := zips.unreadable(opened.getinfo(name)):
                raise PhotoError(f"{name} in {path} {reason}")
            return opened.read(name)
        file = self._handle(path, _open_binary)
        file.seek(offset)
        signature, *lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise zipfile.BadZipFile("no entry where the zip's directory says")
        file.seek(sum(lengths), os.SEEK_CUR)
        content = file.read(packed_size)
        if method == zipfile.ZIP_DEFLATED:
            # One byte more than expected shows that an entry is larger than its header says.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        if len(content) != size or zlib.crc32(content) != crc:
            raise zipfile.BadZipFile("its checksum is another")
        return content

    def _handle(self, path: str, open_archive: Callable[[str], Any]) -> Any:
        """`path`, opened by this process: a file of a forked parent would share its position."""
        if self._process != os.getpid():
            self._handles, self._process = {}, os.getpid()
        key = (path, open_archive)
        if key not in self._handles:
            self._handles[key] = open_archive(path)
        return self._handles[key]

    def __del__(self) -> None:
        for handle in self.__dict__.get("_handles", {}).values():
            handle.close()

    def fingerprint(self) -> str:
        """32 hexadecimal digits over names, sizes and times of modification; nothing is opened."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self.archives:
            status = os.stat(path)
            digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
        digest.update(self.entries.numpy().tobytes())
        for name, archive in zip(self.names, self.entries[:, 0].tolist(), strict=True):
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if archive == NO_ARCHIVE:
                status = os.stat(name)
                digest.update(struct.pack("<qq", status.st_size, status.st_mtime_ns))
        return digest.hexdigest()


def list_image_files(sources: Sequence[str | Path]) -> ImageFiles:
    """The images of folders (at any depth), zips and single files, in a fixed order.

    A folder's images are sorted naturally ("2.jpg" before "10.jpg"), a zip's by their names. Other
    files and hidden ones are left out; nothing is decoded. Raises FileNotFoundError for a source
    that does not exist, and ValueError for a damaged zip.
    """
    names: list[str] = []
    archives: list[str] = []
    entries: list[tuple[int, ...]] = []
    for source in map(Path, sources):
        if source.suffix.lower() != ".zip" or source.is_dir():
            paths = [str(path) for path in find_photos(source)]
            names += paths
            entries += [(NO_ARCHIVE, 0, 0, 0, 0, 0)] * len(paths)
            continue
        for name, entry in _zip_entries(source):
            names.append(name)
            entries.append((len(archives), *entry))
        archives.append(str(source))
    table = torch.tensor(entries, dtype=torch.int64).reshape(-1, 6)
    return ImageFiles(names, tuple(archives), table)


def _zip_entries(source: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, its row in `ImageFiles.entries` without the archive) of the images in a zip."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file; expected a zip with photos in it")
    try:
        with zips.opened(source) as archive:
            names = sorted(filter(is_shown_photo, set(archive.namelist())))
            infos = [archive.getinfo(name) for name in names]
    except zips.ZipError as error:
        raise ValueError(f"{source} {error}") from error
    for info in infos:
        name = info.filename
        known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        method = info.compress_type if known and not info.flag_bits & 1 else OTHER
        yield name, (info.header_offset, info.compress_size, info.file_size, info.CRC, method)


def _open_binary(path: str) -> BinaryIO:
    return open(path, "rb")
