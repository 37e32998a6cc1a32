"""The registry of encoder kinds: every page or folder of this room that declares a `KIND`.

To add a kind, write one page that ends in `KIND = EncoderKind(...)`: a module or a folder in this
folder is found by itself, any other is added by `register(kind)` or `register_page(path)`.
Training, files, the registry of networks and the commands read `KINDS`.
"""

import importlib.machinery
import pkgutil
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from facsimile.stylegan import spaces

Prediction = Literal["feature", "feature and w+", "w+", "w+ given landmarks", "feature edit"]


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """What there is to know about one kind of encoder."""

    name: str
    """As on the command line and in files, e.g. "in-domain"."""
    config: type
    """Frozen dataclass with a field `fingerprint`, of the generator; written to files as JSON."""
    network: type[nn.Module]
    """network(config); of this class and no other kind."""
    settings: type
    """Settings of its training: a subclass of `encoders.settings.EncoderSettings`."""
    recipe: type
    """recipe(settings, distributed), see `training.recipe`."""
    predicts: Prediction
    """What the network computes, and how it is called. "feature": `feature(images)` gives a
    `stylegan.Feature`, and `refine(images, x, synthesize)` improves its `x`. "feature and w+":
    `predict(images, generator)` gives codes `ws` and a `feature`, and `to_z(ws, label)` codes of
    Z+. "w+": network(images) and `encode(images, synthesize)`, which may iterate, give codes
    (N, L, D). "w+ given landmarks": network(source, landmarks) gives codes (N, L, D). "feature
    edit": network(x, delta) gives the features (N, C, H, W) after a change of features by delta."""
    source: Literal["image", "w+"] = "image"
    """What the network takes: images, or codes in W+."""
    default_space: str | None = None
    """The latent space that `encode` starts by default; None for a kind that needs landmarks."""

    @property
    def spaces(self) -> tuple[str, ...]:
        """The latent spaces that `encode` can start, which follow from the prediction."""
        if self.predicts == "feature":
            return tuple(f"f/{name}" for name in spaces.SPACES)
        if self.predicts == "feature and w+":
            return tuple(f"f/{name}" for name, x in spaces.SPACES.items() if _reaches(x))
        if self.predicts == "w+":
            return tuple(name for name, x in spaces.SPACES.items() if x.contains_w_plus)
        return ()


def _reaches(space: spaces.Space) -> bool:
    """Whether codes of W+ have codes in the space, the same ones or alike."""
    return space.contains_w_plus or f"{space.kind}+" in spaces.SPACES


class _Registry(Mapping[str, EncoderKind]):
    """Kinds by name, gathered from the room's pages the first time that one is asked for."""

    def __init__(self) -> None:
        self._kinds: dict[str, EncoderKind] = {}
        self._is_complete = False

    def _gather(self) -> dict[str, EncoderKind]:
        if not self._is_complete:
            room = importlib.import_module(__package__)
            for page in pkgutil.iter_modules(room.__path__, f"{__package__}."):
                kind = getattr(importlib.import_module(page.name), "KIND", None)
                if kind is not None:
                    self.add(kind)
            self._is_complete = True
        return self._kinds

    def add(self, kind: EncoderKind) -> None:
        other = self._kinds.setdefault(kind.name, kind)
        if other.network is not kind.network:
            raise ValueError(
                f'there are two encoder kinds called "{kind.name}": {other.network.__module__} and '
                f"{kind.network.__module__}; give one of them another name"
            )

    def __getitem__(self, name: str) -> EncoderKind:
        return self._gather()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._gather())

    def __len__(self) -> int:
        return len(self._gather())


KINDS = _Registry()
"""Every encoder kind by its name."""


def register(kind: EncoderKind) -> EncoderKind:
    """Add a kind that is declared outside this folder; raises ValueError if its name is taken."""
    KINDS._gather()
    KINDS.add(kind)
    return kind


def register_page(path: str | Path) -> EncoderKind:
    """Run a page, a .py file that ends in `KIND = EncoderKind(...)`, and add its kind.

    The file is executed as any Python module. Raises FileNotFoundError, or ValueError for a file
    without `KIND`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected the page of an encoder kind")
    name = f"facsimile_encoder_{path.stem}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    importlib.machinery.SourceFileLoader(name, str(path)).exec_module(module)
    kind = getattr(module, "KIND", None)
    if not isinstance(kind, EncoderKind):
        raise ValueError(
            f"{path}: got a page without a kind; it must end in KIND = EncoderKind(...)"
        )
    return register(kind)


def kind_of(encoder: Any) -> EncoderKind:
    """The kind of a network; raises ValueError if it is of none."""
    for kind in KINDS.values():
        if type(encoder) is kind.network:
            return kind
    raise ValueError(
        f"{type(encoder).__name__} is not the network of an encoder kind "
        f"({', '.join(KINDS)}); add its kind with encoders.register"
    )
