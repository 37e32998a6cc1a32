"""Faces in photos, and the crop that FFHQ's generators were trained on.

Points and quads are (x, y) in pixels of the photo, measured from its outer corner: the centre of
the first pixel is (0.5, 0.5). Add 0.5 to landmarks that count pixel centres from 0.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps, ImageStat

from .face_choice import read_choice
from .photo_formats import PhotoError

SEARCH_SIDE = 1280
"""Longest side in pixels of the photo in which faces are searched first."""
MIN_PROBABILITY = 0.9
"""Below, a detection is not taken for a face."""
RETRY_MARGIN = 0.25
"""Border of the second search, in longest sides."""

CLOSE_SIDE = 256
"""Side in pixels of the upright crop in which the points are detected again."""
CLOSE_WIDTH = 1.4
"""Side of that crop, in sides of FFHQ's."""

# MTCNN marks pupils and counts pixels from 1; FFHQ was cropped by the means of dlib's eyelids.
# Fitted on 300 aligned FFHQ faces of 128 px, where the right crop is the whole image: without the
# last two numbers, crops are 0.4 % of their side too high and 1.6 % too large; with them, on 150
# other faces of 256 px, 0.0 % and 0.2 % (medians). Single faces scatter by 0.7 % in position, 4 %
# in size and 1.6 degrees, as with another network's 68 landmarks: dlib's scatter is part of that.
MTCNN_ORIGIN = 0.5
EYE_DROP = 0.018
"""From the pupils towards the mouth, in eye-to-mouth distances."""
EYE_DISTANCE = 0.985
"""Distance between the eyes, in distances between the pupils."""

SUPERSAMPLE = 4
"""Sides of the sampled crop per side of the result."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """A detected face."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the photo."""
    probability: float
    points: np.ndarray
    """(5, 2): left eye, right eye, nose, left and right corner of the mouth; as seen."""


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A face cropped as FFHQ's are, with the transform back to the photo."""

    image: Image.Image
    """RGB, side x side."""
    quad: np.ndarray
    """(4, 2): corners of the crop in the photo: top left, bottom left, bottom right, top right."""
    to_photo: np.ndarray
    """(3, 3): maps (x, y, 1) of `image` to the photo; both count from the outer corner."""
    box: tuple[float, float, float, float]
    probability: float


class FaceDetector:
    """Detects faces and five points of each with MTCNN. The same photo gives the same faces: it
    runs on the CPU everywhere, so that no crop depends on a GPU."""

    def __init__(self) -> None:
        from facenet_pytorch import MTCNN  # slow to import, and needs torchvision

        self._mtcnn = MTCNN(keep_all=True, device=torch.device("cpu"))

    def detect(self, photo: Image.Image) -> list[Face]:
        """The faces of an RGB photo, the largest first; empty if there is none."""
        faces = self._search(photo, SEARCH_SIDE, margin=0)
        if not faces:
            # MTCNN misses faces that fill the photo, and small ones. A plain border helps with the
            # former (a mirrored border invents faces), twice the size with the latter.
            faces = self._search(photo, 2 * SEARCH_SIDE, margin=RETRY_MARGIN)
        faces = [self._refine_points(photo, face) for face in faces]
        return sorted(faces, key=lambda face: -_area(face.box))

    def _refine_points(self, photo: Image.Image, face: Face) -> Face:
        """The face with points from an upright crop and its mirror image.

        MTCNN's points get worse as a head tilts: at 40 degrees the corners of the FFHQ crop are
        off by 10 % of its side, and by 2.6 % with these points; upright by 2.6 % and 2.3 %.
        """
        quad = face_quad(face)
        centre = quad.mean(axis=0)
        quad = centre + CLOSE_WIDTH * (quad - centre)
        crop = crop_quad(photo, quad, CLOSE_SIDE)
        upright, mirrored = self._central_points(crop), self._central_points(ImageOps.mirror(crop))
        if upright is None or mirrored is None:
            return face
        mirrored = mirrored[[1, 0, 2, 4, 3]] * (-1, 1) + (CLOSE_SIDE, 0)
        to_photo = quad_to_photo(quad, CLOSE_SIDE)[:2]
        return replace(face, points=(upright + mirrored) / 2 @ to_photo[:, :2].T + to_photo[:, 2])

    def _central_points(self, crop: Image.Image) -> np.ndarray | None:
        """Points (5, 2) of the face in the middle; None if there is none."""
        faces = {_off_centre(face.box): face for face in self._search(crop, CLOSE_SIDE, margin=0)}
        nearest = min(faces, default=np.inf)
        return faces[nearest].points if nearest < 0.2 * CLOSE_SIDE else None

    def _search(self, photo: Image.Image, longest: int, margin: float) -> list[Face]:
        scale = min(1, longest / max(photo.size))
        size = [max(1, round(scale * length)) for length in photo.size]
        border = round(margin * max(size))
        canvas = Image.new("RGB", [length + 2 * border for length in size], (127, 127, 127))
        canvas.paste(photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=3), (border, border))
        if min(canvas.size) < self._mtcnn.min_face_size:  # MTCNN cannot build its pyramid
            return []
        boxes, probabilities, points = self._mtcnn.detect(canvas, landmarks=True)
        if boxes is None:
            return []

        unscale = np.array(photo.size) / size

        def to_photo(xy: np.ndarray) -> np.ndarray:  # (..., 2)
            return (xy.astype(np.float64) - MTCNN_ORIGIN - border) * unscale

        corners, points = to_photo(boxes.reshape(-1, 2, 2)), to_photo(points)
        return [
            Face(box=tuple(box.ravel().tolist()), probability=float(probability), points=five)
            for box, probability, five in zip(corners, probabilities, points, strict=True)
            if probability >= MIN_PROBABILITY
            and (box.mean(axis=0) > 0).all()  # on the photo, not on the border around it
            and (box.mean(axis=0) < photo.size).all()
        ]


def ffhq_quad(
    left_eye: np.ndarray, right_eye: np.ndarray, mouth_left: np.ndarray, mouth_right: np.ndarray
) -> np.ndarray:
    """The crop of FFHQ (Karras et al. 2019, appendix A) from four points, each (2,).

    Returns (4, 2): top left, bottom left, bottom right, top right. PhotoError if eyes and mouth are
    one point.
    """
    left_eye, right_eye, mouth_left, mouth_right = (
        np.asarray(point, dtype=np.float64)
        for point in (left_eye, right_eye, mouth_left, mouth_right)
    )
    eye = (left_eye + right_eye) / 2
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = (mouth_left + mouth_right) / 2 - eye
    x = eye_to_eye - _quarter_turn(eye_to_mouth)
    length = np.hypot(*x)
    if not length > 0:
        raise PhotoError(
            "got eyes and mouth in one point, expected four points of a face; use another photo"
        )
    x *= max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth)) / length
    y = _quarter_turn(x)
    centre = eye + 0.1 * eye_to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def ffhq_quad_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """landmarks: (68, 2), in the order of iBUG 300-W. Returns (4, 2), see `ffhq_quad`."""
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (68, 2):
        raise ValueError(f"got landmarks of shape {landmarks.shape}, expected (68, 2) of one face")
    left_eye, right_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    return ffhq_quad(left_eye, right_eye, landmarks[48], landmarks[54])


def face_quad(face: Face) -> np.ndarray:
    """The crop of FFHQ from MTCNN's points, corrected for their bias. Returns (4, 2)."""
    left_eye, right_eye, _, mouth_left, mouth_right = face.points
    eye = (left_eye + right_eye) / 2
    drop = EYE_DROP * ((mouth_left + mouth_right) / 2 - eye)
    left_eye, right_eye = (eye + EYE_DISTANCE * (p - eye) + drop for p in (left_eye, right_eye))
    return ffhq_quad(left_eye, right_eye, mouth_left, mouth_right)


def align_faces(
    photo: Image.Image,
    side: int,
    detector: FaceDetector,
    which: str = "largest",
) -> list[Aligned]:
    """A face of an RGB photo, or with "all" all from the largest on, as side x side crops.

    which: see `face_choice.EXPECTED`. Raises ValueError for another text, and PhotoError if no such
    face is found.
    """
    choice = read_choice(which)
    faces = detector.detect(photo)
    if not faces:
        raise PhotoError(
            f"got a photo of {photo.width}x{photo.height} without a face that could be found, "
            "expected one seen from the front; use another photo, or --no-align if this one is "
            "aligned already"
        )
    return [align_face(photo, face, side) for face in choice.pick(faces)]


def align_face(photo: Image.Image, face: Face, side: int) -> Aligned:
    """The crop of `face` from an RGB photo as in FFHQ, at side x side pixels."""
    quad = face_quad(face)
    return Aligned(
        image=crop_quad(photo, quad, side),
        quad=quad,
        to_photo=quad_to_photo(quad, side),
        box=face.box,
        probability=face.probability,
    )


def quad_to_photo(quad: np.ndarray, side: int) -> np.ndarray:
    """quad: (4, 2), a parallelogram. Returns (3, 3) from (x, y, 1) of the crop to the photo."""
    top_left, bottom_left, _, top_right = np.asarray(quad, dtype=np.float64)
    matrix = np.eye(3)
    right, down = (top_right - top_left) / side, (bottom_left - top_left) / side
    matrix[:2] = np.stack([right, down, top_left], axis=1)
    return matrix


def crop_quad(photo: Image.Image, quad: np.ndarray, side: int) -> Image.Image:
    """The part of an RGB photo in `quad`, (4, 2), at side x side pixels, antialiased.

    Outside the photo, the crop shows the mirrored photo, which fades out, as in FFHQ. Raises
    PhotoError if the quad is outside the photo altogether, and ValueError for a side below 1.
    """
    if side < 1:
        raise ValueError(f"got a side of {side} pixels, expected at least 1")
    size = np.array(photo.size)
    length = np.hypot(*(quad[3] - quad[0]))
    low, high = np.floor(quad.min(axis=0)), np.ceil(quad.max(axis=0))
    if (high <= 0).any() or (low >= size).any():
        raise PhotoError(
            f"got a face outside the photo (x {low[0]:g} to {high[0]:g}, y {low[1]:g} to "
            f"{high[1]:g}), expected one inside {size[0]}x{size[1]}; use another photo"
        )
    border = np.ceil(0.1 * length)
    box = np.concatenate([low - border, high + border]).clip(0, np.tile(size, 2)).astype(int)
    shrink = max(1, int(length / side / 2))  # so that sampling points below leaves no gaps
    crop = photo.reduce(shrink, box=tuple(box.tolist()))
    crop, origin = _extended(crop, (quad - box[:2]) / shrink, length / shrink)
    corners = (quad - box[:2]) / shrink + origin
    sampled = crop.transform(
        (SUPERSAMPLE * side, SUPERSAMPLE * side),
        Image.Transform.QUAD,
        corners.ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return sampled.resize((side, side), Image.Resampling.LANCZOS)


def _extended(crop: Image.Image, quad: np.ndarray, length: float) -> tuple[Image.Image, np.ndarray]:
    """`crop`, extended on the sides where `quad` leaves it, and the new position of its corner.

    The extension is the mirrored image. It fades into a blurred copy, beginning shortly before the
    edge, and then into one colour, which is reached at the outer border.
    """
    beyond = np.stack([-quad.min(axis=0), quad.max(axis=0) - crop.size])  # (2, 2): before, after
    if (beyond <= 0).all():
        return crop, np.zeros(2)
    pad = np.where(beyond > 0, np.ceil(np.maximum(beyond, 0.3 * length)), 0).astype(int)
    mirrored = np.pad(np.asarray(crop), [*pad.T[::-1].tolist(), (0, 0)], mode="reflect")
    extended = Image.fromarray(mirrored)

    across, down = (_depth(n, *ends) for n, ends in zip(extended.size, pad.T.tolist(), strict=True))
    depth = np.maximum(across[None, :], down[:, None])  # (H, W)
    blurred = extended.filter(ImageFilter.GaussianBlur(float(0.02 * length)))
    extended = Image.composite(blurred, extended, _opacity(1 + 3 * depth))
    colour = Image.new("RGB", extended.size, tuple(ImageStat.Stat(extended).median))
    return Image.composite(colour, extended, _opacity(depth)), pad[0]


def _depth(length: int, before: int, after: int) -> np.ndarray:
    """(length,): 1 at the outer end of a padding, 0 at the photo's edge, below 0 in the photo."""
    centres = np.arange(length, dtype=np.float32) + 0.5
    depth: np.ndarray = np.full(length, -np.inf, dtype=np.float32)
    for distance, pad in ((centres, before), (length - centres, after)):
        if pad:
            depth = np.maximum(depth, 1 - distance / pad)
    return depth


def _opacity(weight: np.ndarray) -> Image.Image:
    return Image.fromarray((weight.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _off_centre(box: tuple[float, float, float, float]) -> float:
    """Distance from the middle of a close crop."""
    return np.hypot(box[0] + box[2] - CLOSE_SIDE, box[1] + box[3] - CLOSE_SIDE) / 2


def _quarter_turn(vector: np.ndarray) -> np.ndarray:
    return np.array([-vector[1], vector[0]])
