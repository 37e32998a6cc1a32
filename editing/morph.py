"""Morph: linear interpolation in latent space from one face to another, frame by frame.

Legend: T frames.
"""

import torch

from facsimile.stylegan import Generator, Latents

from .codes import same_kind, to_w_plus
from .registry import Edit, Parameter


@torch.no_grad()
def morph(generator: Generator, first: Latents, second: Latents, frames: int) -> Latents:
    """Latents of T frames in equal steps from `first` to `second`, each of one image.

    Codes, features, noise maps and labels are interpolated linearly; codes are retracted onto their
    space, so that codes in Z move along the sphere. Both ends are the inputs themselves.
    Raises ValueError for latents of kinds that cannot be interpolated.
    """
    if not same_kind(first, second) and first.feature is None and second.feature is None:
        first, second = (to_w_plus(generator, latents) for latents in (first, second))
    if not same_kind(first, second):
        raise ValueError(
            f'got latents in "{first.space}" and in "{second.space}" with different features, '
            "noise maps, labels or truncation; invert both photos by the same recipe"
        )
    weight = torch.linspace(0, 1, frames, dtype=first.code.dtype, device=first.code.device)
    start, end = first.tensors(), second.tensors()
    between = first.with_tensors(
        {
            name: torch.lerp(x, end[name], weight.view(-1, *[1] * (x.ndim - 1)))
            for name, x in start.items()
        }
    )
    code = between.retract().code.clone()
    code[0], code[-1] = start["code"][0], end["code"][0]
    return between.with_tensors(between.tensors() | {"code": code})


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
    description="Frame 1 is the first face, the last frame is the second.",
)
