"""Local style transfer: a part of a picture in another's style ("Image2StyleGAN++", 7.5)."""

from facsimile.refine import Recipe, Term
from facsimile.stylegan import Generator, Latents

from .building_blocks import RESULT_OF_CODE, noise_phase, style_weight, w_phase, w_terms
from .local_edit import MASKED, EditInputs, LocalEdit, blur, choose_mask, run, start_in_w_plus
from .registry import Edit, Parameter


def recipe(style_weight: float, paper: bool) -> Recipe:
    """Algorithm 6, local style transfer. M_blur: 1 where the picture is kept.

    w* <- the code of I_1
    w  <- W_l(M_blur, M_blur, 1, w*, n_ini, I_1) + M_st(1 - M_blur, w*, n_ini, I_2)
    n  <- Mk_n(M_blur, w, n_ini, I_1, G(w))                 1000 steps of Adam for w, 1000 for n
    """
    style = Term("style", style_weight, mask="styled", target="style")
    noise = noise_phase(1000, paper, x=("photo", "kept"), y=(RESULT_OF_CODE, "styled"))
    code = w_phase((*w_terms("photo", "kept"), style), 1000, paper)
    return Recipe(name="local-style", space="w+", phases=(code, noise))


def local_style(
    generator: Generator,
    first: Latents,
    second: Latents,
    mask: str,
    invert_mask: bool,
    feather: float,
    residual: bool,
    paper: bool,
    strength: float,
    inputs: EditInputs,
) -> LocalEdit:
    """The first picture, inside the mask in the style of the second; see `recipe`."""
    start = start_in_w_plus(generator, first, "local-style")
    photo, style = inputs.targets
    styled = blur(choose_mask(inputs, photo, mask, invert=invert_mask), feather)
    result = run(
        generator,
        start,
        inputs,
        recipe(strength * style_weight(inputs.networks), paper),
        targets={"photo": photo, "style": style},
        masks={"kept": 1 - styled, "styled": styled},
    )
    return LocalEdit(latents=result.latents, mask=styled, background=photo if residual else None)


EDIT = Edit(
    name="local-style",
    summary="Give a part of the first picture the style of the second.",
    function=local_style,
    inputs=2,
    parameters=(
        *MASKED,
        Parameter(
            name="strength", default=1.0, minimum=0.0, help="Factor of the style term's weight."
        ),
    ),
    description="The result is one picture. Source: Image2StyleGAN++, Algorithm 6.",
    refines=True,
    networks=("style",),
)
