"""Style embedding: a code whose picture has the style of another, whatever it shows
("Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", section 5.2)."""

import torch

from facsimile.refine import Recipe, Term
from facsimile.stylegan import Generator, Latents, init_latents

from .building_blocks import style_weight, w_phase
from .local_edit import PAPER, EditInputs, LocalEdit, run
from .registry import Edit


def recipe(weight: float, paper: bool) -> Recipe:
    """w <- M_st(1, the mean w, n_ini, I): the style term alone, 1000 steps of Adam.

    The paper's embedding has its 5000 steps, and VGG16's conv4_2; the network is the one of the
    other edits of style.
    """
    code = w_phase((Term("style", weight, target="style"),), 5000 if paper else 1000, paper)
    return Recipe(name="style-embedding", space="w+", phases=(code,))


def style_embedding(
    generator: Generator, picture: Latents, paper: bool, inputs: EditInputs
) -> LocalEdit:
    """Codes of pictures in the style of the targets; the input's own codes are not used."""
    (targets,) = inputs.targets
    start = init_latents(generator, "w+", len(picture), label=picture.label)
    weight = style_weight(inputs.networks)
    result = run(
        generator, start, inputs, recipe(weight, paper), targets={"style": targets}, masks={}
    )
    return LocalEdit(latents=result.latents, mask=torch.ones_like(targets[:, :1]))


EDIT = Edit(
    name="style-embedding",
    summary="Find a code that has the style of a picture, for the edit style.",
    function=style_embedding,
    parameters=(PAPER,),
    description="Its late style inputs give other faces the picture's colours and texture: "
    "facsimile edit style FACE OUT/latents.safetensors. Photos need no inversion: --steps 0. "
    "Source: Image2StyleGAN, section 5.2.",
    refines=True,
    networks=("style",),
)
