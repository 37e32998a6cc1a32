"""Faces with their landmarks, that the recipes with landmarks train on: samples, or photos.

Legend: N images of a place, C channels, R side of the image, K = 68 points, L style inputs.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from facsimile import data
from facsimile.data.landmark_labels import labelled
from facsimile.data.landmarks import Landmarker, Landmarks
from facsimile.stylegan import files
from facsimile.training import BatchSlice, Distributed
from facsimile.training.draws import KeyedSampler, cache_on_gpu

PART = 64
"""Photos at a time in which landmarks are looked for."""
FOUND = 16
"""Photos at a time whose codes are found."""
ATTEMPTS = 8
"""Samples that are drawn in one's place until a face is found in it."""


class Faces(NamedTuple):
    image: Tensor
    """x (N, C, R, R) in [-1, 1]"""
    points: Tensor
    """(N, K, 2) in pixels of these."""
    ws: Tensor | None
    """(N, L, D) of samples."""
    label: Tensor | None
    """(N, c_dim) likewise."""
    code: Tensor | None = None
    """(N, L, D) of photos, as the in-domain encoder found it before the training."""
    seen: Tensor | None = None
    """(N, K, 2) in what this code draws, which is not quite the photo."""

    @property
    def own(self) -> Tensor:
        """(N, K, 2) landmarks with which the source's code stays as it is."""
        return self.points if self.seen is None else self.seen


def look(landmarker: Landmarker, images: Tensor) -> Landmarks:
    """What a landmarker sees in images (N, C, R, R) of any C, in full precision."""
    colours = images[:, : 3 if images.shape[1] >= 3 else 1]
    with torch.autocast(images.device.type, enabled=False):
        return landmarker(colours)


def sampled(
    draw: Callable[[int], tuple[Tensor, Tensor | None]],
    redraw: Callable[[Tensor], Tensor],
    landmarker: Landmarker,
) -> tuple[Faces, Tensor]:
    """Samples that show a face, and for each how many before it did not (N,).

    draw: number of the attempt -> (ws (N, L, D), labels); redraw: ws -> images. Each sample is the
    first of its own attempts with a face, or the last: what the others are does not matter.
    """
    ws, label = draw(0)
    image = redraw(ws)
    seen = look(landmarker, image)
    points, found = seen.points, seen.found
    failed = torch.zeros(len(ws), dtype=torch.long, device=ws.device)
    for attempt in range(1, ATTEMPTS):
        missing = (~found).nonzero()[:, 0]
        if not len(missing):
            break
        failed[missing] += 1
        others, labels = draw(attempt)
        images = redraw(others[missing])
        seen = look(landmarker, images)
        ws = ws.index_copy(0, missing, others[missing])
        image = image.index_copy(0, missing, images)
        points = points.index_copy(0, missing, seen.points)
        found = found.index_copy(0, missing, seen.found)
        if label is not None:
            label = label.index_copy(0, missing, labels[missing])
    return Faces(image, points, ws, label), failed


@dataclass(frozen=True)
class Photos:
    images: data.ImageSet
    points: Tensor
    """(M, K, 2) in pixels of these."""
    said: str
    codes: Tensor | None = None
    """(M, L, D) that the in-domain encoder found, where codes are needed."""
    seen: Tensor | None = None
    """(M, K, 2) likewise, in what these draw."""

    def at(self, draws: KeyedSampler, place: BatchSlice) -> Faces:
        """Each once per epoch."""
        chosen = draws.indices(len(self.images), place)
        image = self.images.batch(chosen, draws.device, draws.dtype)
        points = self.points[chosen].to(image)
        if self.codes is None:
            return Faces(image, points, None, None)
        code, seen = (x[chosen].to(image) for x in (self.codes, self.seen))
        return Faces(image, points, None, None, code, seen)


@torch.no_grad()
def photos(
    images: data.ImageSet,
    labels: str | None,
    landmarker: Landmarker,
    device: torch.device,
    dtype: torch.dtype,
) -> Photos:
    """Those images whose landmarks a file names or, without one, the landmarker finds."""
    if labels is not None:
        kept, points = labelled(images, labels)
        how = "named"
    else:
        parts = torch.arange(len(images)).split(PART)
        seen = [look(landmarker, images.batch(part, device, dtype)) for part in parts]
        found = torch.cat([x.found for x in seen]).cpu()
        points = torch.cat([x.points for x in seen]).cpu()[found]
        kept = images.subset(found.nonzero()[:, 0])
        how = "seen"
    if not len(kept):
        raise ValueError(
            f"in none of {len(images)} photos a face is seen; expected faces aligned as FFHQ's: "
            "facsimile prepare-data makes such"
        )
    said = kept.summary()
    if len(kept) < len(images):
        said += f"; {len(images) - len(kept)} without a face that is {how} are left out"
    return Photos(cache_on_gpu(kept, device), points, said)


@torch.no_grad()
def with_codes(
    photos: Photos,
    embed: Callable[[Tensor], Tensor],
    redraw: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
    landmarker: Landmarker,
    host: Distributed,
    dtype: torch.dtype,
    path: Path | None,
    networks: dict[str, str],
) -> Photos:
    """The photos with their codes and what landmarks these draw; several processes share the work.

    embed: images -> codes, shape: of one, redraw: these -> images; where no face is seen in one,
    the photo's own landmarks stand for it. path: where both are kept and taken from the next time;
    ValueError where it holds those of other photos, or of other networks than these fingerprints'.
    """
    images = photos.images
    pixels = hashlib.sha256(images.pixels.cpu().numpy()).hexdigest()[:16]
    about = {"format": "facsimile codes", "photos": pixels} | networks
    if path is not None and path.is_file():
        held, tensors = files.read_tensors(path)
        other = next((name for name, value in about.items() if held.get(name) != value), None)
        if other is not None:
            raise ValueError(
                f"{path} has {other} {held.get(other)}, and this run's is {about[other]}; "
                "give another --codes, and they will be found anew"
            )
        return replace(photos, codes=tensors["codes"], seen=tensors["landmarks"])
    parts = torch.arange(len(images)).split(FOUND)[host.rank :: host.processes]
    whole = {
        "codes": torch.zeros(len(images), *shape, dtype=dtype, device=host.device),
        "landmarks": torch.zeros_like(photos.points, dtype=dtype, device=host.device),
    }
    for part in tqdm(parts, desc="codes of the photos", mininterval=5, disable=not host.main):
        code = embed(images.batch(part, host.device, dtype))
        seen = look(landmarker, redraw(code))
        points = seen.points.where(seen.found[:, None, None], photos.points[part].to(seen.points))
        whole["codes"][part], whole["landmarks"][part] = code.to(dtype), points.to(dtype)
    whole = {name: (host.mean(x) * host.processes).cpu() for name, x in whole.items()}
    if path is not None and host.main:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_tensors(path, whole, about)
    return replace(photos, codes=whole["codes"], seen=whole["landmarks"])
