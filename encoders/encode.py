"""The first guess: latents of images, from an encoder of any kind.

Legend: N images, L style inputs, D numbers in w, R side of the image.
"""

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, spaces

from .feature import FeatureEncoder
from .files import Encoder, check
from .in_domain import InDomainEncoder


def encode(
    encoder: Encoder,
    generator: Generator,
    images: Tensor,
    space: str | None = None,
    *,
    how: str | None = None,
    seed: int = 0,
    label: Tensor | None = None,
    truncation: float = 1.0,
    cutoff: int | None = None,
) -> Latents:
    """Latents of images (N, img_channels, R, R).

    A base encoder gives their features, and with them the code of the space's start (how and seed
    as in `stylegan.start`), with which its passes draw; space: f/ and an inner space, None: f/z+.
    An in-domain encoder gives their codes; space: w+ (None), or what follows from w+: p_n+ and s.
    Its passes draw too, and no gradient goes through them.
    The rest is as in `stylegan.start`.
    Raises ValueError for another generator's encoder, and for spaces that it does not reach.
    """
    check(encoder, generator)
    if not isinstance(encoder, FeatureEncoder | InDomainEncoder):
        raise ValueError(
            "this encoder needs landmarks beside a face; take a base or an in-domain encoder, and "
            "go on from its latents with encoders.reenact_codes"
        )
    told = {
        "fingerprint": generator.fingerprint,
        "label": label,
        "truncation": truncation,
        "cutoff": cutoff,
    }
    if not isinstance(encoder, FeatureEncoder):
        space = space or "w+"
        return Latents(space=space, code=_code(encoder, generator, images, space), **told)
    space = space or "f/z+"
    inner, has_feature = spaces.parse(space)
    if not has_feature:
        raise ValueError(f'a base encoder gives a feature, and "{space}" has none; take f/{space}')
    found = encoder.feature(images)
    first = Latents(
        space=space,
        code=inner.start(generator, len(images), how or inner.default_start, seed, label),
        layer=found.layer,
        feature=found.x,
        rgb=None if found.rgb is None else found.rgb.clone(),
        **told,
    )

    def holding(x: Tensor) -> Latents:
        return first.with_tensors(first.tensors() | {"feature": x})

    return holding(encoder.corrected(images, found.x, lambda x: holding(x).draw(generator)))


def _code(encoder: Encoder, generator: Generator, images: Tensor, space: str) -> Tensor:
    """The encoder's code of W+ (N, L, D), in another space that holds all of W+."""
    spaces.parse(space)
    if space not in ("w+", "p_n+", "s"):
        raise ValueError(
            f'an in-domain encoder gives a w for every style input, and "{space}" does not hold '
            "that; take w+, p_n+ or s"
        )
    code = encoder.find(images, generator.synthesize)
    if space == "p_n+":
        return spaces.whiten(generator, code)
    return torch.cat(generator.styles(code), 1) if space == "s" else code
