"""Latents of any space as codes in W+, for edits that need one code per style input.

Legend: N images, L style inputs, D numbers in w.
"""

from dataclasses import fields, replace

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


def same_kind(first: Latents, second: Latents) -> bool:
    """Whether both have the same space, layer, truncation and tensors, and can be mixed."""
    tensors = [latents.tensors() for latents in (first, second)]
    if tensors[0].keys() != tensors[1].keys():
        return False
    names = {f.name for f in fields(first)} - {*tensors[0], "noise"}
    return all(getattr(first, name) == getattr(second, name) for name in names)
