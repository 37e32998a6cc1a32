"""What edits by refinement share: their inputs, their masks, and what they give.

Legend: N images, C channels, R resolution of the generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import max_pool2d

from facsimile.data.masks import feather_mask
from facsimile.refine import Recipe, RefineResult, Step, refine
from facsimile.refine.loss_inputs import Networks
from facsimile.refine.padding import masks_without_padding, without_padding
from facsimile.stylegan import Generator, Latents, spaces

from .codes import to_w_plus
from .parameters import Parameter

FEATHER_SHARE = 1 / 16
"""Of the side: the width of a mask's soft edge, on either side, where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class EditInputs:
    """What an edit by refinement is given beside latents."""

    targets: tuple[Tensor, ...]
    """(N, C, R, R) in [-1, 1] of each of its inputs: the photo, or what its latents synthesize."""
    networks: Networks
    """As `refine.refine` takes them."""
    read_mask: Callable[[str, Tensor, bool], Tensor]
    """(what a user writes, images (N, C, R, R), inverted) -> (N, 1, R, R) in [0, 1]."""
    read_picture: Callable[[str], tuple[Tensor, Tensor]]
    """A file's picture (1, C, R, R) in [-1, 1] and its opacity (1, 1, R, R) in [0, 1]."""
    callback: Callable[[Step], None] | None = None
    visible: Tensor | None = None
    """(1, 1, R, R) 0 in the padding of the targets, which is not looked at; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class LocalEdit:
    """What an edit by refinement gives."""

    latents: Latents
    """Of N images."""
    mask: Tensor
    """(N, 1, R, R) in [0, 1]: where the edit acts, to look at."""
    background: Tensor | None = None
    """(N, C, R, R) in [-1, 1], shown where the mask is 0; None: the generator's own image is."""
    solutions: int = 1
    """Results of each input, one after another."""


MASK = Parameter(
    name="mask",
    default="",
    help="Where the edit acts, in the aligned face: a picture, white or opaque there; a .json "
    "file of boxes and strokes; or words joined by +, such as mouth+eyes.",
)
INVERT_MASK = Parameter(
    name="invert_mask", default=False, help="The edit acts where the mask is not."
)
FEATHER = Parameter(
    name="feather",
    default=-1.0,
    minimum=-1.0,
    help="Width over which the mask is soft, on either side of its edge, in pixels of the "
    "generator's image; 0: a hard mask; -1: a 16th of the side.",
)
RESIDUAL = Parameter(
    name="residual",
    default=False,
    help="Outside the mask the pictures show the photo itself, instead of the generator's image.",
)
PAPER = Parameter(
    name="paper",
    default=False,
    help="The paper's optimisers and numbers of steps, instead of ours, which stop early.",
)
LAYERS_BY = Parameter(
    name="layers_by",
    default="share",
    help="What stands for the paper's layers, which are counted at 1024 px: share, the same share "
    "of the depth (its first 9 of 18 are the first half); size, layers of the same size (its first "
    "9 are the first 9).",
)
MASKED = (MASK, INVERT_MASK, FEATHER, RESIDUAL, PAPER)


def choose_mask(inputs: EditInputs, images: Tensor, mask: str, *, invert: bool) -> Tensor:
    """The mask (N, 1, R, R) of images (N, C, R, R) as it was asked for, with hard edges.

    Raises FileNotFoundError or ValueError for one that is none, or is empty or full.
    """
    if not mask:
        raise ValueError("got no mask; pass --mask, a picture that is white where the edit acts")
    return inputs.read_mask(mask, images, invert).to(images)


def feather_pixels(mask: Tensor, feather: float) -> float:
    """The width that was asked for, or the default for a mask (N, 1, R, R); see FEATHER."""
    return mask.shape[-1] * FEATHER_SHARE if feather < 0 else feather


def blur(mask: Tensor, feather: float) -> Tensor:
    """M_blur: the mask (N, 1, R, R), blurred; see FEATHER."""
    return feather_mask(mask, feather_pixels(mask, feather))


def enlarge(mask: Tensor, feather: float) -> Tensor:
    """M_blur+: blurred beyond its own edge, so that it is 1 (but for 2 %) where the mask is."""
    pixels = feather_pixels(mask, feather)
    radius = round(pixels)
    return feather_mask(max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius), pixels)


def start_in_w_plus(generator: Generator, latents: Latents, edit: str) -> Latents:
    """The same images with codes in W+; ValueError for those with a feature, or in S."""
    space, has_feature = spaces.parse(latents.space)
    if has_feature or space.kind == "s":
        raise ValueError(
            f'the edit "{edit}" moves codes of W+, and the latents are in "{latents.space}", of '
            "which no code in W+ draws the picture; invert the photo with --recipe w+"
        )
    return to_w_plus(generator, latents)


def run(
    generator: Generator,
    start: Latents,
    inputs: EditInputs,
    recipe: Recipe,
    *,
    targets: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
) -> RefineResult:
    """Refine; the masks are made as many as the images, and leave out the targets' padding."""
    n = len(start)
    if inputs.visible is not None:
        recipe = without_padding(recipe, float(inputs.visible.mean()))
        masks = masks_without_padding(masks, inputs.visible)
    return refine(
        generator,
        start,
        {name: x.expand(n, *x.shape[1:]) for name, x in targets.items()},
        recipe,
        networks=inputs.networks,
        masks={name: x.expand(n, *x.shape[1:]) for name, x in masks.items()},
        callback=inputs.callback,
    )
