"""The command `facsimile landmarks`, on the bundled network."""

import json

import numpy as np
import pytest
from PIL import Image

from facsimile import data
from facsimile.cli import main
from facsimile.data.landmark_files import match_landmarks

QUAD = np.array([[144.2, 17.5], [135.8, 187.4], [305.7, 195.8], [314.1, 26.0]])

FIVE = np.array([[203.6, 100.9], [246.7, 103.5], [223.9, 129.4], [202.3, 139.4], [245.3, 142.3]])


def command(*args):
    with pytest.raises(SystemExit) as left:
        main(["landmarks", *(str(arg) for arg in args), "--landmarks", "small", "--device", "cpu"])
    return left.value.code


def test_landmarks_of_aligned_photos(photo, squares, tmp_path, capsys):
    """Points in pixels of the file, a picture, and labels for train.py; no face is status 1."""
    face = data.crop_quad(photo, QUAD, 100)
    face.save(tmp_path / "face.png")
    face.resize((200, 200)).save(tmp_path / "large.png")
    photos = (tmp_path / "face.png", tmp_path / "large.png", squares / "0.png")
    before = (tmp_path / "face.png").read_bytes()
    assert command(tmp_path / "face.png", "--out", tmp_path, "--no-align") == 0
    assert (tmp_path / "face.png").read_bytes() == before
    assert (tmp_path / "face-2.json").exists()
    assert command(*photos, "--out", tmp_path / "out", "--no-align") == 1
    captured = capsys.readouterr()
    assert "landmarks: the small network" in captured.out
    assert "2 faces, 1 photos failed" in captured.out
    assert "0.png: got a picture in which the landmark network sees no upright face" in captured.err
    said = json.loads((tmp_path / "out" / "face.json").read_text())
    points = np.array(said["landmarks"])
    assert points.shape == (68, 2)
    larger = np.array(json.loads((tmp_path / "out" / "large.json").read_text())["landmarks"])
    assert np.abs(larger - 2 * points).max() < 3
    with Image.open(tmp_path / "out" / "face.png") as picture:
        assert picture.height == 256
    assert not (tmp_path / "out" / "0.json").exists()
    images = data.load_images([tmp_path / "face.png", tmp_path / "large.png"], 64)
    kept, labels = match_landmarks(images, tmp_path / "out" / "landmarks.npz")
    assert kept.names == images.names
    assert np.abs(labels[0].numpy() - 0.64 * points).max() < 0.01


def test_landmarks_in_a_photo(photo, tmp_path, monkeypatch):
    """Found wherever the face is: points come back into the photo."""

    class Detector:
        """Sees the face where MTCNN does, and takes no second for it."""

        def detect(self, photo):
            return [data.Face(box=(178, 48, 274, 180), probability=1.0, points=FIVE)]

    monkeypatch.setattr(data, "FaceDetector", Detector)
    photo.save(tmp_path / "me.png")
    assert command(tmp_path / "me.png", "--out", tmp_path / "out") == 0
    points = np.array(json.loads((tmp_path / "out" / "me.json").read_text())["landmarks"])
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    assert np.abs(np.array(eyes) - [(204, 102), (247, 104)]).max() < 4


def test_wrong_use(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert command(tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert "no photo found in" in capsys.readouterr().err
    assert command(tmp_path / "none.png", "--out", tmp_path / "out") == 2
    assert "none.png: no such file" in capsys.readouterr().err
