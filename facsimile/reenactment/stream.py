"""Frames of a source's face that follows a driver, synthesized while they are iterated.

Legend: N frames of a batch, C channels, R resolution of the generator, K = 68 points.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from facsimile import data
from facsimile.editing import LandmarkMotion, interpolate_landmarks, reenact_latents
from facsimile.editing.landmark_noise import move_noise
from facsimile.editing.reenactment import LandmarkEncoder
from facsimile.metrics import IdentityNetwork
from facsimile.stylegan import Generator as ImageGenerator

from ..devices import Batch
from ..misses import person_distances
from ..workers import prefetch
from .drivers import Driver, DriverFrame
from .landmark_error import landmark_errors
from .source import Source

IDENTITY = "identity_distance"
IDENTITY_EVERY = 10
"""Frames from one comparison of persons to the next, which takes longer than a frame."""


@dataclass(frozen=True)
class ReenactedFrame:
    """One frame of the result."""

    image: Tensor
    """(C, R, R) in [-1, 1]."""
    landmarks: Tensor
    """(K, 2) that were asked for."""
    driver: DriverFrame
    errors: dict[str, float]
    """See `landmark_errors`, without a landmark network none of these; and of some frames IDENTITY,
    the distance of the person from the source."""


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
    identity: IdentityNetwork | None = None
    """Compares the person of every tenth result with the source's; None: nothing is compared."""
    frames: int | None = None
    """Number of frames of a morph to the driver's only pose."""
    settings: dict = field(default_factory=dict)
    """What else decides the result, for summary.json."""
    frames_without_face: int = field(default=0, init=False)
    """Of the driver, in the last run; they repeat the previous pose."""
    frames_of_others: int = field(default=0, init=False)
    """Those of them with faces, none of which is the person's who is followed."""

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
        self.frames_without_face = self.frames_of_others = 0
        self.prepare()  # not under the no_grad of `synthesize`, which would round otherwise
        poses, number = self._poses(), 0
        while batch := list(itertools.islice(poses, self.batch)):
            landmarks = torch.stack([points for points, _ in batch])
            # A pose that is held is synthesized once.
            poses_of_batch, which = landmarks.unique_consecutive(dim=0, return_inverse=True)
            images = self._synthesize_in_parts(poses_of_batch)[which]
            errors = self._errors(images, landmarks, number)
            number += len(batch)
            for image, (points, frame), error in zip(images.cpu(), batch, errors, strict=True):
                yield ReenactedFrame(image, points, frame, error)

    def _synthesize_in_parts(self, landmarks: Tensor) -> Tensor:
        """`synthesize`, of fewer frames at once where memory does not suffice for all."""
        size = Batch(self.batch, "frame")
        while True:
            try:
                return torch.cat([self.synthesize(part) for part in landmarks.split(size.size)])
            except (RuntimeError, MemoryError) as error:
                size.halve(error)
            self.batch = size.size

    def _errors(self, images: Tensor, landmarks: Tensor, number: int) -> list[dict[str, float]]:
        """What is measured of each image; number: of the frames before."""
        errors: list[dict[str, float]] = [{} for _ in images]
        if self.landmarker is not None:
            errors = landmark_errors(self.landmarker, images, landmarks)
        chosen = [i for i in range(len(images)) if (number + i) % IDENTITY_EVERY == 0]
        if self.identity is not None and chosen:
            distances = person_distances(self.identity, images[chosen], self._person)
            for index, distance in zip(chosen, distances, strict=True):
                errors[index][IDENTITY] = distance
        return errors

    @cached_property
    @torch.no_grad()
    def _person(self) -> Tensor:
        """The embedding (1, D) of the source."""
        assert self.identity is not None
        return self.identity.embed(self.source.target[None].to(self.generator.device))

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
                landmarks = motion.hold(frame.points) if frame.repeated else motion(frame.points)
                self.frames_without_face = motion.frames_without_face
                self.frames_of_others += frame.other
                yield landmarks, frame
