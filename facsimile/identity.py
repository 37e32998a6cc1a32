"""The person in a photo: the identity term of a plan, and which targets show a face.

Legend: N images, C channels, R resolution of the generator.
"""

from typing import Literal

import torch
from torch import Tensor

from facsimile import checkpoints
from facsimile.data.landmarks import SmallLandmarker
from facsimile.metrics import PICTURE_CHANNELS, IdentityNetwork, as_rgb
from facsimile.metrics.identity import MISSING_NOTE, PACKAGE
from facsimile.refine import Recipe, recipes
from facsimile.stylegan import Generator

Identity = Literal["auto", "off", "dlib", "facenet"]
TERM, SUFFIX = "identity", "+identity"


class FacePresence:
    """Images (N, C, R, R) in [-1, 1] -> (N,) bool: whether a face is where FFHQ's have it.

    By the bundled landmark network. It says yes to all of 300 faces of FFHQ and 300 of CelebA, and
    to 4 of 280 random crops of pictures without an aligned face; no to faces that are upside down,
    half as large, or a third of the side too low. An image does not influence another.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self._landmarker = SmallLandmarker(checkpoints.LANDMARKS, device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self._landmarker(as_rgb(images.float())).is_face


def with_identity_term(recipe: Recipe, network: IdentityNetwork | None, *, add: bool) -> Recipe:
    """The recipe with the identity term and its name, if `add` and the recipe can have it.

    Raises ValueError where the recipe has the term and there is no network.
    """
    if network is None:
        if recipe.has_term(TERM):
            raise ValueError(
                f'the recipe "{recipe.name}" has the term "{TERM}", which needs a network that '
                f"recognises people; run: pip install {PACKAGE}"
            )
        return recipe
    if not add or not recipe.steps or recipe.has_term(TERM):
        return recipe
    with_term = recipes.with_suffix(recipe, SUFFIX)
    return with_term if with_term.has_term(TERM) else recipe


def identity_note(generator: Generator, network: IdentityNetwork | None) -> str:
    """What the network is, or how to get one; "" for a generator that makes no pictures."""
    if network is not None:
        return network.note
    return MISSING_NOTE if generator.img_channels in PICTURE_CHANNELS else ""
