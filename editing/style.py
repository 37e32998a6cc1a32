"""Style: crossover of layers, the style mixing of "A Style-Based Generator Architecture for
Generative Adversarial Networks", section 3.1, with codes of photos.

Legend: N images, L style inputs.
"""

import torch

from facsimile.stylegan import Generator, Latents, spaces

from .codes import same_kind, to_w_plus
from .registry import Edit, Parameter


@torch.no_grad()
def style(
    generator: Generator, first: Latents, second: Latents, layers: str, strength: float
) -> Latents:
    """The first face with the codes of the second at some style inputs.

    layers: "8-17", "8-" or "3": style inputs from 0 on; "": the second half of them. strength: 1
    replaces the codes, 0 leaves them, between the two they are mixed linearly. Features and noise
    maps stay those of the first face. Raises ValueError for style inputs that do not exist.
    """
    space, _ = spaces.parse(first.space)
    if not (space.plus and same_kind(first, second)):
        first, second = (to_w_plus(generator, latents) for latents in (first, second))
    start, end = parse_layers(layers, generator.num_ws)
    code = first.code.clone()
    code[:, start:end] = torch.lerp(code[:, start:end], second.code[:, start:end], strength)
    return first.with_tensors(first.tensors() | {"code": code}).retract()


def parse_layers(text: str, num_ws: int) -> tuple[int, int]:
    """ "8-17" -> (8, 18): the range of style inputs; ValueError if it is not one."""
    text = text.strip() or f"{num_ws // 2}-"
    first, hyphen, last = (part.strip() for part in text.partition("-"))
    last = last or (str(num_ws - 1) if hyphen else first)
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < num_ws):
        raise ValueError(
            f'layers: got "{text}", expected style inputs from 0 to {num_ws - 1}, as '
            f'"{num_ws // 2}-{num_ws - 1}", "{num_ws // 2}-" or "0"'
        )
    return int(first), int(last) + 1


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
    description="The result is one picture. With f/ recipes only the layers after the feature act.",
)
