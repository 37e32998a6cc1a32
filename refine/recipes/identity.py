"""Identity: a term for every recipe, in the phases that optimise the code or the feature.

Networks that recognise people serve as a loss of encoders since "Encoding in Style: a StyleGAN
Encoder for Image-to-Image Translation" (pSp, equation 5). Here the term refines single images.

+identity     adds the term to the recipe's own. Its weight falls with the pixel error that is left:
              see refine/terms/identity.py.
"""

from dataclasses import replace

from facsimile.refine.recipe import Recipe, Term

from . import register_suffix

# Of the weights 1, 3 and 6, all of which cost less than 5 % of the MSE after 100 steps (4.4 % and
# 2.3 %, in W+ and F/Z+), the one that gains most by the judge of benchmarks/identity.py: 0.19 and
# 0.026 of its cosine, on 16 training faces.
# The perceptual term is larger than the pixel term by far. Without it, 6 costs 37 % of the MSE
# after 10 steps in W+, and 0.3 costs 4 %.
IDENTITY = Term("identity", {"none": 0.3, "other": 6.0})


def with_identity(recipe: Recipe, term: Term = IDENTITY) -> Recipe:
    """The term in all phases but those of noise maps alone, which draw no face anew."""
    phases = []
    for phase in recipe.phases:
        if phase.has_variable("code") or phase.has_variable("feature"):
            others = (x for x in phase.terms if x.name != term.name)
            phase = replace(phase, terms=(*others, term))
        phases.append(phase)
    return replace(recipe, phases=tuple(phases))


register_suffix("+identity", with_identity)
