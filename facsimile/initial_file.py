"""Latents in a file, ours or another program's, from which refinement starts."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.refine import Recipe
from facsimile.stylegan import Generator, Latents, spaces
from facsimile.stylegan.foreign_codes import in_space, read_latents


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """The file of the initial latents."""

    path: Path
    digest: str
    """Of its bytes."""
    words: str
    """What is taken from it."""


def plan_file(
    path: Path, generator: Generator, recipe: Recipe, encoder: LoadedEncoder | None
) -> tuple[PlannedFile, Recipe]:
    """The plan to start from a file, and the recipe, at the layer of the file's feature if it names
    no other. Raises FileNotFoundError, or ValueError for a file without latents of this generator,
    or with such as the recipe's space does not hold.

    encoder: see `z_encoder`.
    """
    latents = read_latents(path, generator)
    has_feature = spaces.parse(recipe.space)[1]
    if has_feature and recipe.layer is None:
        recipe = replace(recipe, layer=latents.layer)
    network = None if encoder is None else encoder.network
    try:
        _in_recipe(latents[-1], generator, recipe, network)
    except ValueError as error:
        raise ValueError(
            f'{path} cannot start the recipe "{recipe.name}": {error}, as --recipe w+ or f/w+'
        ) from None
    which = "" if len(latents) == 1 else f"the last of {len(latents)} "
    words = f"{which}latents in {latents.space} of {path}"
    if latents.layer not in (None, recipe.layer if has_feature else ""):
        words += ", without their feature"
    return PlannedFile(path=path, digest=_digest(path), words=words), recipe


def start_from(
    file: PlannedFile, generator: Generator, recipe: Recipe, encoder: nn.Module | None, count: int
) -> Latents:
    """Latents of `count` images, all those of the file. ValueError if it is another one by now."""
    if _digest(file.path) != file.digest:
        raise ValueError(f"{file.path} has changed since the plan was made; make the plan again")
    latents = read_latents(file.path, generator)[-1].to(generator.device, generator.dtype)
    return _in_recipe(latents, generator, recipe, encoder)[[0] * count]


def z_encoder(recipe: Recipe, encoders: EncoderSet) -> LoadedEncoder | None:
    """The encoder that turns codes of W into those of the recipe's space, if that is one of z."""
    kind = "feature"
    if spaces.parse(recipe.space)[0].kind != "z" or not encoders.has(kind):
        return None
    encoder = encoders.get(kind)
    return encoder if hasattr(encoder.network, "to_z") else None


def _in_recipe(
    latents: Latents, generator: Generator, recipe: Recipe, encoder: nn.Module | None
) -> Latents:
    """The latents in the recipe's space. Of which photo they were is forgotten."""
    to_z = getattr(encoder, "to_z", None)
    started = in_space(latents, generator, recipe.space, recipe.layer, to_z)
    return replace(started.detach(), crops=())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
