"""The face of a driver from frame to frame: found once, then followed by its own landmarks.

Legend: K = 68 points, S side of the crop that is looked at.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .align import FaceDetector, crop_quad, face_quad, ffhq_quad_from_landmarks, quad_to_photo
from .landmarks import Landmarker
from .photos import PhotoError, centre_square, fit_square, to_tensor

SIDE = 256
"""S: more than the landmark networks see."""
FOLLOW = 0.3
"""Of the way that the crop goes to the face's place in a frame: it does not shake as points do."""
MOVED = 0.15
"""Of the crop's side: a face as far from where it was looked for, or as much larger or smaller, is
looked at once more."""


@dataclass(frozen=True)
class TrackedFace:
    picture: Tensor
    """(3, S, S) in [-1, 1]: what was looked at."""
    points: np.ndarray | None
    """(K, 2) in pixels of the photo; None where no face was found."""
    error: str = ""
    """Why not."""


class FaceTracker:
    """Photos in their order -> `Seen`. What follows a frame does not change what was seen in it."""

    def __init__(
        self, landmarker: Landmarker, detector: FaceDetector | None, device: torch.device | str
    ):
        """detector: None where the photos are aligned faces already."""
        self.landmarker, self.detector, self.device = landmarker, detector, device
        self.detections = 0
        """How often the whole photo was searched."""
        self._quad: np.ndarray | None = None
        self._size = (0, 0)

    @torch.no_grad()
    def __call__(self, photo: Image.Image) -> TrackedFace:
        try:
            if self.detector is None:
                return self._look(photo, None)
            return self._follow(photo)
        except PhotoError as error:
            self._size = (0, 0)  # the next photo is searched
            return TrackedFace(to_tensor(centre_square(photo, SIDE)), None, str(error))

    def _follow(self, photo: Image.Image) -> TrackedFace:
        if self._quad is not None and self._size == photo.size:
            seen = self._twice(photo, self._quad)
            if seen is not None:
                return seen
        self.detections += 1
        faces = self.detector.detect(photo)
        self._size = photo.size
        if not faces:
            return self._lost(photo, "no face was found")
        self._quad = None
        quad = face_quad(faces[0])
        return self._twice(photo, quad) or self._lost(photo, "its face is not seen from the front")

    def _twice(self, photo: Image.Image, quad: np.ndarray) -> TrackedFace | None:
        """Looks once more where the face has moved; None where there is none."""
        seen = self._look(photo, quad)
        if seen.points is None:
            return None
        now = ffhq_quad_from_landmarks(seen.points)
        if _distance(now, quad) > MOVED:
            seen = self._look(photo, now)
            if seen.points is None:
                return None
            there, now = now, ffhq_quad_from_landmarks(seen.points)
            if _distance(now, there) > 2 * MOVED:
                return None
            self._quad = now
        else:
            self._quad = now if self._quad is None else quad + FOLLOW * (now - quad)
        return seen

    def _look(self, photo: Image.Image, quad: np.ndarray | None) -> TrackedFace:
        if quad is None:
            picture = fit_square(photo, SIDE)
            to_photo = np.diag([photo.width / SIDE] * 2 + [1.0])
        else:
            picture, to_photo = crop_quad(photo, quad, SIDE), quad_to_photo(quad, SIDE)
        image = to_tensor(picture)
        found = self.landmarker(image[None].to(self.device))
        points = found.points[0].double().cpu().numpy()
        if not (found.found[0] and np.isfinite(points).all()):
            score = float(found.score[0])
            return TrackedFace(image, None, f"no upright face was seen (score {score:.2f})")
        return TrackedFace(image, points @ to_photo[:2, :2].T + to_photo[:2, 2])

    def _lost(self, photo: Image.Image, error: str) -> TrackedFace:
        """The next photo is searched; until then it shows where the face was last."""
        quad, self._size = self._quad, (0, 0)
        picture = centre_square(photo, SIDE) if quad is None else crop_quad(photo, quad, SIDE)
        return TrackedFace(to_tensor(picture), None, error)


def align_landmarks_ffhq(points: Tensor, side: int) -> Tensor:
    """Landmarks (T, K, 2) in pixels of photos -> in those of crops as FFHQ's, of `side` pixels.

    Each face by itself: where it is in the photo, its size and tilt are gone. What is no face, for
    NaN or all in one point, becomes NaN.
    """
    moved = []
    for face in points.double().cpu().numpy():
        try:
            to_crop = np.linalg.inv(quad_to_photo(ffhq_quad_from_landmarks(face), side))
            moved.append(face @ to_crop[:2, :2].T + to_crop[:2, 2])
        except PhotoError:
            moved.append(np.full_like(face, np.nan))
    return torch.from_numpy(np.stack(moved)).to(points)


def _distance(quad: np.ndarray, other: np.ndarray) -> float:
    """How far corners are apart at most, the side of the other the unit."""
    return np.hypot(*(quad - other).T).max() / np.hypot(*(other[3] - other[0]))
