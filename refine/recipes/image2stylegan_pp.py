"""Noise maps: "Image2StyleGAN++: How to Edit the Embedded Images?", as suffixes of every recipe.

w <- W_l(x): the code, with the pixel and the perceptual term       (Algorithm 2, line 2)
n <- Mk_n(x): the noise maps, with the pixel term alone             (Algorithm 2, line 3)

"image2stylegan +paper-noise" is Algorithm 2, improved reconstruction, at the paper's counts and
with its optimisers (section 7.1): 5000 steps for w from the mean, 3000 for n. `facsimile invert`
stops it early unless --steps is given.

+noise        a phase for the noise maps after the recipe's own. The learning rate is that of
              the activation, so that it serves every generator, and reaches a lower error than
              the paper's (benchmarks/noise.py).
+paper-noise  the same with the paper's loss and learning rate (section 6): 5, which works
              through Adam's eps, at one scale of loss, image and noise strength.
+joint-noise  code and noise at once, which section 4.2 advises against: the image moves into
              the noise maps.
"""

from dataclasses import replace

from facsimile.refine.recipe import Phase, Recipe, Term, Variable

from . import register_suffix
from .shared import PIXEL

NOISE_VARIABLE = Variable("noise", 0.01, lr_per_noise_strength=True)
NOISE = Phase(name="noise", variables=(NOISE_VARIABLE,), terms=(PIXEL,), steps=720)
PAPER_NOISE = Phase(
    name="noise",
    variables=(Variable("noise", 5.0),),
    terms=(Term("noise_pixel", 1.0),),
    steps=720,
)


def _then(recipe: Recipe, noise: Phase) -> Recipe:
    """The noise phase last; the paper takes 3000 steps for it after 5000 for the code."""
    steps = max(noise.steps, recipe.phases[-1].steps * 3 // 5)
    return replace(recipe, phases=(*recipe.phases, replace(noise, steps=steps)))


def with_noise(recipe: Recipe) -> Recipe:
    return _then(recipe, NOISE)


def with_paper_noise(recipe: Recipe) -> Recipe:
    return _then(recipe, PAPER_NOISE)


def with_joint_noise(recipe: Recipe) -> Recipe:
    """The noise maps are optimised in every phase that has no noise of its own."""
    phases = [
        phase
        if phase.has_variable("noise")
        else replace(phase, variables=(*phase.variables, NOISE_VARIABLE))
        for phase in recipe.phases
    ]
    return replace(recipe, phases=tuple(phases))


register_suffix("+noise", with_noise)
register_suffix("+joint-noise", with_joint_noise)
register_suffix("+paper-noise", with_paper_noise)
