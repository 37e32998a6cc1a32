"""Edits by scribbles: strokes become what they mean ("Image2StyleGAN++", section 7.4)."""

import torch
from torch import Tensor

from facsimile.refine import Recipe, Term
from facsimile.stylegan import Generator, Latents

from .building_blocks import RESULT_OF_CODE, first_layers, noise_phase, w_phase, w_terms
from .local_edit import (
    FEATHER,
    INVERT_MASK,
    LAYERS_BY,
    MASK,
    PAPER,
    RESIDUAL,
    EditInputs,
    LocalEdit,
    choose_mask,
    enlarge,
    run,
    start_in_w_plus,
)
from .registry import Edit, Parameter

VISIBLE = 12 / 127.5
"""Where a picture differs from the photo by less, in no channel more, there is no scribble."""


def recipe(layers: tuple[int, ...], anchor: float, paper: bool) -> Recipe:
    """Algorithm 5, local edits using scribbles. M_blur: 1 away from the scribble.

    w* <- the code of the picture without the scribble
    w  <- W_l(1, 1, w_m, w*, n_ini, I_scr) + lambda |w* - w|      w_m: the first 4, 5 or 6 of 18
                                                                  1000 steps of Adam, rate 0.1
    n  <- Mk_n(M_blur, w, n_ini, I_scr, G(w))                     1000 steps of Adam

    The anchor is a mean square here, and the noise maps see the scribbled picture away from the
    scribble alone: within, they would draw the strokes themselves.
    """
    terms = (*w_terms("scribbled"), Term("latent_reg", anchor, target="scribbled"))
    noise = noise_phase(1000, paper, x=("scribbled", "kept"), y=(RESULT_OF_CODE, "scribble"))
    code = w_phase(terms, 1000, paper, layers, lr=0.1 if paper else 0.05)
    return Recipe(name="scribble", space="w+", phases=(code, noise))


def lay_over(photo: Tensor, picture: Tensor, opacity: Tensor) -> Tensor:
    """The picture (1, C, R, R) over the photo (N, C, R, R), where it is opaque (1, 1, R, R)."""
    return torch.lerp(photo, picture.to(photo).expand_as(photo), opacity.to(photo))


def strokes(photo: Tensor, scribbled: Tensor) -> Tensor:
    """(N, 1, R, R) 1 where the two pictures (N, C, R, R) differ visibly, else 0."""
    return ((scribbled - photo).abs().amax(1, keepdim=True) > VISIBLE).to(photo)


def scribble(
    generator: Generator,
    latents: Latents,
    scribble: str,
    mask: str,
    invert_mask: bool,
    feather: float,
    residual: bool,
    paper: bool,
    layers: int,
    anchor: float,
    layers_by: str,
    inputs: EditInputs,
) -> LocalEdit:
    """Each picture with what its scribble suggests; see `recipe`."""
    if not scribble:
        raise ValueError(
            "got no scribble; pass --scribble FILE, the picture with the strokes, or the strokes "
            "alone on a transparent ground"
        )
    start = start_in_w_plus(generator, latents, "scribble")
    (photo,) = inputs.targets
    scribbled = lay_over(photo, *inputs.read_picture(scribble))
    if mask:
        drawn = choose_mask(inputs, photo, mask, invert=invert_mask)
    else:
        drawn = strokes(photo, scribbled)
        if not drawn.any():
            raise ValueError(
                f'the scribble "{scribble}" is the picture itself; draw something on it'
            )
    wide = enlarge(drawn, feather)
    result = run(
        generator,
        start,
        inputs,
        recipe(first_layers(layers, generator.num_ws, layers_by), anchor, paper),
        targets={"scribbled": scribbled},
        masks={"scribble": wide, "kept": 1 - wide},
    )
    return LocalEdit(latents=result.latents, mask=wide, background=photo if residual else None)


EDIT = Edit(
    name="scribble",
    summary="Turn strokes drawn on a picture into what they mean.",
    function=scribble,
    parameters=(
        Parameter(
            name="scribble",
            default="",
            help="File of the picture with strokes, or of the strokes alone on a transparent "
            "ground, in the frame of the aligned face.",
        ),
        MASK.describe("Where the strokes act; default: where they are, and around them."),
        INVERT_MASK,
        FEATHER,
        RESIDUAL,
        PAPER,
        Parameter(
            name="layers",
            default=5,
            minimum=1,
            help="How many of the first style inputs move, counted as in the paper: 4, 5 or 6 of "
            "18. Fewer: the result stays closer to a face.",
        ),
        Parameter(
            name="anchor",
            default=1e-3,
            minimum=0.0,
            help="Weight of the code's distance from where it begins.",
        ),
        LAYERS_BY,
    ),
    description="Source: Image2StyleGAN++, Algorithm 5.",
    refines=True,
)
