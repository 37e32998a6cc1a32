"""What an edit by refinement is given by the front door: targets, networks, masks, pictures.

Legend: N images, C channels, R resolution of the generator.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.masks import make_mask
from facsimile.data.photos import read_whole
from facsimile.data.progress import ProgressBar
from facsimile.editing import Edit
from facsimile.editing.local_edit import EditInputs
from facsimile.metrics import Perceptual
from facsimile.refine import Step
from facsimile.stylegan import Discriminator, Generator, Latents

from .aspect import shown_mask
from .masks import find_regions
from .targets import match_channels

TARGET = "target.png"
"""The photo's aligned face, beside the latents of its inversion."""


@torch.no_grad()
def targets_of(
    generator: Generator, latents: Sequence[Latents], targets: Sequence[Tensor | None]
) -> list[Tensor]:
    """(n, C, R, R) of each of the latents: its target, or what it synthesizes where that is None.

    Raises ValueError for a target of another shape.
    """
    side, found = generator.resolution, []
    for one, target in zip(latents, targets, strict=True):
        shape = (len(one), generator.img_channels, side, side)
        if target is None:
            target = one.synthesize(generator).clamp(-1, 1)
        if tuple(target.shape) != shape:
            raise ValueError(f"got a target of the shape {tuple(target.shape)}, expected {shape}")
        found.append(target.to(generator.device, generator.dtype))
    return found


def edit_inputs(
    edit: Edit,
    generator: Generator,
    latents: Sequence[Latents],
    targets: Sequence[Tensor | None],
    perceptual: Perceptual | None,
    discriminator: Discriminator | None,
    callback: Callable[[Step], None] | None,
) -> tuple[EditInputs, str]:
    """What the edit is given, and a sentence on the networks that it uses, "" if there is none.

    latents, targets: see `targets_of`. Raises FileNotFoundError where a network that it needs
    cannot be had, and ValueError for images that do not go together.
    """
    pictures = torch.cat(targets_of(generator, latents, targets))
    networks, note = {}, ""
    if perceptual is not None:
        networks["perceptual"] = perceptual
    if "style" in edit.networks:
        network = metrics.build_style(discriminator).to(generator.device)
        networks["style"], note = network, network.note
    inputs = EditInputs(
        targets=(pictures,) if edit.inputs == 1 else pictures.split(1),
        networks=networks,
        read_mask=read_mask,
        read_picture=lambda path: read_picture(path, generator.resolution, generator.img_channels),
        callback=callback,
        visible=visible_part(generator, latents),
    )
    return inputs, note


def visible_part(generator: Generator, latents: Sequence[Latents]) -> Tensor | None:
    """(1, 1, R, R) 1 where these images show their photos; None where they do everywhere.

    Raises ValueError for images of several aspects.
    """
    aspects = {crop.aspect for one in latents for crop in one.crops}
    if len(aspects) > 1:
        raise ValueError(
            f"got pictures of the aspects {', '.join(x or '1:1' for x in sorted(aspects))}; edit "
            "those of one aspect at a time"
        )
    aspect = next(iter(aspects), "")
    if not aspect:
        return None
    return shown_mask(aspect, 1, generator.resolution).to(generator.device, generator.dtype)


def read_target(latents: Path, count: int, generator: Generator) -> Tensor | None:
    """The target (1, C, R, R) beside a file of latents of one image; None if there is none."""
    path = latents.parent / TARGET
    if count != 1 or not path.is_file():
        return None
    return read_picture(str(path), generator.resolution, generator.img_channels)[0]


def read_mask(text: str, images: Tensor, invert: bool) -> Tensor:
    """The mask (N, 1, R, R) that a text stands for; see `data.masks.make_mask`."""
    return make_mask(text, metrics.as_rgb(images), find_regions, invert=invert).mask


def read_picture(path: str, side: int, channels: int) -> tuple[Tensor, Tensor]:
    """A picture (1, C, R, R) in [-1, 1] at this side, and its opacity (1, 1, R, R) in [0, 1].

    Raises FileNotFoundError or data.PhotoError.
    """
    whole = read_whole(path)
    photo = data.to_tensor(data.fit_square(whole.colours, side))
    opacity = torch.ones(1, 1, side, side)
    if whole.alpha is not None:
        alpha = data.to_tensor(data.fit_square(whole.alpha.convert("RGB"), side))
        opacity = (alpha[None, :1] + 1) / 2
    return match_channels(photo[None], channels), opacity


class EditProgress:
    """The bar of an edit's refinement: a callback of `refine`."""

    def __init__(self, edit: str, *, quiet: bool):
        self.edit, self.done = edit, 0
        self.bar = ProgressBar(total=1, disable=quiet, bar_format="{desc} {bar:20} {elapsed}")

    def __call__(self, step: Step) -> None:
        self.bar.total = step.total
        self.bar.update(step.done - self.done)
        self.done = step.done
        words = f"{self.edit}: {step.phase}, step {step.done} of at most {step.total}"
        self.bar.set_description_str(words, refresh=False)

    def close(self) -> None:
        self.bar.close()
