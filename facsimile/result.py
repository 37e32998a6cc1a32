"""What an inversion gives: images, latents and scores, and the folder per photo that holds them.

Legend: N images, C channels, R side of the image, T steps.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from facsimile.data import to_pil
from facsimile.metrics import Scores, jsonable
from facsimile.stylegan import Latents

from . import pictures

SCORES = "scores.json"


@dataclass(frozen=True)
class Result:
    names: list[str]
    """One per image; the names of the folders that `save` writes."""
    targets: Tensor
    """(N, C, R, R) in [-1, 1]."""
    images: Tensor
    """(N, C, R, R) reconstructions, clipped to [-1, 1]."""
    latents: Latents
    scores: Scores
    """Metric -> a value per image; `cards` says what each means."""
    metric_descriptions: dict[str, str]
    history: dict[str, Tensor]
    """"phase/term" -> (T + 1, N) weighted values."""
    status: list[str]
    """Per image "done", "stopped early" or "not finite"."""
    steps: list[int]
    seconds: float
    """Of the refinement, per image."""
    settings: dict = field(default_factory=dict)
    """What was asked for: generator, recipe, steps, seed, perceptual."""

    def __len__(self) -> int:
        return len(self.names)

    def save(self, out: str | Path, about: Sequence[dict] | None = None) -> list[Path]:
        """Write a folder per image; about: more entries for each scores.json."""
        abouts = about or [{}] * len(self)
        return [
            self.save_one(i, out, more) for i, more in zip(range(len(self)), abouts, strict=True)
        ]

    def save_one(self, index: int, out: str | Path, about: dict | None = None) -> Path:
        """Write the folder of one image: whole or not at all, in place of an older one."""
        name, out = self.names[index], Path(out)
        out.mkdir(parents=True, exist_ok=True)
        folder, fresh = out / name, out / f".{name}.part"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir()
            self._write(index, fresh, about or {})
            _replace(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return folder

    def _write(self, index: int, folder: Path, about: dict) -> None:
        target, image = self.targets[index], self.images[index]
        pictures.save(to_pil(target), folder / "target.png")
        pictures.save(to_pil(image), folder / "reconstruction.png")
        if self.history:
            # An encoder's guesses come by the thousand, and these take longer than the guess.
            pictures.save(pictures.comparison(target, image), folder / "comparison.png")
            history = {name: values[:, index] for name, values in self.history.items()}
            pictures.save_losses(history, folder / "loss.png")
        self.latents[index].save(folder / "latents.safetensors", name=self.names[index])
        write_json(folder / SCORES, self.summary(index) | about)

    def summary(self, index: int) -> dict:
        """What scores.json says of one image."""
        scores = {name: jsonable(values[index]) for name, values in self.scores.items()}
        return {
            "name": self.names[index],
            "status": self.status[index],
            "steps": self.steps[index],
            "seconds": round(self.seconds, 3),
            "scores": scores,
            "what_the_scores_mean": self.metric_descriptions,
            "settings": self.settings,
        }


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(fresh: Path, folder: Path) -> None:
    """Put a folder in the place of another, which is gone only when the new one is there."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def join(parts: Sequence[Result]) -> Result:
    """The results of several batches as one."""
    tensors = [part.latents.tensors() for part in parts]
    latents = parts[0].latents.with_tensors(
        {name: torch.cat([t[name] for t in tensors]) for name in tensors[0]}
    )
    count = sum(len(part) for part in parts)
    return Result(
        names=[name for part in parts for name in part.names],
        targets=torch.cat([part.targets for part in parts]),
        images=torch.cat([part.images for part in parts]),
        latents=latents,
        scores={k: [v for part in parts for v in part.scores[k]] for k in parts[0].scores},
        metric_descriptions=parts[0].metric_descriptions,
        history={x: torch.cat([p.history[x] for p in parts], 1) for x in parts[0].history},
        status=[status for part in parts for status in part.status],
        steps=[steps for part in parts for steps in part.steps],
        seconds=sum(part.seconds * len(part) for part in parts) / count,
        settings=parts[0].settings,
    )
