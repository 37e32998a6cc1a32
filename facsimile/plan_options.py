"""What may be asked of an inversion."""

from pathlib import Path
from typing import TypedDict

from facsimile.refine import Recipe

from .identity import Identity
from .precision import Precision
from .start import Init
from .targets import Faces


class PlanOptions(TypedDict, total=False):
    """What may be asked for, as keywords of `Studio.plan` and `Studio.invert`."""

    recipe: str | Recipe
    """A recipe, or its name: see `refine.recipes`."""
    steps: int | None
    """Steps of the first phase, the others in proportion, exactly so many; None: until each image
    is done, at most the recipe's own (which a `Recipe` that is passed has as it is)."""
    exact: bool
    """Then the noise maps, until the picture is within EXACT_PSNR of the photo."""
    lr: float
    """Factor of every learning rate."""
    patience: int | None
    """Stop an image when its loss has not fallen by 0.1 % in so many steps, and not otherwise."""
    layer: str | None
    """Convolution whose output is the feature of f/ recipes; None: the encoder's, or the
    generator's default."""
    init: Init | Path | None
    """Where the latents start: also those of a file, or another program's codes. None: at an
    encoder's prediction if there is an encoder that serves the recipe, else as the recipe or its
    space has it."""
    seed: int
    """Seed of a random initialisation."""
    label: int | None
    """Class of a conditional generator, from 0 on."""
    align: bool
    """Find the face and crop it as FFHQ does; False: photos are such crops already."""
    face: Faces
    """Which faces of a photo with several."""
    aspect: str | None
    """Width to height, such as "4:3", of pictures that fill a part of the square, which are not
    aligned: see `aspect`."""
    identity: Identity
    """The network that recognises people, for the identity term and the scores of targets that show
    a face. "auto": dlib's, if its package is installed; "off": dlib's for the scores alone."""
    precision: Precision | None
    """In what networks compute; None: as PyTorch has it. See `precision`."""
