"""The result of an inversion: images, latents and scores, and the folder per photo with them.

Legend: N images, C channels, R side of the image, T steps.
"""

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import metrics
from facsimile.data import to_pil
from facsimile.metrics import IDENTITY_SCORES, Scores, jsonable
from facsimile.stylegan import Latents, PhotoCrop

from . import pictures
from .json_files import write_json
from .paste_back import WHOLE, PasteOptions, Piece, crop_of, save_all
from .plan import InversionPlan
from .targets import Photo

SCORES, LATENTS, RECONSTRUCTION = "scores.json", "latents.safetensors", "reconstruction.png"


@dataclass(frozen=True, repr=False)
class Result:
    """The result of `Studio.invert` for N images."""

    names: list[str]
    """One per image: the folders that `save` writes."""
    targets: Tensor
    """(N, C, R, R) in [-1, 1]."""
    images: Tensor
    """(N, C, R, R) reconstructions, clipped to [-1, 1]."""
    latents: Latents
    """Of the N images, on the CPU."""
    scores: Scores
    """Metric -> a value per image; of identity NaN where the target shows no face."""
    metric_descriptions: dict[str, str]
    """Metric -> what it measures and in which unit."""
    history: dict[str, Tensor]
    """"phase/term" -> (T + 1, N) weighted values."""
    status: list[str]
    """Per image "done", "stopped early" or "not finite"."""
    steps: list[int]
    """Steps that each image took."""
    seconds: float
    """Duration of initialisation and refinement, per image."""
    plan: InversionPlan

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        psnr = metrics.mean(self.scores.get("psnr", []))
        return f'Result({_images(self.names)} by "{self.plan.recipe.name}", PSNR {psnr:.1f} dB)'

    def with_crops(self, crops: tuple[PhotoCrop, ...]) -> "Result":
        """The result, which knows where in which photo each image belongs."""
        return replace(self, latents=replace(self.latents, crops=crops))

    def pieces(self) -> Iterator[Piece]:
        """What is pasted back; data.PhotoError for targets that came from no photo."""
        for index, name in enumerate(self.names):
            yield Piece(name, self.images[index], crop_of(self.latents.crops, index))

    def paste_back(
        self,
        out: str | Path,
        *,
        photo: Photo | None = None,
        residual: bool = False,
        region: str = "face",
    ) -> list[Path]:
        """Write the whole photos with the reconstructions in their places; returns the paths.

        out: for one image a file, or a folder that gets whole.png; for several a folder that gets
        NAME.png of each. photo: the photo, if it is not where it was. residual: keep what the photo
        has and the inversion lacks, which is everything where nothing was edited. region: "face" or
        "crop". Raises FileNotFoundError, data.PhotoError for another photo, ValueError, OSError.
        """
        options = PasteOptions(photo=photo, residual=residual, region=region)
        return save_all(self.pieces(), len(self), out, options)

    def save(self, out: str | Path, extra: Sequence[dict] | None = None) -> list[Path]:
        """Write a folder per image; extra: further entries for each scores.json."""
        extras = extra or [{}] * len(self)
        return [
            self.save_one(i, out, entries)
            for i, entries in zip(range(len(self)), extras, strict=True)
        ]

    def save_one(
        self,
        index: int,
        out: str | Path,
        extra: dict | None = None,
        whole: Image.Image | None = None,
    ) -> Path:
        """Write the folder of one image, whole or not at all; replaces an older one.

        whole: the photo with the reconstruction in its place, for whole.png.
        """
        name, out = self.names[index], Path(out)
        out.mkdir(parents=True, exist_ok=True)
        folder, temporary = out / name, out / f".{name}.part"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            if whole is not None:
                pictures.save(whole, temporary / f"{WHOLE}.png")
            self._write(index, temporary, extra or {})
            _replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def _write(self, index: int, folder: Path, extra: dict) -> None:
        target, image = self.targets[index], self.images[index]
        pictures.save(to_pil(target), folder / "target.png")
        pictures.save(to_pil(image), folder / RECONSTRUCTION)
        if self.history:
            # An encoder predicts thousands of images, and these pictures take longer than that.
            pictures.save(pictures.comparison(target, image), folder / "comparison.png")
            history = {name: values[:, index] for name, values in self.history.items()}
            pictures.save_losses(history, folder / "loss.png")
        self.latents[index].save(folder / LATENTS, name=self.names[index])
        write_json(folder / SCORES, self.record(index) | extra)

    def record(self, index: int) -> dict:
        """What scores.json holds for one image: identity only where the target shows a face."""
        scores = {
            name: jsonable(values[index])
            for name, values in self.scores.items()
            if name not in IDENTITY_SCORES or not math.isnan(values[index])
        }
        return {
            "name": self.names[index],
            "status": self.status[index],
            "steps": self.steps[index],
            "seconds": round(self.seconds, 3),
            "scores": scores,
            "metric_descriptions": {
                name: text for name, text in self.metric_descriptions.items() if name in scores
            },
            "plan": self.plan.to_dict(),
        }


def _replace(new: Path, folder: Path) -> None:
    """Put a folder in the place of another, which is removed once the new one is there."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def concatenate(parts: Sequence[Result]) -> Result:
    """The results of several batches of one plan as one."""
    if len(parts) == 1:
        return parts[0]
    count = sum(len(part) for part in parts)
    return Result(
        names=[name for part in parts for name in part.names],
        targets=torch.cat([part.targets for part in parts]),
        images=torch.cat([part.images for part in parts]),
        latents=Latents.concatenate([part.latents for part in parts]),
        scores={k: [v for part in parts for v in part.scores[k]] for k in parts[0].scores},
        metric_descriptions=parts[0].metric_descriptions,
        history={x: torch.cat([p.history[x] for p in parts], 1) for x in parts[0].history},
        status=[status for part in parts for status in part.status],
        steps=[steps for part in parts for steps in part.steps],
        seconds=sum(part.seconds * len(part) for part in parts) / count,
        plan=parts[0].plan,
    )


def _images(names: Sequence[str]) -> str:
    """ "3 images: me, you, they"; of many only the first ones."""
    some = ", ".join(names[:3]) + (", .." if len(names) > 3 else "")
    return f"{len(names)} image{'s' * (len(names) != 1)}: {some}"
