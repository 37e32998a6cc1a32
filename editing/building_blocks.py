"""The building blocks of Image2StyleGAN++ (section 5): W_l and Mk_n as phases, and its layers.

    W_l(M, M, w_m, w_ini, n_ini, x)       = argmin over w[w_m] of
                                            lambda_p L_percept(M, G(w, n_ini), x)
                                            + lambda_mse |M (G(w, n_ini) - x)|^2 / N
    M_st(M_s, w_ini, n_ini, y)            = argmin over w of lambda_s L_style(M_s, G(w, n_ini), y)
    Mk_n(M, w_ini, n_ini, x, y)           = argmin over n of
                                            lambda_1 |M (G(w_ini, n) - x)|^2 / N
                                            + lambda_2 |(1 - M) (G(w_ini, n) - y)|^2 / N

A sum of two W_l is one optimisation of the sum of their terms.
"""

from dataclasses import replace

from facsimile.refine import Phase, Term
from facsimile.refine.loss_inputs import Networks
from facsimile.refine.recipe import BEFORE, UNTIL_DONE
from facsimile.refine.recipes.image2stylegan_pp import NOISE, PAPER_NOISE
from facsimile.refine.recipes.shared import CODE, CODE_VARIABLE, PERCEPTUAL, PIXEL

PAPER_LAYERS = 18
"""Style inputs of the papers' generator, of 1024 px."""
PAPER_BETAS = (0.9, 0.999)
# The paper's weights, 5e-7 to 1e-5, are for pixels and features of the range 0..255. Pixels in
# [-1, 1] make its pixel term 127.5^2 times smaller, and VGG16's inputs, divided by 0.226 of 255,
# its style term 58^4 times: 0.05 * 58^4 / 127.5^2. The discriminator's features have a unit of
# their own; its weight is chosen by the pictures.
STYLE_WEIGHTS = {"vgg16 conv3_3": 35.0, "discriminator": 1e9}
RESULT_OF_CODE = BEFORE
"""G(w_out) of the boxes: what the code draws when the noise phase begins."""


def first_layers(count: int, num_ws: int, by: str) -> tuple[int, ...]:
    """The style inputs that stand for the paper's first `count` of 18, from 0 on.

    by: "size": as many; "share": the same share of all. ValueError for another word.
    """
    if by not in ("share", "size"):
        raise ValueError(f'layers_by: got "{by}", expected share or size')
    here = count if by == "size" else round(count * num_ws / PAPER_LAYERS)
    return tuple(range(min(num_ws, max(1, here))))


def w_terms(target: str, mask: str | None = None) -> tuple[Term, ...]:
    """The terms of W_l, with the balance of the other recipes."""
    return tuple(replace(term, target=target, mask=mask) for term in (PIXEL, PERCEPTUAL))


def style_weight(networks: Networks) -> float:
    """lambda_s beside the terms of W_l, for the network "style" at hand."""
    return STYLE_WEIGHTS.get(networks["style"].name, 1.0)


def w_phase(
    terms: tuple[Term, ...],
    steps: int,
    paper: bool,
    layers: tuple[int, ...] | None = None,
    lr: float = CODE_VARIABLE.lr,
) -> Phase:
    """w <- argmin of the terms, by Adam. layers: w_m; None: all style inputs."""
    variable = replace(CODE_VARIABLE, lr=lr, inputs=layers)
    phase = replace(CODE, variables=(variable,), terms=terms, steps=steps)
    return replace(phase, betas=PAPER_BETAS) if paper else until_done(phase)


def noise_phase(
    steps: int,
    paper: bool,
    *,
    x: tuple[str, str],
    y: tuple[str, str],
    y_weight: float = 1.0,
) -> Phase:
    """n <- Mk_n. x, y: (target, mask) each; y_weight: lambda_2 / lambda_1."""
    phase = PAPER_NOISE if paper else NOISE
    name = phase.terms[0].name
    terms = (Term(name, 1.0, x[1], x[0]), Term(name, y_weight, y[1], y[0]))
    phase = replace(phase, terms=terms, steps=steps)
    return phase if paper else until_done(phase)


def until_done(phase: Phase) -> Phase:
    """The phase until an image is done, at most its own steps: as `Recipe.until_done`."""
    stop = UNTIL_DONE
    variables = tuple(replace(v, lr=v.lr * stop.lr) for v in phase.variables)
    return replace(
        phase,
        variables=variables,
        patience=stop.patience,
        min_rel_delta=stop.min_rel_delta,
        halvings=stop.halvings,
    )
