"""What an edit gives: latents that can be edited further, their images, and the files of both.

Legend: M images before the edit, N after it, C channels, R resolution of the generator.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from facsimile.data import to_pil
from facsimile.data.frame_times import FPS
from facsimile.data.video_writer import CODECS, VideoWriter
from facsimile.editing.codes import same_kind
from facsimile.metrics import IdentityNetwork
from facsimile.stylegan import Generator, Latents

from . import pictures
from .aspect import blacken
from .devices import Batch
from .json_files import write_json
from .misses import person_distances, person_miss
from .paste_back import PasteOptions, Piece, crop_of, save_all
from .result import Result
from .targets import Photo

LATENTS = "latents.safetensors"
SUMMARY = "edit.json"
BATCH = 8
"""Images synthesized at once."""
DIMMED = 0.3
"""Brightness of the preview of a mask outside of it."""
STRIP = 8
"""Results in strip.png, evenly spaced, both ends included."""


@dataclass(frozen=True, repr=False)
class EditResult:
    """Made by `Studio.edit`."""

    generator: Generator
    edit: str
    """Name of the edit."""
    parameters: dict
    names: list[str]
    """Of the N images."""
    before: list[Latents]
    """Of each of the M images that were edited."""
    latents: Latents
    """Of the N images."""
    note: str = ""
    """Whether features follow the codes; "" where there are none."""
    identity: IdentityNetwork | None = None
    """Compares persons before and after; None: they are not compared."""
    mask: Tensor | None = None
    """(N, 1, R, R) in [0, 1]: where a local edit acts; None: everywhere."""
    background: Tensor | None = None
    """(N, C, R, R) in [-1, 1], which the images show outside of the mask; None: the generator's
    own image is there too."""

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f'EditResult({len(self)} image{"s" * (len(self) != 1)} by "{self.edit}")'

    def stream(self) -> Iterator[Tensor]:
        """The images (C, R, R) in [-1, 1], one after another, on the CPU; padding is black."""
        for index, image in enumerate(_synthesize(self.generator, self.latents)):
            if self.background is None or self.mask is None:
                yield image
            else:
                # Exactly the background where the mask is 0.
                yield torch.lerp(self.background[index], image, self.mask[index])

    @cached_property
    def images(self) -> Tensor:
        """(N, C, R, R) in [-1, 1], on the CPU."""
        return torch.stack(list(self.stream()))

    @cached_property
    def misses(self) -> list[str]:
        """A sentence if the edit has made another person of a face; the frames that lead from one
        face to another are not compared."""
        same_count = sum(map(len, self.before)) == len(self)
        if self.identity is None or not (same_count or len(self) == 1):
            return []
        before = (x for one in self.before for x in _synthesize(self.generator, one))
        distances = []
        for first, second in zip(before, self.stream(), strict=False):
            first, second = (x[None].to(self.generator.device) for x in (first, second))
            person = self.identity.embed(first)
            distances += person_distances(self.identity, second, person)
        sentence = person_miss(distances, self.identity, "result")
        return [sentence] if sentence else []

    def pieces(self) -> Iterator[Piece]:
        """What is pasted back: every image at the place of the one that was edited, or of the first
        where several made it. data.PhotoError for latents that do not know their place.
        """
        originals = [
            (crop, image)
            for one in self.before
            for crop, image in zip(one.crops, _synthesize(self.generator, one), strict=False)
        ]
        solutions = max(1, len(self) // max(1, len(originals)))
        for index, image in enumerate(self.stream()):
            crop, mask = crop_of(self.latents.crops, index), None
            own = originals[index // solutions : index // solutions + 1]
            before = next((x for place, x in (*own, *originals) if place == crop), None)
            if self.mask is not None:
                mask = self.mask[index, 0]
                if self.background is not None and before is not None:
                    before = torch.lerp(self.background[index], before, self.mask[index])
            yield Piece(self.names[index], image, crop, before, mask)

    def paste_back(
        self,
        out: str | Path,
        *,
        photo: Photo | None = None,
        residual: bool = False,
        region: str = "face",
    ) -> list[Path]:
        """Write the whole photos with the edited faces in their places; see `Result.paste_back`.

        residual: keep what the photo has and the inversion lacks, where the edit changed nothing.
        """
        options = PasteOptions(photo=photo, residual=residual, region=region)
        return save_all(self.pieces(), len(self), out, options)

    def save(self, out: str | Path, *, video: str | None = None) -> Path:
        """Write NAME.png for every image, strip.png, latents.safetensors and edit.json into `out`.

        strip.png: the images before the edit, then evenly spaced results. latents.safetensors holds
        all N images and can be edited further. video: "mp4" or "webm" for the images as frames of
        video.mp4 or video.webm. Raises ValueError for another format, OSError where `out` cannot be
        written.
        """
        if video is not None and f".{video}" not in CODECS:
            expected = ", ".join(name.removeprefix(".") for name in CODECS)
            raise ValueError(f'got the video format "{video}"; expected one of {expected}')
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        chosen = set(torch.linspace(0, len(self) - 1, min(STRIP, len(self))).round().int().tolist())
        strip = [x for one in self.before for x in _synthesize(self.generator, one)]
        labels = ["before"] * len(strip)
        for index, image in enumerate(self.stream()):
            pictures.save(to_pil(image), out / f"{self.names[index]}.png")
            if self.mask is not None:
                shown = (image + 1) * (DIMMED + (1 - DIMMED) * self.mask[index]) - 1
                pictures.save(to_pil(shown), out / f"{self.names[index]}-mask.png")
            if index in chosen:
                strip.append(image)
                labels.append(self.names[index])
        pictures.save(pictures.panels(strip, 128, labels), out / "strip.png")
        if video is not None:
            with VideoWriter(out / f"video.{video}", FPS) as writer:
                for image in self.stream():
                    writer.write(to_pil(image))
        self.latents.to("cpu").save(out / LATENTS, name=self.edit)
        write_json(out / SUMMARY, self.record())
        return out

    def record(self) -> dict:
        """What edit.json holds."""
        record = {
            "edit": self.edit,
            "parameters": self.parameters,
            "images": self.names,
            "fingerprint": self.generator.fingerprint,
            "misses": self.misses,
        }
        return record | ({"note": self.note} if self.note else {})


def number_names(count: int) -> list[str]:
    """ "000001", "000002", .."""
    return [f"{i + 1:06d}" for i in range(count)]


def number_solutions(names: Sequence[str], solutions: int) -> list[str]:
    """ "me-solution1", "me-solution2", .. of each name; the names themselves for one solution."""
    if solutions == 1:
        return list(names)
    return [f"{name}-solution{i + 1}" for name in names for i in range(solutions)]


def concatenate_latents(parts: Sequence[Latents]) -> Latents:
    """Latents of several images or batches as one; ValueError if they are of different kinds."""
    for part in parts[1:]:
        if not same_kind(parts[0], part):
            raise ValueError(
                f'got latents of different kinds ("{parts[0].space}" and "{part.space}", or with '
                "other layers, noise maps or truncation); invert all photos by the same recipe"
            )
    return Latents.concatenate(parts)


@torch.no_grad()
def _synthesize(generator: Generator, latents: Latents) -> Iterator[Tensor]:
    batch, start = Batch(BATCH, "image"), 0
    while start < len(latents):
        part = latents[start : start + batch.size].to(generator.device, generator.dtype)
        try:
            images = part.synthesize(generator).clamp(-1, 1).cpu()
        except (RuntimeError, MemoryError) as error:
            batch.halve(error)
            continue
        start += len(part)
        aspects = [crop.aspect for crop in part.crops] or [""] * len(part)
        yield from map(blacken, images, aspects)


def with_places(edited: Latents, images: Sequence[Latents]) -> Latents:
    """Results of an edit at the places of the images that they were made of, unless they have some.

    As many results of each image follow one another.
    """
    crops = [crop for one in images for crop in one.crops]
    if edited.crops or not crops or len(edited) % len(crops):
        return edited
    each = len(edited) // len(crops)
    return replace(edited, crops=tuple(crop for crop in crops for _ in range(each)))


def image_names(latents: Latents | Result) -> list[str]:
    """Of results their own, of latents numbers."""
    return latents.names if isinstance(latents, Result) else number_names(len(latents))
