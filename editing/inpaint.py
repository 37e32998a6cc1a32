"""Inpainting: the generator invents what is missing ("Image2StyleGAN++", section 7.3).

Legend: N images, K solutions of each, L style inputs, D numbers in w.
"""

from dataclasses import replace

import torch
from torch import Tensor

from facsimile.refine import Phase, Recipe, Term, Variable
from facsimile.refine.recipes.image2stylegan_pp import NOISE
from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.randomness import keyed_generator

from .building_blocks import (
    RESULT_OF_CODE,
    first_layers,
    noise_phase,
    until_done,
    w_phase,
    w_terms,
)
from .local_edit import (
    LAYERS_BY,
    MASKED,
    EditInputs,
    LocalEdit,
    choose_mask,
    enlarge,
    run,
    start_in_w_plus,
)
from .registry import Edit, Parameter
from .seamless import seamless

FIRST, LAST = 9, 2
"""Of the paper's 18 style inputs: 1 to 9 invent the content, 17 and 18 keep the colours."""
INITIAL_LOSS = 0.3
"""What the first loss counts as for gradient descent: 1e-5 times the 3e4 typical of the paper."""
JOINED = Term("pixel", 1.0, target="joined")
GOAL = 4 * 10**-4.2
"""MSE of images in [-1, 1] at 42 dB."""
NOISE_WEIGHT = 10.0
"""lambda_mse2 / lambda_mse1, 1e-4 / 1e-5."""


def recipe(num_ws: int, layers_by: str, paper: bool) -> Recipe:
    """Algorithm 4, image inpainting. M: 1 in the hole.

    w <- W_l(1 - M, 1 - M, w_m, w_ini, n_ini, I_def)    w_m: inputs 1 to 9, 17, 18 of 18
                                                        200 steps of gradient descent, rate 0.8
    n <- Mk_n(1 - M_blur+, w, n_ini, I_def, G(w))       1000 steps of Adam, lambda_2 = 10 lambda_1

    By default w moves by Adam instead, until the image is done, and n draws I_def and, in the
    hole, G(w) with the colours of I_def at its edge (`seamless`), until it is within 42 dB of that:
    where the paper's n is blurred beyond the hole, known pixels are lost.
    """
    layers = (*first_layers(FIRST, num_ws, layers_by), num_ws - 2, num_ws - 1)
    layers = tuple(dict.fromkeys(layers))
    terms = w_terms("photo", "known")
    if paper:
        code = Phase(
            name="code",
            variables=(Variable("code", 0.8, layers),),
            terms=terms,
            steps=200,
            optimiser="gradient-descent",
            initial_loss=INITIAL_LOSS,
        )
        x, y = ("photo", "known, blurred"), (RESULT_OF_CODE, "hole, blurred")
        noise = noise_phase(1000, paper, x=x, y=y, y_weight=NOISE_WEIGHT)
    else:
        code = w_phase(terms, 300, paper, layers)
        noise = until_done(replace(NOISE, terms=(JOINED,), steps=1000, goal=GOAL))
    return Recipe(name="inpaint", space="w+", phases=(code, noise))


def initial_codes(
    generator: Generator, solutions: int, variety: float, seed: int, like: Tensor
) -> Tensor:
    """w_ini = w_bar + U[-variety, variety], of each solution anew: (K, L, D).

    The first solution of seed 0 begins at w_bar itself, as the paper's single solution does.
    """
    shape = (generator.num_ws, generator.w_dim)
    codes = []
    for number in range(solutions):
        rng = keyed_generator("cpu", seed, "inpainting", number)
        offset = (torch.rand(shape, generator=rng) * 2 - 1) * variety
        codes.append(offset * float(bool(seed or number)))
    return torch.stack(codes).to(like) + generator.mapping.w_avg.to(like)


def inpaint(
    generator: Generator,
    latents: Latents,
    mask: str,
    invert_mask: bool,
    feather: float,
    residual: bool,
    paper: bool,
    solutions: int,
    seed: int,
    variety: float,
    layers_by: str,
    inputs: EditInputs,
) -> LocalEdit:
    """K solutions of each image, one after another, for the hole inside the mask; see `recipe`."""
    start = start_in_w_plus(generator, latents, "inpaint")
    (x,) = inputs.targets
    hole = choose_mask(inputs, x, mask, invert=invert_mask).ceil()
    rows = [i for i in range(len(start)) for _ in range(solutions)]
    codes = initial_codes(generator, solutions, variety, seed, start.code)
    # Noise maps of an inversion have the picture of what is missing.
    start = replace(start[rows], code=codes.repeat(len(latents), 1, 1), noise=None)
    x, hole = x[rows], hole[rows]
    # Features of known pixels beside the hole see into it: there they find what w_ini draws.
    with torch.enable_grad():
        photo = torch.where(hole > 0, start.synthesize(generator).detach(), x)
    box = recipe(generator.num_ws, layers_by, paper)
    targets, masks = {"photo": photo}, {"known": 1 - hole}
    if paper:
        wide = enlarge(hole, feather)
        masks |= {"known, blurred": 1 - wide, "hole, blurred": wide}
        edited = run(generator, start, inputs, box, targets=targets, masks=masks).latents
    else:
        code, noise = (replace(box, phases=(phase,)) for phase in box.phases)
        edited = run(generator, start, inputs, code, targets=targets, masks=masks).latents
        with torch.enable_grad():
            drawn = edited.synthesize(generator).detach()
        targets = {"joined": seamless(x, drawn, hole)}
        edited = run(generator, edited, inputs, noise, targets=targets, masks={}).latents
    background = x if residual else None
    return LocalEdit(latents=edited, mask=hole, background=background, solutions=solutions)


EDIT = Edit(
    name="inpaint",
    summary="Fill in a part of a picture that is missing or to be replaced.",
    function=inpaint,
    parameters=(
        *MASKED,
        Parameter(
            name="solutions", default=1, minimum=1, maximum=64, help="Results of each picture."
        ),
        Parameter(
            name="seed", default=0, help="Of where the solutions begin: others, other solutions."
        ),
        Parameter(
            name="variety",
            default=0.4,
            minimum=0.0,
            help="How far from the mean w the solutions begin, in units of w: the paper's 0.4.",
        ),
        LAYERS_BY,
    ),
    description="Nothing of what lies inside the mask is used. Source: Image2StyleGAN++, "
    "Algorithm 4.",
    refines=True,
)
