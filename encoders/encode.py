"""Latents of images from an encoder of any kind that needs nothing but images.

Legend: N images, L style inputs, D numbers in w, R image resolution.
"""

from typing import Any

from torch import Tensor, nn

from facsimile.stylegan import Generator, Latents, spaces

from .feature.network import FeaturePrediction
from .files import check
from .kinds import kind_of


def encode(
    encoder: nn.Module,
    generator: Generator,
    images: Tensor,
    space: str | None = None,
    *,
    init: str | None = None,
    seed: int = 0,
    label: Tensor | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> Latents:
    """Latents of images (N, img_channels, R, R) in [-1, 1].

    space: one that the encoder's kind can start; None: the kind's default.
    An encoder of features alone gives the features; the code beside them is initialised as by
    `stylegan.init_latents` (init, seed, label), and the encoder's iterations synthesize with it.
    An encoder of features and codes gives both: in f/z and f/z+ codes of a like picture, and in a
    space of one code for all style inputs that of the mean over the inputs after the feature.
    An encoder into W+ gives the codes, converted to the space; no gradient goes through its
    iterations, if it has any. The other arguments are those of `stylegan.init_latents`.
    Raises ValueError for an encoder of another generator, for a kind that needs landmarks, and for
    a space that the kind cannot start.
    """
    check(encoder, generator)
    kind = kind_of(encoder)
    space = space or kind.default_space
    if kind.predicts == "feature edit":
        raise ValueError(
            f"an encoder of the kind {kind.name} edits features and starts no latents; take "
            "another kind, and edit its latents with facsimile.Studio.edit"
        )
    if space is None:
        raise ValueError(
            f"an encoder of the kind {kind.name} needs landmarks beside a face; take another kind "
            "and edit its latents with facsimile.editing.reenact_latents"
        )
    if space not in kind.spaces:
        raise ValueError(
            f'an encoder of the kind {kind.name} cannot start "{space}"; take '
            f"{', '.join(kind.spaces)}"
        )
    fields: dict[str, Any] = {
        "fingerprint": generator.fingerprint,
        "label": label,
        "truncation_psi": truncation_psi,
        "truncation_cutoff": truncation_cutoff,
    }
    inner, _ = spaces.parse(space)
    if kind.predicts == "feature and w+":
        prediction = encoder.predict(images, generator)
        fields["code"] = _code_of(encoder, generator, inner, prediction, label)
        layer, x, rgb = prediction.feature
        return Latents(space=space, layer=layer, feature=x, rgb=rgb, **fields)
    if kind.predicts == "feature":
        fields["code"] = inner.initial_code(
            generator, len(images), init or inner.default_init, seed, label
        )
        return _with_feature(encoder, generator, images, fields | {"space": space})
    ws = encoder.encode(images, generator.synthesize)
    return Latents(space=space, code=inner.from_w_plus(generator, ws), **fields)


def _code_of(
    encoder: Any,
    generator: Generator,
    space: spaces.Space,
    prediction: FeaturePrediction,
    label: Tensor | None,
) -> Tensor:
    """The predicted codes as a code (N, *shape) of the space: the same, or a like one."""
    ws, first = prediction.ws, generator.first_ws_index(prediction.feature.layer)
    if space.contains_w_plus:
        return space.from_w_plus(generator, ws)
    if space.plus:
        return encoder.to_z(ws, label).to(ws)
    # One code for all style inputs: that of the mean over those that act.
    mean = generator.broadcast_ws(ws[:, first:].mean(1))
    if space.kind == "z":
        return space.retract(encoder.to_z(mean, label)[:, first:].mean(1).to(ws))
    return spaces.SPACES[f"{space.kind}+"].from_w_plus(generator, mean)[:, first]


def _with_feature(
    encoder: nn.Module, generator: Generator, images: Tensor, fields: dict[str, Any]
) -> Latents:
    """Latents of these fields with the predicted feature, after the encoder's iterations."""
    start = encoder.feature(images)
    rgb = None if start.rgb is None else start.rgb.clone()
    latents = Latents(layer=start.layer, feature=start.x, rgb=rgb, **fields)

    def with_feature(x: Tensor) -> Latents:
        return latents.with_tensors(latents.tensors() | {"feature": x})

    def synthesize(x: Tensor) -> Tensor:
        return with_feature(x).synthesize(generator)

    return with_feature(encoder.refine(images, start.x, synthesize))
