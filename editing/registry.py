"""The registry of edits: name -> `Edit`, a function `Latents -> Latents` with declared parameters.

To add an edit, write one page that ends in `EDIT = Edit(...)`: a file in this folder is found by
itself, any other is added by `register_page(path)`, or on the command line by its path in place of
a name. `facsimile edit NAME`, its --help and `Studio.edit` follow from what the page declares.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facsimile.stylegan import Generator, Latents

from .feature_transport import FeatureTransport
from .local_edit import EditInputs, LocalEdit
from .parameters import Parameter, Value


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An edit: what it is called, what it takes and what it does."""

    name: str
    """Lower-case letters, digits and hyphens."""
    summary: str
    """One sentence."""
    function: Callable[..., "Latents | LocalEdit"]
    """(generator, *latents, **parameters) -> Latents, on the generator's device. An edit of one
    input gets Latents of N images and returns N; an edit of several gets Latents of one image each
    and returns any number, the frames of a video."""
    inputs: int = 1
    """How many images one result is made of."""
    parameters: tuple[Parameter, ...] = ()
    description: str = ""
    """Further help: what the result looks like, examples, the source of the method."""
    moves_codes: bool = False
    """Whether the function takes the keyword `transport`, by which features follow the codes that
    it moves: a `FeatureTransport`, or None where there is none for the latents' features."""
    refines: bool = False
    """Whether the function refines: it takes the keyword `inputs`, a `local_edit.EditInputs`, and
    returns a `local_edit.LocalEdit`."""
    networks: tuple[str, ...] = ()
    """Networks in `EditInputs.networks` that it needs beside "perceptual"."""

    @property
    def recipe(self) -> str:
        """The recipe by which photos are inverted for it, unless another is asked for."""
        return "w+" if self.refines else "f/z+"

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or self.name != self.name.lower():
            raise ValueError(
                f'got the name "{self.name}" for an edit; expected lower-case letters, digits and '
                "hyphens"
            )
        if self.inputs < 1:
            raise ValueError(f'the edit "{self.name}" has {self.inputs} inputs; expected 1 or more')

    def __call__(
        self,
        generator: Generator,
        *latents: Latents,
        transport: FeatureTransport | None = None,
        inputs: "EditInputs | None" = None,
        **parameters: Value,
    ) -> "Latents | LocalEdit":
        """Apply the edit; see `function`. Raises ValueError for other inputs or parameters.

        transport: for an edit that moves codes; others leave it aside. inputs: for one that
        refines, which cannot do without.
        """
        if len(latents) != self.inputs:
            raise ValueError(
                f'the edit "{self.name}" takes {self.inputs} input{"s" * (self.inputs != 1)}, got '
                f"{len(latents)}"
            )
        for one in latents:
            one.check(generator)
            if self.inputs > 1 and len(one) != 1:
                raise ValueError(
                    f'the edit "{self.name}" takes latents of one image each, got {len(one)} '
                    "images; index them, as latents[0]"
                )
        complete: dict[str, Any] = dict(self.complete(parameters))
        if self.moves_codes:
            complete["transport"] = transport
        if self.refines:
            complete["inputs"] = inputs
        return self.function(generator, *latents, **complete)

    def complete(self, parameters: dict[str, Value]) -> dict[str, Value]:
        """Every parameter with its value, checked; ValueError for an unknown name."""
        declared = {parameter.name: parameter for parameter in self.parameters}
        for name in parameters:
            if name not in declared:
                raise ValueError(
                    f'the edit "{self.name}" has no parameter "{name}"; choose of '
                    f"{', '.join(declared) or 'none, as it has no parameters'}"
                )
        return {name: x.check(parameters.get(name, x.default)) for name, x in declared.items()}


EDITS: dict[str, Edit] = {}
"""Name -> edit, of every page that was registered."""


def register(edit: Edit) -> Edit:
    """Add an edit; ValueError if another edit has its name."""
    if EDITS.get(edit.name, edit) is not edit:
        raise ValueError(f'there is an edit "{edit.name}" already; choose another name')
    EDITS[edit.name] = edit
    return edit


def register_page(path: str | Path) -> Edit:
    """Run a page, a .py file that ends in `EDIT = Edit(...)`, and add its edit.

    The file is executed as any Python module. Raises FileNotFoundError, or ValueError for a file
    without `EDIT`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected the page of an edit, a .py file")
    spec = importlib.util.spec_from_file_location(f"facsimile_edit_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    edit = getattr(module, "EDIT", None)
    if not isinstance(edit, Edit):
        raise ValueError(f"{path}: got a page without an edit; it must end in EDIT = Edit(...)")
    return register(edit)


def get(name: str) -> Edit:
    """The edit of a name; ValueError with all names if there is none."""
    if name not in EDITS:
        raise ValueError(f'there is no edit "{name}"; choose one of {", ".join(sorted(EDITS))}')
    return EDITS[name]
