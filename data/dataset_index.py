"""What was found when an image set was opened, as a file.

Legend: M files, broken ones included.

It spares the decoding of a large set when a run is resumed, and shows whether the images are still
those that the run began with.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class DatasetIndex:
    """What a training set holds, and which of its files are broken."""

    fingerprint: str
    """Of the files, see `ImageFiles.fingerprint`."""
    sizes: Tensor
    """(M, 2): width and height of the images; 0 where one is broken."""
    errors: tuple[str, ...]
    """What is wrong with the broken ones."""
    images: str
    """Hash over the names, without their folders, and the sizes of the images that are not broken.
    """

    @classmethod
    def of(
        cls, fingerprint: str, names: Iterable[str], sizes: Tensor, errors: tuple[str, ...]
    ) -> "DatasetIndex":
        """The index of files with these names."""
        digest = hashlib.blake2b(digest_size=16)
        for name, (width, height) in zip(names, sizes.tolist(), strict=True):
            if width:
                text = f"{os.path.basename(name)}\0{width}\0{height}\0"
                digest.update(text.encode("utf-8", "surrogateescape"))
        return cls(fingerprint, sizes, errors, digest.hexdigest())

    def check_same_images(self, other: "DatasetIndex", path: Path) -> None:
        """ValueError if `other` lists other images than this index, which was read from `path`."""
        if self.images == other.images:
            return
        counts = [int((index.sizes[:, 0] > 0).sum()) for index in (self, other)]
        reason = f", of which {other.errors[0]}" if len(other.errors) > len(self.errors) else ""
        raise ValueError(
            f"the training images are not those that this run began with: {counts[0]} then, "
            f"{counts[1]} now{reason}; restore them, or start over with another --out (they are "
            f"listed in {path})"
        )

    @classmethod
    def read(cls, path: Path) -> "DatasetIndex | None":
        """The index in a file, None if there is no file; ValueError if it is damaged or newer."""
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file}
            version = int(content["version"])
            if version <= VERSION:
                return cls(
                    str(content["fingerprint"]),
                    torch.from_numpy(content["sizes"]),
                    tuple(map(str, content["errors"])),
                    str(content["images"]),
                )
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete it, and make sure that "
                "the training images are still those that the run began with"
            ) from error
        raise ValueError(
            f"{path} was written by a newer version of facsimile (index format {version}, this one "
            f"reads up to {VERSION}); update facsimile"
        )

    def write(self, path: Path) -> None:
        """Write the index as .npz, whole or not at all; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{os.getpid()}.part.npz")
        np.savez_compressed(
            part,
            version=np.array(VERSION),
            fingerprint=np.array(self.fingerprint),
            sizes=self.sizes.numpy(),
            errors=np.array(self.errors, dtype=np.str_),
            images=np.array(self.images),
        )
        os.replace(part, path)
