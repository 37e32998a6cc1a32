"""F/W+: BDInvert, "GAN Inversion for Out-of-Range Images with Geometric Transformations".

    f <- f0 = E(x), or the feature of the mean w;  w <- the mean w, at every style input
    repeat
        L = |x - G(f, w)|^2 + lambda_per d(x, G(f, w))
            + lambda_reg |f0 - f|^2 + lambda_p mean(p(w)^2)
        f, w <- Adam step on L

p(w) are the whitened coordinates of "Improved StyleGAN Embedding", over the style inputs that act
after the feature. "f/p_n+" is this; "f/w+" leaves the last term out.
"""

from dataclasses import replace

from facsimile.refine.recipe import Recipe

from . import register
from .shared import CODE_AND_FEATURE, FEATURE_REG, P_NORM

register(
    Recipe(
        name="f/w+",
        space="f/w+",
        encoder="feature",
        feature_reg=FEATURE_REG,
        phases=(CODE_AND_FEATURE,),
    ),
    Recipe(
        name="f/p_n+",
        space="f/w+",
        encoder="feature",
        feature_reg=FEATURE_REG,
        phases=(replace(CODE_AND_FEATURE, terms=(*CODE_AND_FEATURE.terms, P_NORM)),),
    ),
)
