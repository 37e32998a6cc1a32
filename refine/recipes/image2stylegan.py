"""W, W+: "Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?".

    w <- the mean w, at every style input
    repeat
        L = d(x, G(w)) + lambda_mse |x - G(w)|^2 / N          (equation 1)
        w <- Adam step on L                                   (Algorithm 1)

"image2stylegan" is the paper's run: its optimiser and 5000 steps (section 5.3) from the mean
(section 5.1). The perceptual network is the one at hand; the paper's is "vgg16". "w+" and "w" are
the same with the steps and the optimiser of the other spaces, and "w+" begins at an in-domain
encoder's prediction where there is such an encoder.

+redrawn-noise  noise is drawn anew at every step of the phases without noise maps of their own.
                Section 7 advises against it.
"""

from dataclasses import replace

from facsimile.refine.recipe import Recipe

from . import register, register_suffix
from .shared import CODE

register(
    Recipe(name="w", space="w", phases=(CODE,)),
    Recipe(name="w+", space="w+", encoder="in-domain", phases=(CODE,)),
    Recipe(
        name="image2stylegan",
        space="w+",
        init="mean",
        phases=(replace(CODE, steps=5000, betas=(0.9, 0.999)),),
    ),
)


def with_redrawn_noise(recipe: Recipe) -> Recipe:
    phases = [
        phase if phase.has_variable("noise") else replace(phase, redraw_noise=True)
        for phase in recipe.phases
    ]
    return replace(recipe, phases=tuple(phases))


register_suffix("+redrawn-noise", with_redrawn_noise)
