"""Style: crossover of layers, the style mixing of "A Style-Based Generator Architecture for
Generative Adversarial Networks", section 3.1, with codes of photos.

Legend: N images, L style inputs.
"""

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, spaces

from .codes import parse_layers, same_kind, to_w_plus
from .feature_transport import FeatureTransport
from .registry import Edit, Parameter

S = "s"


@torch.no_grad()
def style(
    generator: Generator,
    first: Latents,
    second: Latents,
    layers: str,
    strength: float,
    transport: FeatureTransport | None = None,
) -> Latents:
    """The first face with the codes of the second at some style inputs.

    layers: "8-17", "8-" or "3": style inputs from 0 on; "": the second half of them. strength: 1
    replaces the codes, 0 leaves them, between the two they are mixed linearly. Noise maps stay
    those of the first face, and so does its feature, unless there is a transport: then the first
    face's codes change as its in-domain codes do, when those of the second replace them, and its
    feature follows. Raises ValueError for style inputs that do not exist.
    """
    start, end = parse_layers(layers, generator.num_ws, default=generator.num_ws // 2)
    if transport is not None and first.feature is not None:
        ws, other = (transport.in_domain_ws(generator, x) for x in (first, second))
        change = torch.zeros_like(ws)
        change[:, start:end] = strength * (other - ws)[:, start:end]
        return transport.move(generator, first, ws, change)
    space, _ = spaces.parse(first.space)
    if space.kind == S and same_kind(first, second):
        chosen = _styles_of(generator, start, end)
    else:
        chosen = torch.zeros(generator.num_ws, dtype=torch.bool)
        chosen[start:end] = True
        if not (space.plus and same_kind(first, second)):
            first, second = (to_w_plus(generator, latents) for latents in (first, second))
    code = first.code.clone()
    code[:, chosen] = torch.lerp(code[:, chosen], second.code[:, chosen], strength)
    return first.with_tensors(first.tensors() | {"code": code}).retract()


def _styles_of(generator: Generator, start: int, end: int) -> Tensor:
    """Which numbers of a code in S are of the style inputs from `start` to `end` - 1, bool."""
    parts = [
        torch.full((size,), layer.style is not None and start <= layer.style < end)
        for layer, size in zip(generator.synthesis.layers, generator.style_sizes, strict=True)
    ]
    return torch.cat(parts)


EDIT = Edit(
    name="style",
    summary="Give the first face the style of the second at some layers.",
    function=style,
    inputs=2,
    parameters=(
        Parameter(
            name="layers",
            default="",
            help="Style inputs that are taken from the second face, from 0 on: 8-17, 8- or 3. "
            "Default: the second half. Early ones decide pose and shape, late ones colour and "
            "light.",
        ),
        Parameter(
            name="strength",
            default=1.0,
            minimum=0.0,
            maximum=1.0,
            help="Share of the second face's codes: 0 changes nothing, 1 replaces the codes.",
        ),
    ),
    description="The result is one picture. With f/ recipes the feature follows by a feature "
    "editor; without one only the layers after the feature act.",
    moves_codes=True,
)
