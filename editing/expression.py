"""Expression transfer: the difference of two pictures of one person, added to another person
("Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", section 5.3).

Legend: L style inputs, D numbers in w.
"""

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.randomness import keyed_generator

from .codes import decode_ws, move_codes
from .feature_transport import FeatureTransport
from .registry import Edit, Parameter

SAMPLES = 1000
"""Samples of w whose spread is measured."""


@torch.no_grad()
def expression(
    generator: Generator,
    face: Latents,
    neutral: Latents,
    expressive: Latents,
    strength: float,
    threshold: float,
    normalise: bool,
    transport: FeatureTransport | None = None,
) -> Latents:
    """w = w_1 + lambda d,  d = w_3 - w_2, without what is below the threshold.

    With a transport, w_1 to w_3 are the in-domain codes, where the latents have features, and the
    face's feature follows.
    """
    codes = [
        decode_ws(generator, x)
        if transport is None or x.feature is None
        else transport.in_domain_ws(generator, x)
        for x in (face, neutral, expressive)
    ]
    change = difference(generator, codes[1], codes[2], threshold, normalise) * strength
    if transport is not None and face.feature is not None:
        return transport.move(generator, face, codes[0], change)
    return move_codes(generator, face, change)


def difference(
    generator: Generator, w2: Tensor, w3: Tensor, threshold: float, normalise: bool
) -> Tensor:
    """d (1, L, D): w_3 - w_2, 0 at every style input where its norm is below the threshold.

    threshold: a share of `w_deviation`; the paper's 1 is in units of the w of FFHQ at 1024 px, and
    of "channels", which we read as style inputs. normalise: the whole difference has unit norm, so
    that lambda is a length in W+ and no longer a share of the difference.
    """
    d = w3 - w2
    moves = torch.linalg.vector_norm(d, dim=2, keepdim=True) >= threshold * w_deviation(generator)
    d = torch.where(moves, d, 0)
    return d / torch.linalg.vector_norm(d).clamp_min(1e-12) if normalise else d


def w_deviation(generator: Generator) -> Tensor:
    """Root mean square distance of w to the mean w, over samples of the generator."""
    rng = keyed_generator("cpu", "spread of w")
    z = torch.randn(SAMPLES, generator.z_dim, generator=rng).to(generator.mapping.w_avg)
    label = None
    if generator.c_dim:
        label = torch.eye(generator.c_dim)[torch.arange(SAMPLES) % generator.c_dim].to(z)
    w = generator.map(z, label)[:, 0]
    return (w - generator.mapping.w_avg).square().sum(1).mean().sqrt()


EDIT = Edit(
    name="expression",
    summary="Give the first face the change of expression from the second picture to the third.",
    function=expression,
    inputs=3,
    parameters=(
        Parameter(
            name="strength",
            default=1.0,
            help="lambda: the share of the difference; below 0 the opposite expression.",
        ),
        Parameter(
            name="threshold",
            # The bundled generator's smile has 0.03 to 0.09 at its inputs; with 0.1 none is left.
            default=0.05,
            minimum=0.0,
            help="Style inputs that change by less stay: a share of the generator's spread of w.",
        ),
        Parameter(
            name="normalise",
            default=False,
            help="The difference has unit norm, as in the paper, and strength is a length in W+.",
        ),
    ),
    description="The second and third picture show one person without and with the expression. The "
    "result is one picture. Source: Image2StyleGAN, section 5.3.",
    moves_codes=True,
)
