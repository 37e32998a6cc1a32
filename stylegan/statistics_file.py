"""Statistics of a generator's latents, and the file that stores them.

Legend: L style inputs, D = w_dim.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import files

FORMAT = "facsimile statistics"
VERSION = 1
"""Of the files that are written. Older files are the same, but have no format and no version."""


@dataclass(frozen=True)
class Statistics:
    """Moments of w, and of p = LeakyReLU_5(w), over random samples."""

    w_mean: Tensor
    """(D,) mean of f(z), the code of the average image; (L, D) if each style input has its own."""
    w_covariance: Tensor
    """(D, D) about that mean, over all inputs."""
    p_mean: Tensor
    """(D,) mean of p, over all inputs."""
    p_basis: Tensor
    """(D, D) eigenvectors of cov(p) as columns, largest eigenvalue first."""
    p_std: Tensor
    """(D,) square roots of the eigenvalues."""

    def to(self, like: Tensor) -> "Statistics":
        """The same on the device and in the dtype of `like`."""
        return Statistics(*(getattr(self, f.name).to(like) for f in fields(self)))


def read_statistics(path: Path, fingerprint: str) -> Statistics | None:
    """The statistics in a file, in float32.

    None if there is no readable file, or if it belongs to another generator. ValueError if a newer
    version of facsimile wrote it.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return None
            files.check_version(path, metadata, VERSION)
            return Statistics(*(file.get_tensor(f.name).float() for f in fields(Statistics)))
    except (OSError, SafetensorError):
        return None


def write_statistics(path: Path, statistics: Statistics, fingerprint: str) -> None:
    """Write a file, and its folder if there is none. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f.name: getattr(statistics, f.name) for f in fields(Statistics)}
    metadata = {"format": FORMAT, "version": str(VERSION), "fingerprint": fingerprint}
    files.write_tensors(path, tensors, metadata)
