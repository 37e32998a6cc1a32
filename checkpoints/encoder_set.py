"""The encoders of a generator: those beside it, and those that a user names.

A file beside a generator is opened when it is asked for, so that a damaged one stops only those who
need it. A named file is opened at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from facsimile import encoders
from facsimile.encoders import KINDS
from facsimile.encoders.files import file_names, kind_in
from facsimile.stylegan import Generator
from facsimile.stylegan.generator import fingerprint


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and its origin."""

    kind: str
    """Name of its kind in `encoders.KINDS`."""
    network: nn.Module
    """Frozen, in evaluation mode, on the generator's device."""
    fingerprint: str
    """Of its weights."""
    path: Path


class EncoderSet:
    """At most one encoder of each kind; beside a generator they are called KIND.safetensors."""

    def __init__(
        self,
        generator: Generator,
        folder: Path | None = None,
        named: str | Path | Sequence[str | Path] = (),
    ):
        """folder: the generator's. named: files or runs' folders, instead of those in the folder.

        Raises FileNotFoundError or ValueError for a named file that cannot be used.
        """
        self.generator, self.folder = generator, folder
        self._loaded: dict[str, LoadedEncoder] = {}
        for path in [named] if isinstance(named, str | Path) else named:
            encoder = self._load(Path(path))
            if (other := self._loaded.get(encoder.kind)) is not None:
                raise ValueError(
                    f"{other.path} and {path} are both {encoder.kind} encoders; "
                    "name one of each kind"
                )
            self._loaded[encoder.kind] = encoder

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that there is an encoder of, usable or not."""
        return tuple(kind for kind in KINDS if self.has(kind))

    def has(self, kind: str) -> bool:
        """Whether there is an encoder of the kind, usable or not."""
        return kind in self._loaded or self._path(kind) is not None

    def get(self, kind: str) -> LoadedEncoder:
        """The encoder of a kind; ValueError if there is none, or none that can be used."""
        if kind not in self._loaded:
            path = self._path(kind)
            if path is None:
                raise ValueError(self._missing(kind))
            encoder = self._load(path)
            if encoder.kind != kind:
                raise ValueError(
                    f"{path} holds an encoder of the kind {encoder.kind}; "
                    f"call it {encoder.kind}.safetensors"
                )
            self._loaded[kind] = encoder
        return self._loaded[kind]

    def _path(self, kind: str) -> Path | None:
        """The kind's file beside the generator, under its name or a former one."""
        if self.folder is None:
            return None
        for index, name in enumerate(file_names(kind)):
            path = self.folder / name
            rivals = [x for x in KINDS if x != kind and name in file_names(x)]
            # Two kinds had this name at different times: then the file says which it is.
            actual = kind_in(path) if rivals and path.is_file() else None
            is_ours = actual == kind or (index == 0 and actual not in rivals)
            if path.is_file() and (is_ours or not rivals):
                return path
        return None

    def _missing(self, kind: str) -> str:
        looked = "" if self.folder is None else f" (looked for {self.folder / file_names(kind)[0]})"
        return (
            f"this generator has no {kind} encoder{looked}; train one with facsimile train {kind} "
            f"--generator .. --out runs/{kind}, and name it: --encoder runs/{kind}"
        )

    def _load(self, path: Path) -> LoadedEncoder:
        try:
            network = encoders.load(path, self.generator)
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error
        kind = encoders.kind_of(network).name
        return LoadedEncoder(kind, network, fingerprint(network.state_dict()), path)
