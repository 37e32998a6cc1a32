"""Attribute transfer: a region of one layer's activation from another picture
("Image2StyleGAN++", section 7.6), and the other operations on activations (section 5.4)."""

from dataclasses import replace

import torch

from facsimile.stylegan import Generator, Latents

from .activations import activation, attributes, copy_channels
from .local_edit import (
    FEATHER,
    INVERT_MASK,
    MASK,
    EditInputs,
    LocalEdit,
    blur,
    choose_mask,
    start_in_w_plus,
)
from .registry import Edit, Parameter

DEFAULT_LAYER = "b8.conv1"
"""StyleGAN2's nearest to the paper's layer 4, the second convolution at 8x8."""


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
    channels: str,
    inputs: EditInputs,
) -> LocalEdit:
    """The base with the donor's activation inside the mask; styles and RGB skip are the base's.

        spatial copy  t = m A + (1 - m) B          averaging  t = s A + (1 - s) B, s = share
        channel copy  t[c] = A[c] for some c, else B[c]

    with A the donor's and B the base's; all three act at once where they are asked for. A result
    can be the base of another donor with another mask. Latents are in f/w+.
    """
    a, b = (activation(generator, x, layer) for x in (donor, base))
    if channels:
        a = a._replace(x=copy_channels(a, b, parse_channels(channels, a.x.shape[1])))
    a = a._replace(x=torch.lerp(b.x, a.x, share))
    images = inputs.targets[0]
    m = torch.ones_like(images[:, :1])
    if mask:
        m = blur(choose_mask(inputs, images, mask, invert=invert_mask), max(0.0, feather))
    t = attributes(generator, a, b, m, m)
    codes = base if base.layer == layer else start_in_w_plus(generator, base, "transfer")
    space = codes.space if base.layer == layer else "f/w+"
    latents = replace(codes, space=space, layer=layer, feature=t, rgb=b.rgb)
    return LocalEdit(latents=latents, mask=m)


def parse_channels(text: str, count: int) -> list[int]:
    """ "0-15,40" -> [0, .., 15, 40]; ValueError for what is no such list below `count`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdigit() and (not last or last.isdigit()) and int(last or first) < count):
            raise ValueError(
                f'channels: got "{text}", expected numbers and ranges from 0 to {count - 1}, as '
                f'"0-{count // 2}" or "3,7"'
            )
        found += range(int(first), int(last or first) + 1)
    return found


EDIT = Edit(
    name="transfer",
    summary="Give a region of the first picture what the second shows there.",
    function=transfer,
    inputs=2,
    parameters=(
        MASK.describe("Where the second picture's activation is taken; default: everywhere."),
        INVERT_MASK,
        FEATHER.describe("Width of the mask's soft edge, in pixels; below 0: a hard mask."),
        Parameter(
            name="layer",
            default=DEFAULT_LAYER,
            help="The layer whose activation is changed, such as b8.conv1 or b16.conv0.",
        ),
        Parameter(
            name="share",
            default=1.0,
            minimum=0.0,
            maximum=1.0,
            help="Of the second picture's activation: 0.5 is the average.",
        ),
        Parameter(
            name="channels",
            default="",
            help="Channels that are taken, from 0 on: 0-63 or 3,7. Default: all.",
        ),
    ),
    description="The result is one picture, in f/w+; it can be the first input of another transfer "
    "from another picture with another mask. Source: Image2StyleGAN++, sections 5.4 and 7.6.",
    refines=True,
)
