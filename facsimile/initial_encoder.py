"""Which encoder predicts the initial latents of a recipe, and what the recipe takes from it."""

from dataclasses import replace
from typing import Any

from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.encoders import KINDS
from facsimile.refine import Recipe


def initial_encoder(
    recipe: Recipe, init: str | None, encoders: EncoderSet
) -> tuple[LoadedEncoder | None, str]:
    """The encoder that predicts the initial latents, or None and why not.

    An encoder that was asked for must be there (ValueError); one that is only preferred is left out
    if it cannot be used.
    """
    if init == "encoder":
        return _usable_encoder(recipe, encoders), ""
    if init is not None or recipe.encoder is None:
        return None, ""
    kind = next(filter(encoders.has, _kinds(recipe)), None)
    if kind is None:
        return None, f", as this generator has no {recipe.encoder} encoder"
    try:
        encoder = _usable_encoder(recipe, encoders)
        return encoder, "" if encoder.kind == recipe.encoder else _why_another(recipe, encoders)
    except (ValueError, OSError) as error:
        return None, f", because its {kind} encoder cannot be used: {error}"


def _why_another(recipe: Recipe, encoders: EncoderSet) -> str:
    """Why the initial latents are predicted by another kind than the recipe names."""
    assert recipe.encoder is not None
    if not encoders.has(recipe.encoder):
        return f", as this generator has no {recipe.encoder} encoder"
    return f", as the {recipe.encoder} encoder does not predict the feature of {recipe.layer}"


def _usable_encoder(recipe: Recipe, encoders: EncoderSet) -> LoadedEncoder:
    """The encoder that predicts the recipe's initial latents: of the kind that the recipe names,
    else of another kind that starts its space; of those that predict a feature, the first one that
    predicts the recipe's layer. ValueError without such an encoder.
    """
    kinds = _kinds(recipe)
    if not kinds:
        raise ValueError(
            f'no encoder predicts a code in "{recipe.space}"; take a recipe in f/, w+, p_n+ or s, '
            "or another init"
        )
    available = [kind for kind in kinds if encoders.has(kind)] or kinds[:1]
    first = encoders.get(available[0])  # raises
    if _predicts_layer_of(recipe, first):
        return first
    for kind in available[1:]:
        if _predicts_layer_of(recipe, other := encoders.get(kind)):
            return other
    config: Any = first.network.config
    raise ValueError(
        f"{first.path} predicts the feature of {config.layer}, and {recipe.layer} is asked for; "
        "leave the layer out, or choose the init mean, or random in Z"
    )


def _kinds(recipe: Recipe) -> list[str]:
    """The kinds that start the recipe's space, first the one that it names; none if that cannot."""
    kinds = [name for name, kind in KINDS.items() if recipe.space in kind.spaces]
    if recipe.encoder is not None and recipe.encoder not in kinds:
        return []
    return sorted(kinds, key=lambda kind: kind != recipe.encoder)


def _predicts_layer_of(recipe: Recipe, encoder: LoadedEncoder) -> bool:
    """Whether the encoder predicts the feature that the recipe has, or codes alone."""
    config: Any = encoder.network.config
    return not _predicts_feature(encoder) or recipe.layer in (None, config.layer)


def fit_recipe(recipe: Recipe, encoder: LoadedEncoder) -> Recipe:
    """The recipe initialised by the encoder, at its layer and with its RGB skip."""
    recipe = recipe.from_encoder()
    if not _predicts_feature(encoder):
        return recipe
    config: Any = encoder.network.config
    # The feature encoder's RGB skip is that of the codes that it predicts.
    return replace(recipe, layer=config.layer, rgb_skip=getattr(config, "rgb_skip", "keep"))


def domain_encoder(recipe: Recipe, encoders: EncoderSet) -> LoadedEncoder | None:
    """The encoder into W+ that the domain term compares with; None if there is no such term."""
    if not recipe.has_term("domain_reg"):
        return None
    kinds = [name for name, kind in KINDS.items() if kind.predicts == "w+"]
    return encoders.get(recipe.encoder or next(filter(encoders.has, kinds), kinds[0]))


def _predicts_feature(encoder: LoadedEncoder) -> bool:
    return KINDS[encoder.kind].predicts in ("feature", "feature and w+")
