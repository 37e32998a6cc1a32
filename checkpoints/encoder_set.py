"""The encoders of a generator: those beside it, and those that a user names.

What lies beside a generator is opened when it is asked for: what is wrong with it stops nobody who
does not want it. What is named is opened at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from facsimile import encoders
from facsimile.encoders.files import KINDS
from facsimile.stylegan import Generator
from facsimile.stylegan.generator import fingerprint


@dataclass(frozen=True)
class Encoder:
    kind: str
    """ "base": it guesses a feature; "in-domain": a code in W+."""
    network: nn.Module
    """Frozen, in evaluation mode, on the generator's device."""
    fingerprint: str
    """Of its weights."""
    path: Path


class EncoderSet:
    """At most one encoder of each kind; beside a generator they are called KIND.safetensors."""

    kinds = tuple(KINDS)

    def __init__(
        self,
        generator: Generator,
        folder: Path | None = None,
        named: str | Path | Sequence[str | Path] = (),
    ):
        """folder: the generator's. named: files or runs' folders, in the place of those there.

        Raises FileNotFoundError or ValueError for what is named.
        """
        self.generator = generator
        self._files = {} if folder is None else {x: folder / f"{x}.safetensors" for x in KINDS}
        self._open: dict[str, Encoder] = {}
        for path in [named] if isinstance(named, str | Path) else named:
            found = self._load(Path(path))
            if found.kind in self._open:
                raise ValueError(
                    f"{self._open[found.kind].path} and {path} are both {found.kind} encoders; "
                    "name one of each kind"
                )
            self._open[found.kind] = found

    def has(self, kind: str) -> bool:
        """Whether there is one, be it usable or not."""
        return kind in self._open or (kind in self._files and self._files[kind].is_file())

    def get(self, kind: str) -> Encoder:
        """The encoder of a kind; ValueError where there is none, or none that can be used."""
        if kind not in self._open:
            if not self.has(kind):
                looked = f" (looked for {self._files[kind]})" if kind in self._files else ""
                raise ValueError(
                    f"this generator has no {kind} encoder{looked}; train one with python train.py "
                    f"{kind} --generator .. --out runs/{kind}, and name it: --encoder runs/{kind}"
                )
            found = self._load(self._files[kind])
            if found.kind != kind:
                raise ValueError(
                    f"{found.path} holds an encoder of the kind {found.kind}; "
                    f"call it {found.kind}.safetensors"
                )
            self._open[kind] = found
        return self._open[kind]

    def _load(self, path: Path) -> Encoder:
        try:
            network = encoders.load(path, self.generator)
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error
        return Encoder(encoders.kind_of(network), network, fingerprint(network.state_dict()), path)
