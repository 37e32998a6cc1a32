"""Attribute transfer: a region of one layer's activation from another picture
("Image2StyleGAN++", section 7.6), and masked morphing."""

import torch

from facsimile.stylegan import Generator, Latents

from .activations import LAYER, activation, attributes, with_activation
from .codes import to_w_plus
from .local_edit import (
    FEATHER,
    INVERT_MASK,
    MASK,
    EditInputs,
    LocalEdit,
    blur,
    choose_mask,
)
from .registry import Edit, Parameter


@torch.no_grad()
def transfer(
    generator: Generator,
    base: Latents,
    donor: Latents,
    mask: str,
    invert_mask: bool,
    feather: float,
    layer: str,
    share: float,
    strength: float,
    frames: int,
    inputs: EditInputs,
) -> LocalEdit:
    """The base with the donor's activation inside the mask; styles and RGB skip are the base's.

        A = A_l(w_B + strength (w_A - w_B))                 the donor's code, or on the way to it
        t = m (B + share (A - B)) + (1 - m) B               B the base's activation

    With share 1 a spatial copy, with 0.5 an average. frames: so many results, with strengths in
    equal steps from 0: masked morphing. A result can be the base of another donor with another
    mask and strength. Latents are in f/w+.
    """
    b = activation(generator, base, layer)
    last = frames - 1
    strengths = [strength * i / last if last else strength for i in range(frames)]
    images = inputs.targets[0]
    m = torch.ones_like(images[:, :1])
    if mask:
        m = blur(choose_mask(inputs, images, mask, invert=invert_mask), max(0.0, feather))
    drawn = []
    for t in strengths:
        a = activation(generator, between(generator, base, donor, t), layer)
        drawn.append(attributes(generator, a._replace(x=torch.lerp(b.x, a.x, share)), b, m, m))
    same = [0] * len(drawn)
    latents = with_activation(generator, base, b)[same]
    latents = latents.with_tensors(latents.tensors() | {"feature": torch.cat(drawn)})
    return LocalEdit(latents=latents, mask=m[same], solutions=len(drawn))


def between(generator: Generator, base: Latents, donor: Latents, strength: float) -> Latents:
    """The donor with the code w_B + strength (w_A - w_B); ValueError where a code is not all."""
    if strength == 1:
        return donor
    if donor.feature is not None:
        raise ValueError(
            f'got a donor in "{donor.space}", whose feature no code moves; expected --strength 1 '
            "and one frame, or a photo that is inverted with --recipe w+"
        )
    start, end = (to_w_plus(generator, x).code for x in (base, donor))
    moved = to_w_plus(generator, donor)
    return moved.with_tensors(moved.tensors() | {"code": torch.lerp(start, end, strength)})


EDIT = Edit(
    name="transfer",
    summary="Give a region of the first picture what the second shows there.",
    function=transfer,
    inputs=2,
    parameters=(
        MASK.describe("Where the second picture's activation is taken; default: everywhere."),
        INVERT_MASK,
        FEATHER.describe("Width of the mask's soft edge, in pixels; below 0: a hard mask."),
        LAYER,
        Parameter(
            name="share",
            default=1.0,
            minimum=0.0,
            maximum=1.0,
            help="Of the second picture's activation: 0.5 is the average.",
        ),
        Parameter(
            name="strength",
            default=1.0,
            help="Where the second picture's code is between the first's (0) and its own (1).",
        ),
        Parameter(
            name="frames",
            default=1,
            minimum=1,
            help="So many results, with strengths in equal steps from 0: masked morphing.",
        ),
    ),
    description="The results are in f/w+; one can be the first input of another transfer, from "
    "another picture with another mask. Source: Image2StyleGAN++, sections 5.4 and 7.6.",
    refines=True,
)
