"""S, F/S: the styles themselves, as in "StyleSpace Analysis: Disentangled Controls for StyleGAN".

    s <- the affine layers' styles of the mean w
    repeat
        L = |x - G(s)|^2 + lambda_per d(x, G(s))
        s <- Adam step on L

"Revisiting Latent Space of GAN Inversion for Real Image Editing" compares S and F/S with its own
spaces (section 3.1), with the same loss and optimiser.
"""

from facsimile.refine.recipe import Recipe

from . import register
from .shared import CODE, CODE_AND_FEATURE, FEATURE_REG

register(
    # The paper begins S at the mean; an encoder's prediction is used where it is asked for.
    Recipe(name="s", space="s", init="mean", encoder="in-domain", phases=(CODE,)),
    Recipe(
        name="f/s",
        space="f/s",
        encoder="feature",
        feature_reg=FEATURE_REG,
        phases=(CODE_AND_FEATURE,),
    ),
)
