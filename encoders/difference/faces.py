"""Faces with landmarks that the reenactment recipes train on: samples, or photos.

Legend: N images of a batch slice, M photos, C channels, R image resolution, K = 68 points, L style
inputs, D numbers in w.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from facsimile.data import ImageDataset
from facsimile.data.landmark_files import match_landmarks
from facsimile.data.landmarks import Landmarker, Landmarks
from facsimile.data.progress import ProgressBar
from facsimile.stylegan import files
from facsimile.training import BatchSlice, Distributed
from facsimile.training.keyed_sampler import KeyedSampler

DETECTION_BATCH = 64
"""Photos at a time in which landmarks are detected."""
ENCODING_BATCH = 16
"""Photos at a time that are encoded."""
CACHE_VERSION = 1
"""Of the file of codes. Older files are the same, but have no version."""
ATTEMPTS = 8
"""Samples that are drawn in one's place until a face is detected."""


class Faces(NamedTuple):
    """N training images with their landmarks."""

    image: Tensor
    """x (N, C, R, R) in [-1, 1]"""
    landmarks: Tensor
    """(N, K, 2) in pixels of the image."""
    ws: Tensor | None
    """(N, L, D) of samples."""
    label: Tensor | None
    """(N, c_dim), likewise."""
    code: Tensor | None = None
    """(N, L, D) of photos, computed by the in-domain encoder before the training."""
    code_landmarks: Tensor | None = None
    """(N, K, 2) in the image of this code, which differs a little from the photo."""

    @property
    def source_landmarks(self) -> Tensor:
        """(N, K, 2) landmarks with which the source's code stays as it is."""
        return self.landmarks if self.code_landmarks is None else self.code_landmarks


def detect_landmarks(landmarker: Landmarker, images: Tensor) -> Landmarks:
    """Landmarks in images (N, C, R, R) of any C, in full precision."""
    rgb = images[:, : 3 if images.shape[1] >= 3 else 1]
    with torch.autocast(images.device.type, enabled=False):
        return landmarker(rgb)


def sample_faces(
    sample: Callable[[int], tuple[Tensor, Tensor | None]],
    synthesize: Callable[[Tensor], Tensor],
    landmarker: Landmarker,
) -> tuple[Faces, Tensor]:
    """Samples with a detected face, and for each the number of attempts without one (N,).

    sample: number of the attempt -> (ws (N, L, D), labels); synthesize: ws -> images. Each sample
    is the first of its own attempts with a face, or the last, whatever the others are.
    """
    ws, label = sample(0)
    image = synthesize(ws)
    detected = detect_landmarks(landmarker, image)
    landmarks, is_face = detected.points, detected.is_face
    failures = torch.zeros(len(ws), dtype=torch.long, device=ws.device)
    for attempt in range(1, ATTEMPTS):
        missing = (~is_face).nonzero()[:, 0]
        if not len(missing):
            break
        failures[missing] += 1
        others, labels = sample(attempt)
        images = synthesize(others[missing])
        detected = detect_landmarks(landmarker, images)
        ws = ws.index_copy(0, missing, others[missing])
        image = image.index_copy(0, missing, images)
        landmarks = landmarks.index_copy(0, missing, detected.points)
        is_face = is_face.index_copy(0, missing, detected.is_face)
        if label is not None and labels is not None:
            label = label.index_copy(0, missing, labels[missing])
    return Faces(image, landmarks, ws, label), failures


@dataclass(frozen=True)
class FacePhotos:
    """Training photos with their landmarks."""

    images: ImageDataset
    """M photos."""
    landmarks: Tensor
    """(M, K, 2) in pixels of these."""
    summary: str
    codes: Tensor | None = None
    """(M, L, D) by the in-domain encoder, if codes are needed."""
    code_landmarks: Tensor | None = None
    """(M, K, 2) in the images of these codes."""

    def faces(self, sampler: KeyedSampler, batch: BatchSlice) -> Faces:
        """The faces of a batch slice; each photo once per epoch."""
        image, indices = sampler.batch(self.images, batch)
        landmarks = self.landmarks[indices].to(image)
        if self.codes is None or self.code_landmarks is None:
            return Faces(image, landmarks, None, None)
        code, code_landmarks = (x[indices].to(image) for x in (self.codes, self.code_landmarks))
        return Faces(image, landmarks, None, None, code, code_landmarks)


@torch.no_grad()
def photos_with_landmarks(
    images: ImageDataset,
    landmark_file: Path | None,
    landmarker: Landmarker,
    device: torch.device,
    dtype: torch.dtype,
) -> FacePhotos:
    """The images that have landmarks in the file or, without one, a face that is detected."""
    if landmark_file is not None:
        faces, landmarks = match_landmarks(images, landmark_file)
        source = "in the file"
    else:
        batches = torch.arange(len(images)).split(DETECTION_BATCH)
        detected = [detect_landmarks(landmarker, x) for x in images.batches(batches, device, dtype)]
        is_face = torch.cat([x.is_face for x in detected]).cpu()
        landmarks = torch.cat([x.points for x in detected]).cpu()[is_face]
        faces = images.subset(is_face.nonzero()[:, 0])
        source = "detected"
    if not len(faces):
        raise ValueError(
            f"no face is detected in any of {len(images)} photos; expected faces aligned as in "
            "FFHQ: facsimile prepare-data makes them"
        )
    summary = faces.summary()
    if len(faces) < len(images):
        summary += f"; {len(images) - len(faces)} without a face that is {source} are left out"
    return FacePhotos(faces, landmarks, summary)


@torch.no_grad()
def with_codes(
    photos: FacePhotos,
    encode: Callable[[Tensor], Tensor],
    synthesize: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
    landmarker: Landmarker,
    distributed: Distributed,
    dtype: torch.dtype,
    path: Path | None,
    fingerprints: dict[str, str],
) -> FacePhotos:
    """The photos with their codes and the landmarks in these codes' images; processes share work.

    encode: images -> codes of the shape (L, D); synthesize: codes -> images. If no face is detected
    in such an image, the photo's landmarks are used. path: the cache, read if it exists, else
    written. Raises ValueError if it is of other photos, or of networks with other fingerprints.
    """
    images, device = photos.images, distributed.device
    metadata = {"format": "facsimile codes", "photos": images.pixel_hash()} | fingerprints
    if path is not None and path.is_file():
        codes, landmarks = _read_cache(path, metadata)
        return replace(photos, codes=codes, code_landmarks=landmarks)
    batches = torch.arange(len(images)).split(ENCODING_BATCH)
    batches = batches[distributed.rank :: distributed.processes]
    tensors = {
        "codes": torch.zeros(len(images), *shape, dtype=dtype, device=device),
        "landmarks": torch.zeros_like(photos.landmarks, dtype=dtype, device=device),
    }
    loaded = zip(batches, images.batches(batches, device, dtype), strict=True)
    count = sum(map(len, batches))
    bar = ProgressBar(
        total=count, desc="codes of the photos", unit="img", disable=not distributed.shows_progress
    )
    for batch, image in loaded:
        code = encode(image)
        detected = detect_landmarks(landmarker, synthesize(code))
        fallback = photos.landmarks[batch].to(detected.points)
        landmarks = detected.points.where(detected.is_face[:, None, None], fallback)
        tensors["codes"][batch] = code.to(dtype)
        tensors["landmarks"][batch] = landmarks.to(dtype)
        bar.update(len(batch))
    bar.close()
    processes = distributed.processes
    tensors = {k: (distributed.all_mean(x) * processes).cpu() for k, x in tensors.items()}
    if path is not None and distributed.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_tensors(path, tensors, metadata | {"version": str(CACHE_VERSION)})
    return replace(photos, codes=tensors["codes"], code_landmarks=tensors["landmarks"])


def _read_cache(path: Path, metadata: dict[str, str]) -> tuple[Tensor, Tensor]:
    """(codes, landmarks) in a file; ValueError if its metadata differ, or if it is newer."""
    actual, tensors = files.read_tensors(path)
    files.check_version(path, actual, CACHE_VERSION)
    other = next((name for name, value in metadata.items() if actual.get(name) != value), None)
    if other is not None:
        raise ValueError(
            f"{path} has {other} {actual.get(other)}, and this run's is {metadata[other]}; "
            "give another --code-cache, and they are computed again"
        )
    return tensors["codes"], tensors["landmarks"]
