"""Latents of any space as codes in W+, for edits that need one code per style input.

Legend: N images, L style inputs, D numbers in w.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, spaces


def decode_ws(generator: Generator, latents: Latents) -> Tensor:
    """The codes (N, L, D) that synthesis takes, truncation applied; ValueError in S."""
    space, _ = spaces.parse(latents.space)
    ws = space.to_w_plus(generator, latents.code, latents.label)
    return generator.truncate(ws, latents.truncation_psi, latents.truncation_cutoff)


def to_w_plus(generator: Generator, latents: Latents) -> Latents:
    """The same images with codes in W+ or F/W+; ValueError in S."""
    _, has_feature = spaces.parse(latents.space)
    return replace(
        latents,
        space="f/w+" if has_feature else "w+",
        code=decode_ws(generator, latents),
        truncation_psi=1.0,
        truncation_cutoff=None,
    )


def with_feature(generator: Generator, latents: Latents, layer: str) -> Latents:
    """The same images of latents without a feature, in F/W+ with the layer's; ValueError in S."""
    noise = "const" if latents.noise is None else latents.noise
    feature = generator.synthesize(
        decode_ws(generator, latents), noise=noise, stop=layer, placement=latents.placement
    )
    return replace(
        to_w_plus(generator, latents),
        space="f/w+",
        layer=layer,
        feature=feature.x,
        rgb=feature.rgb,
    )


def move_codes(generator: Generator, latents: Latents, change: Tensor) -> Latents:
    """The latents with a change (N, L, D) of codes in W+, in w+ or f/w+; those in S stay in S.

    S holds affine functions of w, which change by their linear part.
    """
    space, _ = spaces.parse(latents.space)
    if isinstance(space.decode(generator, latents.code, latents.label), Tensor):
        latents = to_w_plus(generator, latents)
    else:
        nothing = torch.zeros_like(change)
        change = space.from_w_plus(generator, change) - space.from_w_plus(generator, nothing)
    return replace(latents, code=latents.code + change)


def same_kind(first: Latents, second: Latents) -> bool:
    """Whether both have the same space, layer, truncation and tensors, and can be mixed."""
    tensors = [latents.tensors() for latents in (first, second)]
    if tensors[0].keys() != tensors[1].keys():
        return False
    names = {f.name for f in fields(first)} - {*tensors[0], "noise", "crops"}
    return all(getattr(first, name) == getattr(second, name) for name in names)


def parse_layers(text: str, num_ws: int, default: int) -> tuple[int, int]:
    """ "8-17" -> (8, 18): the range of style inputs; "": those from `default` on.

    Raises ValueError for a text that is no range.
    """
    text = text.strip() or f"{default}-"
    first, hyphen, last = (part.strip() for part in text.partition("-"))
    last = last or (str(num_ws - 1) if hyphen else first)
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < num_ws):
        raise ValueError(
            f'layers: got "{text}", expected style inputs from 0 to {num_ws - 1}, as '
            f'"{num_ws // 2}-{num_ws - 1}", "{num_ws // 2}-" or "0"'
        )
    return int(first), int(last) + 1
