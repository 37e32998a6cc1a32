"""Z, Z+, F/Z, F/Z+: "Revisiting Latent Space of GAN Inversion for Real Image Editing".

    f <- f0 = E(x), or the feature of the mean code;  z_i ~ N(0, I)
    repeat
        L = |x - G(f, z)|^2 + lambda_per d(x, G(f, z)) + lambda_reg |f0 - f|^2    (equations 1 to 4)
        f, z <- Adam step on L
        z_i <- sqrt(D) z_i / |z_i|                                                (equation 5)

Z and Z+ are the same without f. Section 3.2 defines the spaces, section 3.3 the algorithm.
"""

from facsimile.refine.recipe import Recipe

from . import register
from .shared import CODE, CODE_AND_FEATURE, FEATURE_REG

register(
    Recipe(name="z", space="z", phases=(CODE,)),
    Recipe(name="z+", space="z+", phases=(CODE,)),
    Recipe(
        name="f/z",
        space="f/z",
        encoder="feature",
        feature_reg=FEATURE_REG,
        phases=(CODE_AND_FEATURE,),
    ),
    Recipe(
        name="f/z+",
        space="f/z+",
        encoder="feature",
        feature_reg=FEATURE_REG,
        phases=(CODE_AND_FEATURE,),
    ),
)
