"""Morph: linear interpolation in latent space from one face to another, frame by frame.

Legend: T frames, L style inputs, D numbers in w.
"""

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents

from .codes import same_kind, to_w_plus, with_feature
from .feature_transport import FeatureTransport
from .registry import Edit, Parameter


@torch.no_grad()
def morph(
    generator: Generator,
    first: Latents,
    second: Latents,
    frames: int,
    transport: FeatureTransport | None = None,
) -> Latents:
    """Latents of T frames in equal steps from `first` to `second`, each of one image.

    Codes, features, noise maps and labels are interpolated linearly; codes are retracted onto their
    space, so that codes in Z move along the sphere. With a transport codes are interpolated in W+,
    and each face's feature follows them, see `_carried_features`. Both ends are the inputs
    themselves; where only one has a feature, the other gets that of its code. Raises ValueError for
    latents of kinds that cannot be interpolated.
    """
    layers = {x.layer for x in (first, second) if x.layer is not None}
    if len(layers) == 1:
        (layer,) = layers
        first, second = (
            with_feature(generator, x, layer) if x.feature is None else x for x in (first, second)
        )
    carries = transport is not None and all(transport.fits(generator, x) for x in (first, second))
    if carries or not same_kind(first, second):
        first, second = (to_w_plus(generator, latents) for latents in (first, second))
    if not same_kind(first, second):
        raise ValueError(
            f'got latents in "{first.space}" and in "{second.space}" with different features, '
            "noise maps, labels or truncation; invert both photos by the same recipe"
        )
    weight = torch.linspace(0, 1, frames, dtype=first.code.dtype, device=first.code.device)
    start, end = first.tensors(), second.tensors()
    tensors = {name: _lerp(x, end[name], weight) for name, x in start.items()}
    if carries:
        assert transport is not None
        tensors |= _carried_features(generator, first, second, weight, transport)
    between = first.with_tensors(tensors).retract().tensors()
    # Exactly, which neither the sphere nor the feature editor is bound to.
    between = {k: torch.cat([start[k], x[1:-1], end[k]]) for k, x in between.items()}
    return first.with_tensors(between)


def _carried_features(
    generator: Generator,
    first: Latents,
    second: Latents,
    weight: Tensor,
    transport: FeatureTransport,
) -> dict[str, Tensor]:
    """The features of frames at t = weight (T,), and the RGB skips if there are any, by name.

        (1 - t) H(F_1, w_1 -> w_t) + t H(F_2, w_2 -> w_t),  w_t = w_1 + t (w_2 - w_1)

    with the in-domain codes w_1, w_2 (1, L, D) of both images, and H by `FeatureTransport.move`.
    """
    ws = [transport.in_domain_ws(generator, x) for x in (first, second)]
    t = weight.view(-1, 1, 1)
    changes = (t * (ws[1] - ws[0]), (1 - t) * (ws[0] - ws[1]))
    moved = [
        transport.move(generator, x[[0] * len(t)], w.expand(len(t), -1, -1), change).tensors()
        for x, w, change in zip((first, second), ws, changes, strict=True)
    ]
    names = [name for name in ("feature", "rgb") if name in moved[0]]
    return {name: _lerp(moved[0][name], moved[1][name], weight) for name in names}


def _lerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """One of start (1 or T, ..) to end, at each weight (T,): (T, ..)."""
    return torch.lerp(start, end, weight.view(-1, *[1] * (start.ndim - 1)))


EDIT = Edit(
    name="morph",
    summary="Morph one face into another, frame by frame.",
    function=morph,
    inputs=2,
    parameters=(
        Parameter(
            name="frames",
            default=25,
            minimum=2,
            help="Number of frames, both faces included; a video shows 25 a second.",
        ),
    ),
    description="Frame 1 is the first face, the last frame is the second. With f/ recipes the "
    "features follow the codes by a feature editor; without one they are mixed linearly, and show "
    "both faces at once.",
    moves_codes=True,
)
