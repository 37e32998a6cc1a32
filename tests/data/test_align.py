"""The FFHQ crop against hand-made geometry, and MTCNN against a photo of scikit-image."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from facsimile.data.align import (
    Face,
    FaceDetector,
    align_face,
    align_faces,
    crop_quad,
    face_quad,
    ffhq_quad,
    ffhq_quad_from_landmarks,
    quad_to_photo,
)
from facsimile.data.photo_formats import PhotoError

POINTS = np.array([(40, 50), (60, 50), (45, 75), (55, 75)], dtype=float)  # eyes, mouth corners


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


def turned(points: np.ndarray, angle: float, scale: float = 1, shift=(0, 0)) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]]) + shift


def square(centre: tuple[float, float], side: float, angle: float = 0) -> np.ndarray:
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * side / 2
    return turned(corners, angle, shift=centre)


def test_quad_by_hand():
    # eye distance 20, eye to mouth 25: half side max(2.0 * 20, 1.8 * 25) = 45, centre 2.5 below.
    expected = [(5, 7.5), (5, 97.5), (95, 97.5), (95, 7.5)]
    np.testing.assert_allclose(ffhq_quad(*POINTS), expected)
    # mouth nearer: half side 2.0 * 20 = 40, and the centre 0.1 * 15 below the eyes.
    nearer = ffhq_quad(*POINTS[:2], (45, 65), (55, 65))
    np.testing.assert_allclose(nearer, [(10, 11.5), (10, 91.5), (90, 91.5), (90, 11.5)])


@pytest.mark.parametrize("angle", [0.3, -1.2, 3.0])
def test_quad_moves_with_the_face(angle):
    moved = ffhq_quad(*turned(POINTS, angle, 1.7, (30, -8)))
    np.testing.assert_allclose(moved, turned(ffhq_quad(*POINTS), angle, 1.7, (30, -8)))


def test_quad_from_landmarks_takes_means_of_eyes_and_corners_of_mouth():
    landmarks = np.full((68, 2), np.nan)  # nothing else may count
    landmarks[36:42] = POINTS[0] + [(-3, 1), (-1, -2), (1, -2), (3, 1), (1, 1), (-1, 1)]
    landmarks[42:48] = POINTS[1] + [(-3, 1), (-1, -2), (1, -2), (3, 1), (1, 1), (-1, 1)]
    landmarks[48], landmarks[54] = POINTS[2], POINTS[3]
    np.testing.assert_allclose(ffhq_quad_from_landmarks(landmarks), ffhq_quad(*POINTS))
    with pytest.raises(ValueError, match=r"got landmarks of shape \(5, 2\), expected \(68, 2\)"):
        ffhq_quad_from_landmarks(np.zeros((5, 2)))


def test_points_of_no_face_are_refused():
    with pytest.raises(PhotoError, match="got eyes and mouth in one point, expected four points"):
        ffhq_quad(*np.full((4, 2), 7.0))


@pytest.mark.parametrize("angle", [0, 0.4, -2.5])
@pytest.mark.parametrize("length", [90, 420])  # magnified, and shrunk before sampling
def test_known_points_land_where_they_must(angle, length):
    quad, side = square((300.3, 250.8), length, angle), 100
    placed = np.array([(25, 30), (70, 22), (48.5, 50), (30, 77.25), (80, 80)])  # in the crop
    photo_points = turned((placed - 50) * length / side, angle, shift=(300.3, 250.8))
    y, x = np.mgrid[:500, :600] + 0.5
    sigma = 3 * length / side
    dots = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in photo_points)
    photo = Image.fromarray((255 * dots.clip(0, 1)).astype(np.uint8)).convert("RGB")

    crop = np.asarray(crop_quad(photo, quad, side))[..., 1].astype(float)
    to_photo = quad_to_photo(quad, side)
    for (a, b), in_photo in zip(placed, photo_points, strict=True):
        y, x = np.mgrid[:side, :side] + 0.5
        near = crop * ((x - a) ** 2 + (y - b) ** 2 < 100)
        centroid = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        np.testing.assert_allclose(centroid, (a, b), atol=0.15)
        np.testing.assert_allclose((to_photo @ (a, b, 1))[:2], in_photo, atol=1e-9)


def test_the_whole_of_a_photo_is_itself(astronaut):
    photo = astronaut.resize((256, 256), Image.Resampling.BOX)
    crop = crop_quad(photo, square((128, 128), 256), 256)
    difference = np.abs(np.asarray(crop).astype(int) - np.asarray(photo))
    # Sampled at four times the size and shrunk: not bit for bit. A shift by one pixel makes 10.
    assert difference.mean() < 2.5


@pytest.mark.parametrize("angle", [0, 0.5])
@pytest.mark.parametrize("cut", ["left", "top", "right", "bottom"])
def test_a_quad_beyond_the_photo_is_filled(astronaut, cut, angle):
    low, high = 160, 352  # of 512: the quad reaches past them by up to 60
    box = {
        "left": (low, 0, 512, 512),
        "top": (0, low, 512, 512),
        "right": (0, 0, high, 512),
        "bottom": (0, 0, 512, high),
    }[cut]
    bright = Image.fromarray(np.asarray(astronaut) // 2 + 120)  # nothing below 120: no black
    quad, side = square((256, 256), 240, angle), 96
    full = np.asarray(crop_quad(bright, quad, side)).astype(int)
    filled = np.asarray(crop_quad(bright.crop(box), quad - box[:2], side)).astype(int)
    assert filled.min() >= 105  # Lanczos overshoots

    y, x = np.mgrid[:side, :side] + 0.5
    in_photo = np.stack([x, y, np.ones_like(x)], -1) @ quad_to_photo(quad, side)[:2].T
    margin = np.minimum(in_photo - box[:2], box[2:] - in_photo).min(axis=-1)
    covered, outside = margin > 0.1 * 240 + 3, margin < 0
    assert covered.mean() > 0.4
    assert outside.mean() > 0.05
    assert np.abs(filled - full)[covered].max() <= 2
    ends = filled[margin < 0.8 * margin.min()]
    assert ends.std(axis=0).max() < filled[covered].std(axis=0).max()  # fades to one colour


def test_a_quad_that_misses_the_photo_is_refused():
    with pytest.raises(PhotoError, match=r"got a face outside the photo .* inside 64x48; use"):
        crop_quad(Image.new("RGB", (64, 48)), square((200, 20), 40), 32)
    with pytest.raises(ValueError, match="got a side of 0 pixels, expected at least 1"):
        crop_quad(Image.new("RGB", (64, 48)), square((32, 24), 40), 0)


def test_detector_finds_the_astronaut(detector, astronaut):
    (face,) = detector.detect(astronaut)
    assert face.probability > 0.99
    np.testing.assert_allclose(face.box, (180, 62, 267, 172), atol=8)  # read off the photo
    by_eye = [(205, 101), (246, 103), (225, 128), (202, 139), (245, 141)]
    np.testing.assert_allclose(face.points, by_eye, atol=4)


def test_large_photos_are_shrunk_and_their_points_scaled_back(detector, astronaut):
    large = astronaut.resize((2048, 2048), Image.Resampling.BICUBIC)
    (small_face,), (large_face,) = detector.detect(astronaut), detector.detect(large)
    np.testing.assert_allclose(large_face.points / 4, small_face.points, atol=1.5)


def test_an_aligned_face_is_aligned(detector, astronaut):
    (aligned,) = align_faces(astronaut, 256, detector)
    assert aligned.image.size == (256, 256)
    assert aligned.image.mode == "RGB"
    assert aligned.probability > 0.99
    (again,) = detector.detect(aligned.image)
    whole = [(0, 0), (0, 256), (256, 256), (256, 0)]
    np.testing.assert_allclose(face_quad(again), whole, atol=0.03 * 256)
    # FFHQ's eyes: level, 0.38 and 0.62 across, a little above the middle
    np.testing.assert_allclose(again.points[:2] / 256, [(0.38, 0.47), (0.62, 0.47)], atol=0.02)
    centre = aligned.to_photo @ (128, 128, 1)
    np.testing.assert_allclose(centre[:2], aligned.quad.mean(axis=0))
    assert aligned.box[0] < centre[0] < aligned.box[2]


@pytest.mark.parametrize("tilt", [-40, 25])
def test_a_tilted_head_is_set_upright(detector, astronaut, tilt):
    (straight,) = align_faces(astronaut, 64, detector)
    (tilted,) = align_faces(astronaut.rotate(tilt, Image.Resampling.BICUBIC), 64, detector)
    expected = turned(straight.quad - 256, -np.radians(tilt), shift=(256, 256))
    side = np.hypot(*(straight.quad[3] - straight.quad[0]))
    np.testing.assert_allclose(tilted.quad, expected, atol=0.04 * side)


def test_two_faces_largest_first(detector, astronaut):
    photo = Image.new("RGB", (768, 512), (90, 90, 90))
    photo.paste(astronaut.resize((256, 256), Image.Resampling.BOX), (0, 100))
    photo.paste(astronaut, (256, 0))
    both = align_faces(photo, 64, detector, "all")
    centres = [aligned.quad.mean(axis=0)[0] for aligned in both]
    np.testing.assert_allclose(centres, [256 + 224, 112], atol=10)
    (largest,) = align_faces(photo, 64, detector)
    assert np.array_equal(largest.quad, both[0].quad)
    (left,) = align_faces(photo, 64, detector, "left")
    assert np.array_equal(left.quad, both[1].quad)
    with pytest.raises(ValueError, match="got face .best., expected largest, left, right"):
        align_faces(photo, 64, detector, "best")


def test_a_small_face_is_found_at_the_second_look(detector, astronaut):
    photo = Image.new("RGB", (6000, 400), (127, 127, 127))
    photo.paste(astronaut.resize((256, 256), Image.Resampling.BOX), (3000, 100))
    assert detector._search(photo, 1280, margin=0) == []  # 9 pixels wide there
    (face,) = detector.detect(photo)
    (known,) = detector.detect(astronaut)
    np.testing.assert_allclose((face.points - (3000, 100)) * 2, known.points, atol=4)


def test_a_face_at_the_border(detector, astronaut):
    cut = astronaut.crop((178, 0, 512, 512))  # the box touches the left edge
    (aligned,) = align_faces(cut, 128, detector)
    (whole,) = align_faces(astronaut, 128, detector)
    assert aligned.quad[:, 0].min() < -10
    pixels = np.asarray(aligned.image)
    assert (pixels[:, :12].max(axis=-1) > 60).all()  # hair and wall continued: no black wedge
    inside = (slice(24, 104), slice(64, 104))
    difference = pixels[inside].astype(float) - np.asarray(whole.image)[inside]
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("size", [(300, 200), (16, 16), (2000, 16)])
def test_no_face_says_what_to_do(detector, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    for photo in (Image.new("RGB", size, (80, 120, 60)), Image.fromarray(noise)):
        with pytest.raises(PhotoError, match=rf"{size[0]}x{size[1]} without a face.*--no-align"):
            align_faces(photo, 64, detector)


def test_align_needs_no_detector(astronaut):
    points = np.array([(205, 101), (246, 103), (225, 128), (202, 139), (245, 141)], dtype=float)
    face = Face(box=(180, 62, 267, 172), probability=1.0, points=points)
    aligned = align_face(astronaut, face, 64)
    np.testing.assert_allclose(aligned.to_photo @ (0, 0, 1), (*aligned.quad[0], 1))
    np.testing.assert_allclose(aligned.to_photo @ (64, 64, 1), (*aligned.quad[2], 1))
    assert np.array_equal(aligned.image, crop_quad(astronaut, face_quad(face), 64))


def test_importing_data_stays_light():
    code = "import sys, data; print({'torchvision', 'facenet_pytorch', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
