"""The recipes: what the papers do, as data. `build("f/z+ +noise")` puts one together by name."""

from dataclasses import replace

from .recipe import Phase, Recipe, Term, Variable

# The weights of "Revisiting Latent Space of GAN Inversion for Real Image Editing" (equations 1 and
# 3, lambda_per = 10), with which it compares all spaces in its Table 1.
PIXEL = Term("pixel", 1.0)
PERCEPTUAL = Term("perceptual", 10.0)
# Holds the feature to an encoder's guess (equation 4); the mean code's feature is none, and not
# worth it. lambda_reg is 10 for the paper's features, of another scale. Of `faces`, 10 costs a
# fifth of the MSE after 100 steps, and 1 nothing.
ANCHOR = Term("feature_anchor", 1.0)
# BDInvert's weight of the P_N norm.
PRIOR = Term("p_n", 0.01)

LR = 0.01
STEPS = 1200
# The papers' Adam has (0.9, 0.999). A shorter memory of the gradient's size saves more than half of
# the steps: of `faces`, W+ from the mean has after 200 the losses that it else has after about 400,
# and F/Z+ from a random code those after 500.
BETAS = (0.9, 0.8)


def _code(
    space: str,
    *extra: Term,
    steps: int = STEPS,
    betas: tuple[float, float] = BETAS,
    **told,
) -> Recipe:
    """One phase in which the code moves, and with f/ the feature, which an encoder may guess."""
    variables = (Variable("code", LR),)
    terms = (PIXEL, PERCEPTUAL, *extra)
    if space.startswith("f/"):
        variables += (Variable("feature", LR),)
        told |= {"encoder": "base", "anchor": ANCHOR}
    phase = Phase(name="code", variables=variables, terms=terms, steps=steps, betas=betas)
    return Recipe(**{"name": space, "space": space, "phases": (phase,)} | told)


# Image2StyleGAN++ (section 4.1): the noise maps after the code, under the pixel loss alone. Its
# learning rate of 5 works through Adam's eps at one scale of loss, image and noise strength. A rate
# in units of the activation serves every generator, and goes further (benchmarks/noise.py).
NOISE_MAPS = Variable("noise", 0.01, per_strength=True)
NOISE = Phase(name="noise", variables=(NOISE_MAPS,), terms=(PIXEL,), steps=STEPS * 3 // 5)
# The same as the paper prints it, to compare.
PAPER_NOISE = replace(NOISE, variables=(Variable("noise", 5.0),), terms=(Term("noise_pixel", 1.0),))

RECIPES: dict[str, Recipe] = {
    "z": _code("z"),
    "z+": _code("z+"),
    "w": _code("w"),
    "w+": _code("w+", encoder="in-domain"),
    # Papers begin these at the mean; an encoder's guess is for whoever asks for it.
    "p_n+": _code("w+", PRIOR, name="p_n+", encoder="in-domain", start="mean"),
    "s": _code("s", encoder="in-domain", start="mean"),
    # The way of "Image2StyleGAN", its optimiser included, to compare.
    "image2stylegan": _code(
        "w+", steps=5000, betas=(0.9, 0.999), name="image2stylegan", start="mean"
    ),
    "f/w+": _code("f/w+"),
    "f/p_n+": _code("f/w+", PRIOR, name="f/p_n+"),
    "f/s": _code("f/s"),
    "f/z": _code("f/z"),
    "f/z+": _code("f/z+"),
    # "In-Domain GAN Inversion for Real Image Editing": 100 steps. Its perceptual term is a squared
    # difference of VGG16's conv4_3 on 0..255 with the weight 5e-5; here it is the distance of the
    # other recipes with their weight, so that both compare. Beside that, the paper's lambda_dom = 2
    # weighs so much that less of the person is left after edits of any strength: of `faces`, 0.36
    # against 0.42 with a tenth of it (benchmarks/inversion.py).
    "in-domain": _code(
        "w+",
        Term("domain", 0.2),
        steps=100,
        name="in-domain",
        encoder="in-domain",
        start="encoder",
    ),
}

OTHER_NAMES = {"in_domain": "in-domain", "idinvert": "in-domain"}


# The longer ones first, as the last is the end of the others.
SUFFIXES = ("+joint-noise", "+paper-noise", "+noise")


def get(name: str) -> Recipe:
    """The recipe of a name: one of RECIPES, alone or followed by one of SUFFIXES.

    "w+ +noise" (the blank may be left out): the noise maps move once the code stands still, as
    Image2StyleGAN++ has it. "+joint-noise": both move at once, to show why it does not.
    """
    compact = name.replace(" ", "")
    suffix = next((s for s in SUFFIXES if compact.endswith(s)), "")
    code = compact.removesuffix(suffix)
    code = OTHER_NAMES.get(code, code)
    if code not in RECIPES:
        raise ValueError(
            f'there is no recipe "{name}"; choose one of {", ".join(RECIPES)}, '
            f"alone or followed by one of {', '.join(SUFFIXES)}"
        )
    recipe = RECIPES[code]
    if not suffix:
        return recipe
    (phase,) = recipe.phases
    if suffix == "+joint-noise":
        phases = (replace(phase, name="joint", variables=(*phase.variables, NOISE_MAPS)),)
    else:
        noise = NOISE if suffix == "+noise" else PAPER_NOISE
        phases = (phase, replace(noise, steps=max(noise.steps, phase.steps * 3 // 5)))
    return replace(recipe, name=f"{code} {suffix}", phases=phases)
