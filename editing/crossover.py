"""Crossover: a part of one picture in another, blended ("Image2StyleGAN++", section 7.2)."""

from facsimile.refine import Recipe
from facsimile.stylegan import Generator, Latents

from .building_blocks import noise_phase, w_phase, w_terms
from .local_edit import MASKED, EditInputs, LocalEdit, blur, choose_mask, run, start_in_w_plus
from .registry import Edit


def recipe(paper: bool) -> Recipe:
    """Algorithm 3, image crossover.

    w* <- the code of I_1
    w  <- W_l(M_blur, M_blur, 1, w*, n_ini, I_1)
          + W_l(1 - M_blur, 1 - M_blur, 1, w*, n_ini, I_2)
    n  <- Mk_n(M_blur, w, n_ini, I_1, I_2)                       1000 steps of Adam for each

    "kept" is M_blur, "taken" is 1 - M_blur, the mask that a user gives.
    """
    terms = (*w_terms("first", "kept"), *w_terms("second", "taken"))
    noise = noise_phase(1000, paper, x=("first", "kept"), y=("second", "taken"))
    return Recipe(name="crossover", space="w+", phases=(w_phase(terms, 1000, paper), noise))


def crossover(
    generator: Generator,
    first: Latents,
    second: Latents,
    mask: str,
    invert_mask: bool,
    feather: float,
    residual: bool,
    paper: bool,
    inputs: EditInputs,
) -> LocalEdit:
    """The first picture, with the second's inside the mask; see `recipe`."""
    start = start_in_w_plus(generator, first, "crossover")
    x, y = inputs.targets
    hard = choose_mask(inputs, x, mask, invert=invert_mask)
    taken = blur(hard, feather)
    result = run(
        generator,
        start,
        inputs,
        recipe(paper),
        targets={"first": x, "second": y},
        masks={"kept": 1 - taken, "taken": taken},
    )
    return LocalEdit(latents=result.latents, mask=taken, background=x if residual else None)


EDIT = Edit(
    name="crossover",
    summary="Put a part of the second picture into the first.",
    function=crossover,
    inputs=2,
    parameters=MASKED,
    description="The result is one picture. Source: Image2StyleGAN++, Algorithm 3.",
    refines=True,
)
