"""W+ regularised in P_N+: "Improved StyleGAN Embedding: Where are the Good Latents?".

    w <- the mean w, at every style input
    repeat
        p_i = (LeakyReLU_5(w_i) - mu) V / sqrt(lambda)        whitened coordinates of w_i
        L = |x - G(w)|^2 + lambda_per d(x, G(w)) + lambda_p mean(p^2)
        w <- Adam step on L

lambda_p is BDInvert's.
"""

from dataclasses import replace

from facsimile.refine.recipe import Recipe

from . import register
from .shared import CODE, P_NORM

register(
    Recipe(
        name="p_n+",
        space="w+",
        init="mean",
        encoder="in-domain",
        phases=(replace(CODE, terms=(*CODE.terms, P_NORM)),),
    ),
)
