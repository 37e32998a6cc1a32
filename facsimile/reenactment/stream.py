"""Frames of a source's face that follows a driver, synthesized while they are iterated.

Legend: N frames of a batch, C channels, R resolution of the generator, K = 68 points.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facsimile import data
from facsimile.editing import LandmarkMotion, interpolate_landmarks, reenact_latents
from facsimile.editing.landmark_noise import move_noise
from facsimile.editing.reenactment import LandmarkEncoder
from facsimile.stylegan import Generator as ImageGenerator

from ..workers import prefetch
from .drivers import Driver, DriverFrame
from .landmark_error import landmark_errors
from .source import Source


@dataclass(frozen=True)
class ReenactedFrame:
    """One frame of the result."""

    image: Tensor
    """(C, R, R) in [-1, 1]."""
    landmarks: Tensor
    """(K, 2) that were asked for."""
    driver: DriverFrame
    errors: dict[str, float]
    """See `landmark_errors`; empty without a landmark network."""


@dataclass
class FrameStream:
    """Iterate for `ReenactedFrame`s; every iteration begins with the driver's first frame."""

    generator: ImageGenerator
    encoder: LandmarkEncoder
    source: Source
    driver: Driver
    relative: bool
    """Whether the source's landmarks move as the driver's do; else they become the driver's."""
    smoothing: float
    """Seconds; see `editing.landmark_motion.OneEuro`."""
    preserve_source: bool
    """Whether the source's own landmarks reproduce it exactly."""
    batch: int
    landmarker: data.Landmarker | None = None
    """Measures the landmark errors of the results; None: nothing is measured."""
    frames: int | None = None
    """Number of frames of a morph to the driver's only pose."""
    settings: dict = field(default_factory=dict)
    """What else decides the result, for summary.json."""
    frames_without_face: int = field(default=0, init=False)
    """Of the driver, in the last run; they repeat the previous pose."""

    def __len__(self) -> int:
        """Frames; for a video what its header says, or 0."""
        return self.frames or self.driver.count

    @property
    def single(self) -> bool:
        return self.driver.single and not self.frames

    def prepare(self) -> None:
        """Find the source's face now, which may take a while, and not with the first frame."""
        _ = self.source.face

    def __iter__(self) -> Generator[ReenactedFrame, None, None]:
        """The frames in order; the driver is read ahead by a bounded number of frames."""
        self.frames_without_face = 0
        self.prepare()  # not under the no_grad of `synthesize`, which would round otherwise
        poses = self._poses()
        while batch := list(itertools.islice(poses, self.batch)):
            landmarks = torch.stack([points for points, _ in batch])
            images = self.synthesize(landmarks)
            errors: list[dict[str, float]] = [{}] * len(batch)
            if self.landmarker is not None:
                errors = landmark_errors(self.landmarker, images, landmarks)
            for image, (points, frame), error in zip(images.cpu(), batch, errors, strict=True):
                yield ReenactedFrame(image, points, frame, error)

    @torch.no_grad()
    def synthesize(self, landmarks: Tensor) -> Tensor:
        """The source with landmarks (N, K, 2) in pixels of R: (N, C, R, R) in [-1, 1]."""
        face = self.source.face
        latents = reenact_latents(
            self.encoder,
            self.generator,
            face.given,
            landmarks,
            self.source.landmarks[None] if self.preserve_source else None,
            ws=face.ws,
            transport=face.transport,
        )
        latents = move_noise(self.generator, latents, self.source.landmarks[None], landmarks)
        return latents.synthesize(self.generator).clamp(-1, 1)

    def _poses(self) -> Iterator[tuple[Tensor, DriverFrame]]:
        """Target landmarks (K, 2) with the driver's frame."""
        motion = LandmarkMotion(
            self.source.landmarks,
            relative=self.relative,
            fps=self.driver.fps,
            seconds=0 if self.driver.single else self.smoothing,
        )
        if self.frames:
            frame = next(iter(self.driver))
            target = motion(frame.points)
            steps = interpolate_landmarks(self.source.landmarks, target, self.frames)
            for index, landmarks in enumerate(steps):
                name = f"{index + 1:06d}"
                yield (
                    landmarks,
                    DriverFrame(name, frame.points, frame.raw_points, frame.picture, frame.error),
                )
            self.frames_without_face = 0 if frame.points is not None else self.frames
            return
        with contextlib.closing(prefetch(iter(self.driver), 2 * self.batch)) as frames:
            for frame in frames:
                landmarks = motion(frame.points)
                self.frames_without_face = motion.frames_without_face
                yield landmarks, frame
