"""Where an inversion starts: at an encoder's guess, or as the generator alone can.

Legend: N images, C channels, R side of the image.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facsimile import encoders, stylegan
from facsimile.checkpoints import Encoder, EncoderSet
from facsimile.refine import Recipe
from facsimile.stylegan import Generator, Latents, spaces


@dataclass(frozen=True)
class Start:
    """What was decided for a recipe, and why."""

    recipe: Recipe
    """Fitted to the encoder, where there is one."""
    how: str
    """ "mean", "random" or "encoder"."""
    encoder: Encoder | None
    """That guesses the start, or that the domain term asks."""
    note: str
    """One sentence for the user."""

    def settings(self) -> dict:
        """What decides the result."""
        told = {"start": self.how}
        if self.encoder is not None:
            told["encoder"] = {"kind": self.encoder.kind, "weights": self.encoder.fingerprint}
        return told

    def latents(
        self, generator: Generator, targets: Tensor, seed: int, label: Tensor | None
    ) -> Latents:
        """Latents of the targets (N, C, R, R) to begin with."""
        recipe = self.recipe
        told = {
            "seed": seed,
            "label": label,
            "truncation": recipe.truncation,
            "cutoff": recipe.cutoff,
        }
        if self.how == "encoder":
            return encoders.encode(self.encoder.network, generator, targets, recipe.space, **told)
        return stylegan.init_latents(
            generator,
            recipe.space,
            len(targets),
            how=self.how,
            layer=recipe.layer,
            rgb_skip=recipe.rgb_skip,
            **told,
        )


def decide(recipe: Recipe, start: str | None, known: EncoderSet) -> Start:
    """start: "mean", "random", "encoder", or None for the recipe's own.

    A recipe's own start is an encoder's guess where there is an encoder for it; one that cannot be
    used is then passed over, and the note says why. ValueError where an encoder was asked for.
    """
    start = start or recipe.start
    inner, _ = spaces.parse(recipe.space)
    found, why = None, ""
    if start == "encoder":
        found = _encoder(recipe, known)
    elif start is None and recipe.encoder is not None:
        if known.has(recipe.encoder):
            try:
                found = _encoder(recipe, known)
            except (ValueError, OSError) as error:
                why = f", because its {recipe.encoder} encoder cannot be used: {error}"
        else:
            why = f", as this generator has no {recipe.encoder} encoder"
    if found is not None:
        note = f"start: the {found.kind} encoder {found.path}"
        return Start(_fitted(recipe, found), "encoder", found, note)
    how = start or inner.default_start
    asked = known.get("in-domain") if recipe.has_term("domain") else None
    return Start(recipe, how, asked, f"start: {how}{why}")


def _encoder(recipe: Recipe, known: EncoderSet) -> Encoder:
    """The encoder that guesses the recipe's start; ValueError where there is none that fits."""
    if recipe.encoder is None:
        raise ValueError(
            f'no encoder guesses a code in "{recipe.space}"; take a recipe in f/, w+, p_n+ or s, '
            "or another start"
        )
    found = known.get(recipe.encoder)
    layer = _layer(found)
    if recipe.layer is not None and layer is not None and layer != recipe.layer:
        raise ValueError(
            f"{found.path} guesses the feature of {layer}, and {recipe.layer} is asked for; leave "
            "the layer out, or choose the start mean, or random in Z"
        )
    return found


def _layer(encoder: Encoder) -> str | None:
    return encoder.network.config.layer if encoder.kind == "base" else None


def _fitted(recipe: Recipe, encoder: Encoder) -> Recipe:
    recipe = recipe.from_encoder()
    if encoder.kind != "base":
        return recipe
    config = encoder.network.config
    return replace(recipe, layer=config.layer, rgb_skip=config.rgb_skip)


def one_hot(label: int | None, classes: int, like: Tensor) -> Tensor | None:
    """(N, classes) of one label for as many images as `like` has."""
    if label is None:
        return None
    c = torch.zeros(len(like), classes).to(like)
    c[:, label] = 1
    return c
