"""Options that commands share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facsimile.data.paste_back import REGIONS
from facsimile.paste_back import PasteOptions

FaceText = Annotated[str, tyro.conf.arg(metavar="{largest,left,right,all,N,X,Y}")]


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options of every command."""

    threads: int | None = None
    """CPU threads. Default: OMP_NUM_THREADS, else as many as other programs leave cores free."""
    quiet: bool = False
    """Print errors alone, and no progress bar."""


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(CommonOptions):
    """Options of every command that runs networks."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class PasteBackOptions(ComputeOptions):
    """Options of every command whose results can be pasted back."""

    paste_back: bool = False
    """Also put the result into the whole photo at its own place, as whole.png, whole/NAME.png for
    several pictures, and the film whole.mp4."""
    residual: bool = False
    """Keep the photo where nothing was edited: of what the inversion and the generator's size lack,
    in whole.png, and outside of the mask of a local edit."""
    paste_region: Literal[REGIONS] = "face"  # type: ignore[valid-type]
    """What is pasted back. face: an ellipse around the face, and what a local edit's mask holds;
    crop: all of the aligned crop but its margin."""

    @property
    def paste_options(self) -> PasteOptions | None:
        """None without --paste-back."""
        if not self.paste_back:
            return None
        return PasteOptions(residual=self.residual, region=self.paste_region)


@dataclass(frozen=True, kw_only=True)
class PhotoPasteOptions(PasteBackOptions):
    """Options of commands whose input may be latents that know their photo."""

    photo: Path | None = None
    """With --paste-back: the photo from which the face was cropped, if it is not where it was."""

    @property
    def paste_options(self) -> PasteOptions | None:
        """None without --paste-back."""
        options = super().paste_options
        return None if options is None else replace(options, photo=self.photo)
