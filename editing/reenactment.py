"""Reenactment as an edit: latents of faces that take on given landmarks.

Legend: N images, M landmark sets, L style inputs, D numbers in w, C channels, R image resolution,
K = 68 points.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from facsimile.data.points68 import check_landmarks
from facsimile.stylegan import Generator, Latents

from .codes import decode_ws, move_codes
from .feature_transport import FeatureTransport

SOURCE_SIGMA = 0.025
"""Standard deviation of the Gaussian k in `reenact_latents`, as a fraction of the image side. Half
of the pairs of aligned FFHQ faces have a larger mean landmark distance."""

LandmarkEncoder = Callable[[Tensor, Tensor], Tensor]
"""(codes (M, L, D) in W+ or images (M, C, R, R), landmarks (M, K, 2)) -> codes (M, L, D) in W+."""


@runtime_checkable
class DifferencePredictor(Protocol):
    """A `LandmarkEncoder` on codes that computes w + d(w, landmarks) and can give d alone."""

    def __call__(self, ws: Tensor, landmarks: Tensor) -> Tensor: ...

    def embed_landmarks(self, landmarks: Tensor) -> Tensor:
        """Landmarks (M, K, 2) -> what `difference` takes."""

    def difference(self, ws: Tensor, embedding: Tensor) -> Tensor:
        """ws (M, L, D) and embedded landmarks -> d (M, L, D)."""


@torch.no_grad()
def reenact_latents(
    encoder: LandmarkEncoder,
    generator: Generator,
    source: Latents | Tensor,
    landmarks: Tensor,
    source_landmarks: Tensor | None = None,
    *,
    ws: Tensor | None = None,
    transport: FeatureTransport | None = None,
) -> Latents:
    """Latents of faces with landmarks (M, K, 2), in pixels of the generator's images.

    source: M faces, or one face for all landmarks. For a `DifferencePredictor` latents (their noise
    and label are kept, their truncation is applied to the code), or codes (M, L, D) in W+; the
    result is in w+. For an encoder that takes images: (M, C, R, R) in [-1, 1].
    source_landmarks: landmarks of the source, as many as faces; for a `DifferencePredictor` only.

        w + d(w, landmarks) - k d(w, source_landmarks),  k = exp(-(distance / SOURCE_SIGMA)^2 / 2)

    with the mean distance between the two sets of landmarks. The source's landmarks then reproduce
    the source exactly, and distant landmarks act as without this term, which is not the paper's.
    The rest is "Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3.

    ws: codes w (as many as faces, L, D) in W+ at which the difference is predicted, for latents
    that have none of their own or are far from an in-domain encoder's; the latents' codes change
    by the same difference, and stay in s if they are there. transport: carries the difference into
    the feature of latents in an f/ space, which needs ws.
    Raises ValueError for latents of another generator, for counts that do not match, for landmarks
    that are not finite, and for latents with a feature without a transport.
    """
    _check_faces(encoder, source, landmarks, source_landmarks)
    landmarks = landmarks.to(generator.device, generator.dtype)
    if not isinstance(source, Latents):
        source = source.to(landmarks).expand(len(landmarks), *source.shape[1:])
        if not isinstance(encoder, DifferencePredictor):
            return _in_w_plus(generator, encoder(source, landmarks))
        source = _in_w_plus(generator, source)
    assert isinstance(encoder, DifferencePredictor)
    source = _one_for_each(source, generator, len(landmarks))
    if source.feature is not None and (transport is None or ws is None):
        raise ValueError(
            f'got latents in "{source.space}", whose face is in more than a code of W+, and no '
            "feature editor that carries the difference into their feature; expected z, z+, w, w+, "
            "p_n or p_n+, such as an in-domain encoder gives"
        )
    ws = decode_ws(generator, source) if ws is None else ws.to(landmarks)
    ws = ws.expand(len(landmarks), -1, -1)
    change = _difference(encoder, generator.resolution, ws, landmarks, source_landmarks)
    if source.feature is not None and transport is not None:
        return transport.move(generator, source, ws, change)
    return move_codes(generator, source, change)


def _difference(
    encoder: DifferencePredictor,
    resolution: int,
    ws: Tensor,
    landmarks: Tensor,
    source_landmarks: Tensor | None,
) -> Tensor:
    """What is added to the codes ws (M, L, D), by the formula of `reenact_latents`."""
    change = encoder.difference(ws, encoder.embed_landmarks(landmarks))
    if source_landmarks is None:
        return change
    source_landmarks = source_landmarks.to(landmarks).expand(len(landmarks), -1, -1)
    distance = torch.linalg.vector_norm(landmarks - source_landmarks, dim=2).mean(1) / resolution
    k = (-0.5 * (distance / SOURCE_SIGMA).square()).exp()[:, None, None]
    return change - k * encoder.difference(ws, encoder.embed_landmarks(source_landmarks))


def _in_w_plus(generator: Generator, ws: Tensor) -> Latents:
    return Latents(space="w+", code=ws, fingerprint=generator.fingerprint)


def _one_for_each(source: Latents, generator: Generator, count: int) -> Latents:
    """`count` faces: those of `source`, or the only one repeated."""
    source.check(generator)
    source = source.to(generator.device, generator.dtype)
    return source[[0] * count] if len(source) == 1 else source


def _check_faces(
    encoder: LandmarkEncoder,
    source: Latents | Tensor,
    landmarks: Tensor,
    source_landmarks: Tensor | None,
) -> None:
    """ValueError for landmarks and faces that do not go together or with the encoder."""
    _check_finite_landmarks(landmarks)
    if len(source) not in (1, len(landmarks)):
        raise ValueError(
            f"got {len(source)} faces and landmarks of {len(landmarks)}; expected one face for all "
            "landmarks, or one for each"
        )
    predicts_difference = isinstance(encoder, DifferencePredictor)
    if source_landmarks is not None:
        _check_finite_landmarks(source_landmarks)
        if not predicts_difference or len(source_landmarks) != len(source):
            raise ValueError(
                f"got source landmarks of {len(source_landmarks)} faces for {len(source)} faces; "
                "expected those of every face, and a difference encoder"
            )
    if isinstance(source, Latents) and not predicts_difference:
        raise ValueError(
            "got latents, and this encoder takes images; pass the images that they synthesize"
        )


def _check_finite_landmarks(landmarks: Tensor) -> None:
    check_landmarks(landmarks)
    bad = ~landmarks.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"got landmarks that are not finite for {int(bad.sum())} of {len(bad)} faces, "
            f"the first is number {int(bad.nonzero()[0, 0])}; leave these faces out"
        )
