"""Tracks a person's face from frame to frame: detected once, then followed by its landmarks.

A face that is lost is searched, and taken for the person's only if a network recognises it.

Legend: T frames, K = 68 points, S side of the crop in which landmarks are detected.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facsimile.metrics import IdentityNetwork

from .align import (
    Face,
    FaceDetector,
    crop_quad,
    face_quad,
    ffhq_quad_from_landmarks,
    quad_to_photo,
)
from .face_choice import FaceChoice, nearest
from .followed_person import FollowedPerson
from .landmarks import Landmarker
from .photo_formats import PhotoError
from .photos import centre_square, fit_square, to_tensor

SIDE = 256
"""S: more than the landmark networks' input."""
FOLLOW_RATE = 0.3
"""Fraction of the way that the crop moves to the face in a frame: crops shake less than points."""
LARGEST = FaceChoice("largest")
MAX_SHIFT = 0.15
"""In sides of the crop: if the face is farther from the crop, or larger or smaller by as much, its
landmarks are detected a second time."""


@dataclass(frozen=True)
class TrackedFace:
    """The face of one frame."""

    picture: Tensor
    """(3, S, S) in [-1, 1]: the crop in which it was detected."""
    points: np.ndarray | None
    """(K, 2) in pixels of the photo; None if no face was detected."""
    error: str = ""
    """Why no face was detected."""
    other: bool = False
    """Whether there are faces, but none is the person's who is followed."""
    quad: np.ndarray | None = None
    """(4, 2) in pixels of the photo: the crop, or without a face the last one; None: the photo."""


class FaceTracker:
    """Photos, one after the other -> `TrackedFace`. Later frames do not change earlier ones."""

    def __init__(
        self,
        landmarker: Landmarker,
        detector: FaceDetector | None,
        device: torch.device | str,
        choice: FaceChoice = LARGEST,
        identity: IdentityNetwork | None = None,
    ):
        """detector: None if the photos are aligned faces already. choice: of the person, in the
        first photo that has such a face. identity: recognises the person later; None: the nearest
        face is followed.
        """
        self.landmarker, self.detector, self.device = landmarker, detector, device
        self.choice, self.identity = choice, identity
        self._person = None if identity is None else FollowedPerson(identity, device)
        self.detections = 0
        """Number of times that a whole photo was searched."""
        self._quad: np.ndarray | None = None
        self._size = (0, 0)

    def again(self, choice: FaceChoice | None = None) -> "FaceTracker":
        """One that has seen nothing yet; choice: another person."""
        choice = choice or self.choice
        return FaceTracker(self.landmarker, self.detector, self.device, choice, self.identity)

    @torch.no_grad()
    def __call__(self, photo: Image.Image) -> TrackedFace:
        try:
            if self.detector is None:
                return self._detect(photo, None)
            return replace(self._track(photo, self.detector), quad=self._quad)
        except PhotoError as error:
            self._size = (0, 0)  # the next photo is searched
            return TrackedFace(to_tensor(centre_square(photo, SIDE)), None, str(error))

    def _track(self, photo: Image.Image, detector: FaceDetector) -> TrackedFace:
        last = self._quad
        if last is not None and self._size == photo.size:
            face = self._detect_near(photo, last)
            if face is not None and (self._person is None or self._person.stays(face.picture)):
                return face
            self._quad = last
        self.detections += 1
        faces = detector.detect(photo)
        self._size = photo.size
        if not faces:
            return self._lost(photo, "no face was found")
        chosen = self.choice.pick(faces)[0] if last is None else self._find(photo, faces, last)
        if chosen is None:
            return self._lost(photo, self._another(len(faces)), other=True)
        self._quad = None
        face = self._detect_near(photo, face_quad(chosen))
        if face is None:
            self._quad = last
            return self._lost(photo, "its face is not seen from the front")
        if self._person is not None and not self._person.is_in(face.picture):
            self._quad = last
            return self._lost(photo, self._another(len(faces)), other=True)
        return face

    def _find(self, photo: Image.Image, faces: list[Face], last: np.ndarray) -> Face | None:
        """The person's face; None if it is not among these. last: (4, 2), the last crop."""
        if self._person is None:
            return nearest(faces, last)
        crops = [to_tensor(crop_quad(photo, face_quad(face), SIDE)) for face in faces]
        index = self._person.find(crops)
        return None if index is None else faces[index]

    def _another(self, count: int) -> str:
        assert self._person is not None
        return (
            f"the person who is followed is not there: {count} other face{'s' * (count > 1)}, at a "
            f"distance of {self._person.distance:.2f}"
        )

    def _detect_near(self, photo: Image.Image, quad: np.ndarray) -> TrackedFace | None:
        """The face in a crop, detected a second time if it has moved; None if there is none."""
        face = self._detect(photo, quad)
        if face.points is None:
            return None
        new_quad = ffhq_quad_from_landmarks(face.points)
        if _distance(new_quad, quad) > MAX_SHIFT:
            face = self._detect(photo, new_quad)
            if face.points is None:
                return None
            first_quad, new_quad = new_quad, ffhq_quad_from_landmarks(face.points)
            if _distance(new_quad, first_quad) > 2 * MAX_SHIFT:
                return None
            self._quad = new_quad
        else:
            follow = quad + FOLLOW_RATE * (new_quad - quad)
            self._quad = new_quad if self._quad is None else follow
        return face

    def _detect(self, photo: Image.Image, quad: np.ndarray | None) -> TrackedFace:
        if quad is None:
            picture = fit_square(photo, SIDE)
            to_photo = np.diag([photo.width / SIDE] * 2 + [1.0])
        else:
            picture, to_photo = crop_quad(photo, quad, SIDE), quad_to_photo(quad, SIDE)
        image = to_tensor(picture)
        landmarks = self.landmarker(image[None].to(self.device))
        points = landmarks.points[0].float().cpu().double().numpy()  # MPS has no float64
        if not (landmarks.is_face[0] and np.isfinite(points).all()):
            score = float(landmarks.score[0])
            return TrackedFace(image, None, f"no upright face was detected (score {score:.2f})")
        return TrackedFace(image, points @ to_photo[:2, :2].T + to_photo[:2, 2])

    def _lost(self, photo: Image.Image, error: str, other: bool = False) -> TrackedFace:
        """No face; the picture is at the last crop, and the next photo is searched."""
        quad, self._size = self._quad, (0, 0)
        picture = centre_square(photo, SIDE) if quad is None else crop_quad(photo, quad, SIDE)
        return TrackedFace(to_tensor(picture), None, error, other)


def align_landmarks_ffhq(points: Tensor, side: int) -> Tensor:
    """Landmarks (T, K, 2) in pixels of photos -> in pixels of their FFHQ crops, `side` wide.

    Every face is aligned by itself, which removes its position, size and tilt. Landmarks that are
    NaN, or all in one point, become NaN.
    """
    aligned = []
    for face in points.cpu().double().numpy():
        try:
            to_crop = np.linalg.inv(quad_to_photo(ffhq_quad_from_landmarks(face), side))
            aligned.append(face @ to_crop[:2, :2].T + to_crop[:2, 2])
        except PhotoError:
            aligned.append(np.full_like(face, np.nan))
    return torch.from_numpy(np.stack(aligned)).to(points)


def _distance(quad: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two corners, in sides of `other`."""
    return np.hypot(*(quad - other).T).max() / np.hypot(*(other[3] - other[0]))
