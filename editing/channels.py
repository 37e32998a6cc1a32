"""Channel copy: some channels of one layer's activation from another picture ("Image2StyleGAN++",
section 5.4)."""

import torch

from facsimile.stylegan import Generator, Latents

from .activations import LAYER, activation, copy_channels, with_activation
from .local_edit import EditInputs, LocalEdit
from .registry import Edit, Parameter


@torch.no_grad()
def channels(
    generator: Generator,
    base: Latents,
    donor: Latents,
    channels: str,
    layer: str,
    share: float,
    inputs: EditInputs,
) -> LocalEdit:
    """The base with t[c] = B[c] + share (A[c] - B[c]) for the chosen channels c.

    A is the donor's activation, B the base's; styles and RGB skip are the base's. Latents are in
    f/w+.
    """
    a, b = (activation(generator, x, layer) for x in (donor, base))
    chosen = parse_channels(channels, a.x.shape[1])
    t = torch.lerp(b.x, copy_channels(a, b, chosen), share)
    everywhere = torch.ones_like(inputs.targets[0][:, :1])
    return LocalEdit(latents=with_activation(generator, base, b._replace(x=t)), mask=everywhere)


def parse_channels(text: str, count: int) -> list[int]:
    """ "0-15,40" -> [0, .., 15, 40]; "" -> the first half; ValueError for what is no such list."""
    if not text:
        return list(range(count // 2))
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
    name="channels",
    summary="Give the first picture some channels of a layer of the second.",
    function=channels,
    inputs=2,
    parameters=(
        Parameter(
            name="channels",
            default="",
            help="Channels that are taken, from 0 on: 0-63 or 3,7. Default: the first half.",
        ),
        LAYER,
        Parameter(
            name="share",
            default=1.0,
            minimum=0.0,
            maximum=1.0,
            help="Of the second picture's channels: 0.5 is the average.",
        ),
    ),
    description="The result is one picture, in f/w+. Source: Image2StyleGAN++, section 5.4.",
    refines=True,
)
