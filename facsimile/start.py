"""Where refinement starts: at an encoder's prediction, at latents in a file, or at a fixed code."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.refine import Recipe
from facsimile.stylegan import Generator, spaces

from .initial_encoder import domain_encoder, fit_recipe, initial_encoder
from .initial_file import PlannedFile, plan_file, z_encoder

Init = Literal["mean", "random", "encoder"]


class Start(NamedTuple):
    """How the initial latents are made."""

    init: Init | Literal["file"]
    recipe: Recipe
    """Fitted to the encoder, if that predicts them."""
    encoder: LoadedEncoder | None
    """That predicts them or helps, or that a domain term compares with."""
    file: PlannedFile | None = None
    note: str = ""
    """Why they are not an encoder's prediction, or that of another than the recipe names."""


def read_init(text: str | None) -> Init | Path | None:
    """What a person asks for on the command line: one of the words, or a file."""
    return cast(Init | None, text) if text is None or text in get_args(Init) else Path(text)


def decide_start(
    generator: Generator, recipe: Recipe, init: Init | Path | None, encoders: EncoderSet
) -> Start:
    """How a recipe starts. init: what was asked for; a path is that of a file with latents, ours or
    another program's codes. Raises FileNotFoundError, or ValueError for what is not possible."""
    if isinstance(init, Path):
        encoder = z_encoder(recipe, encoders)
        file, recipe = plan_file(init, generator, recipe, encoder)
        return Start("file", recipe, encoder or domain_encoder(recipe, encoders), file)
    encoder, note = initial_encoder(recipe, init or recipe.init, encoders)
    if encoder is not None:
        return Start("encoder", fit_recipe(recipe, encoder), encoder, None, note)
    default: Any = spaces.parse(recipe.space)[0].default_init
    chosen: Any = init or recipe.init or default
    return Start(chosen, recipe, domain_encoder(recipe, encoders), None, note)
