"""Faces with other landmarks: latents from an encoder that is told both.

Legend: N images, M landmarks, L style inputs, D numbers in w, R side of the image, K = 68 points.
"""

import torch
from torch import Tensor

from facsimile.data.points68 import check_landmarks
from facsimile.stylegan import Generator, Latents, spaces

from .difference import DifferenceEncoder
from .files import Encoder, check
from .naive import NaiveEncoder

KEPT = 0.025
"""Mean distance of landmarks, the side of the image the unit, over which own landmarks are heeded:
the standard deviation of a Gaussian. Half of the pairs of aligned FFHQ faces are further apart."""


@torch.no_grad()
def reenact_codes(
    encoder: Encoder,
    generator: Generator,
    source: Latents | Tensor,
    landmarks: Tensor,
    own: Tensor | None = None,
) -> Latents:
    """Latents in W+ of faces with landmarks (M, K, 2), which are in pixels of the generator's side.

    source: the faces, M of them or one for all landmarks. To a difference encoder latents in a
    space of w or z, whose noise and labels stay and whose truncation goes into the code, or codes
    (M, L, D) in W+; to a naive encoder images (M, C, R, R) in [-1, 1].
    own: landmarks of the source, as many as faces: then w + d(w, landmarks) - k d(w, own), where
    k = exp(-(apart / KEPT)^2 / 2) of the mean distance between the two, so that its own landmarks
    move nothing at all, those near them little, and far ones all the way: what d does at own ones
    is its error, but of others less and less. Not the paper's; of a difference encoder alone.
    Raises ValueError for another generator's encoder or latents, other counts, and landmarks that
    are none.
    """
    check(encoder, generator)
    _check(landmarks)
    if not isinstance(encoder, DifferenceEncoder | NaiveEncoder):
        raise ValueError(
            "this encoder is told of no landmarks; take one of train.py difference, keypoint, naive"
        )
    if len(source) not in (1, len(landmarks)):
        raise ValueError(
            f"got {len(source)} faces and landmarks of {len(landmarks)}; expected one face for all "
            "landmarks, or one for each"
        )
    if own is not None:
        _check(own)
        if isinstance(encoder, NaiveEncoder) or len(own) != len(source):
            raise ValueError(
                f"got own landmarks of {len(own)} faces for {len(source)}; expected those of every "
                "face, and a difference encoder"
            )
    kept = {}
    if isinstance(source, Latents):
        if isinstance(encoder, NaiveEncoder):
            raise ValueError("a naive encoder takes images, got latents; pass what they draw")
        source.check(generator)
        source = source.to(generator.device, generator.dtype)
        source = source[[0] * len(landmarks)] if len(source) == 1 else source
        kept = {"noise": source.noise, "label": source.label}
        source = _ws(generator, source)
    landmarks, source = (x.to(generator.device, generator.dtype) for x in (landmarks, source))
    code = encoder(source.expand(len(landmarks), *source.shape[1:]), landmarks)
    if own is not None:
        own = own.to(landmarks).expand(len(landmarks), -1, -1)
        apart = (landmarks - own).norm(dim=2).mean(1) / generator.resolution
        on_device = (-0.5 * (apart / KEPT).square()).exp()[:, None, None]
        code = code - near * encoder.difference(source.expand_as(code), encoder.told(own))
    return Latents(space="w+", code=code, fingerprint=generator.fingerprint, **kept)


def _check(landmarks: Tensor) -> None:
    check_landmarks(landmarks)
    bad = ~landmarks.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"got landmarks that are no finite numbers for {int(bad.sum())} of {len(bad)} faces, "
            f"the first is number {int(bad.nonzero()[0, 0])}; leave these faces out"
        )


def _ws(generator: Generator, source: Latents) -> Tensor:
    """What the synthesis takes of latents, (N, L, D)."""
    space, has_feature = spaces.parse(source.space)
    if has_feature or space.name == "s":
        raise ValueError(
            f'got latents in "{source.space}", whose face is in more than a code of W+; expected '
            "z, z+, w, w+, p_n or p_n+, such as an in-domain encoder gives"
        )
    ws = space.decode(generator, source.code, source.label)
    return generator.truncate(ws, source.truncation, source.cutoff)
