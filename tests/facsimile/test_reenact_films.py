"""Reenactment by films as people have them: their times, their sound, and one person of several.

The landmark network is a stand-in that reads a pose from a picture's brightness.
"""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from films import click, onset, write_film
from PIL import Image

import facsimile
from facsimile import data
from facsimile.cli import main
from facsimile.data.video import open_frames
from facsimile.reenactment import DriverFrame, ReenactedFrame, VideoDriver
from facsimile.reenactment.frame_view import FOLLOWED, HELD, SIDE, show_face
from facsimile.reenactment.output import side_by_side
from facsimile.reenactment.pairs import list_pairs

FACE = torch.rand(68, 2, generator=torch.Generator().manual_seed(3))
MOVE = torch.rand(68, 2, generator=torch.Generator().manual_seed(4)) - 0.5
TIMES = [0.0, 0.04, 0.08, 0.12, 1.32, 1.36, 1.40]
"""Of a film with a gap, in seconds."""


class Grey:
    name, note = "grey", "landmarks: of greys"

    def __call__(self, images):
        level = images.mean((1, 2, 3))
        points = images.shape[-1] * (FACE + 0.3 * level[:, None, None] * MOVE)
        return data.Landmarks(points, (level + 1) / 2, level > -0.9)


@pytest.fixture(scope="module")
def studio(network, moving):
    return facsimile.load(network, perceptual="none", encoders=moving, device="cpu")


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """With a gap of 1.2 s; a tone begins at 0.5 s."""
    path = tmp_path_factory.mktemp("films") / "talking.mkv"
    pictures = [np.full((32, 32, 3), 90 + 20 * k, np.uint8) for k in range(len(TIMES))]
    sound = ("flac", click(16000, 1.44), 16000, 0)
    return write_film(path, TIMES, codec="ffv1", pictures=pictures, sound=sound)


@pytest.fixture
def reenact(studio, squares):
    def run(driver, **options):
        options = {"landmarks": Grey(), "align": False, "source_steps": 0} | options
        return studio.reenact(squares / "0.png", driver, **options)

    return run


def test_the_result_has_the_film_s_time_and_sound(reenact, talking, tmp_path):
    said = reenact(talking).save(tmp_path / "out")
    assert (said["frames"], said["fps"], said["sound"]) == (36, 25, "flac, transcoded to aac")
    assert (
        "from 0.12 s to 1.32 s there is none, and the last one is held" in said["driver_notes"][0]
    )
    for name in ("reenacted.mp4", "side_by_side.mp4"):
        began, codec, end = onset(tmp_path / "out" / name)
        assert (codec, began) == ("aac", pytest.approx(0.5, abs=0.03))
        with av.open(str(tmp_path / "out" / name)) as film:
            assert film.duration / 1e6 == pytest.approx(1.44, abs=0.02)
    # The sound is a choice, and part of what is done.
    found = reenact(talking)
    assert found.is_done(tmp_path / "out")
    assert not found.is_done(tmp_path / "out", audio=False)
    assert "sound" not in found.save(tmp_path / "silent.mp4", audio=False)
    assert open_frames(tmp_path / "silent.mp4").sound is None


def test_a_held_frame_is_one_pose_synthesized_once(reenact, talking):
    found, asked = reenact(talking, batch=50), []
    synthesize = found.synthesize
    found.synthesize = lambda landmarks: (asked.append(len(landmarks)), synthesize(landmarks))[1]
    frames = list(found)
    assert asked == [len(TIMES)]
    assert [frame.driver.repeated for frame in frames] == [False] * 4 + [True] * 29 + [False] * 3
    for frame in frames[4:33]:
        assert torch.equal(frame.landmarks, frames[3].landmarks)
        assert torch.equal(frame.image, frames[3].image)
    assert [frame.driver.name for frame in frames] == [f"{k:06d}" for k in range(1, 37)]
    assert found.frames_without_face == found.frames_of_others == 0


def test_the_landmarks_of_a_film_keep_its_time(reenact, talking, tmp_path):
    """They drive another source to the same poses."""
    found = reenact(talking, smoothing=0)
    found.save(tmp_path / "out", video=None)
    again = reenact(tmp_path / "out" / "landmarks.npz", smoothing=0)
    poses = [torch.stack([frame.landmarks for frame in run]) for run in (found, again)]
    torch.testing.assert_close(*poses)


def test_the_command(moving, network, talking, squares, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "landmarker", lambda *_, **__: Grey())
    told = ["reenact", squares / "0.png", talking, "--out", tmp_path / "out", "--no-audio"]
    told += [x for path in moving for x in ("--encoder", path)]
    told += ["--generator", network, "--device", "cpu", "--no-align", "--source-steps", 0]
    with pytest.raises(SystemExit) as left:
        main([str(x) for x in [*told, "--fps", 20]])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "driver: 20 frames/s, as asked for; every frame stays at its time; from 0.12 s" in said
    assert "29 frames" in said
    assert "sound" not in json.loads((tmp_path / "out" / "summary.json").read_text())
    with pytest.raises(SystemExit) as left:
        main([str(x) for x in [*told, "--face", "tallest"]])
    assert left.value.code == 2
    assert "got face 'tallest', expected largest, left" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main([str(x) for x in [*told, "--source-face", "left"]])
    assert left.value.code == 2
    assert "got face 'left' with --no-align" in capsys.readouterr().err


class People:
    """A tracker's detector that sees as many faces as the picture is bright."""

    def detect(self, photo):
        return [None] * round(np.asarray(photo).mean() / 100)


class Tracker:
    def __init__(self, choice=None):
        self.detector, self.choice, self.identity = People(), choice, None

    def again(self, choice):
        return Tracker(choice)


def test_all_faces_make_a_result_each(tmp_path):
    """Every face of every photo with every person of the driver, in folders of their own."""
    for index, level in enumerate((0, 200, 100)):
        Image.new("RGB", (32, 32), (level,) * 3).save(tmp_path / f"{index}.png")
    driver = VideoDriver(open_frames(tmp_path), Tracker(), 32)
    assert "the face nearest to the last one is followed" in driver.notes[-1]
    photos = [Path("a.jpg"), Path("b.jpg"), Path("c.mp4.jpg")]

    def named(source_face, face):
        pairs = list_pairs(photos, tmp_path / "out", source_face, driver, face, lambda _: 2)
        for pair in pairs:
            chosen = pair.driver.tracker.choice
            yield pair.name, pair.face, chosen and chosen.text

    assert list(named("left", "2")) == [
        *(("a", "left", None), ("b", "left", None), ("c.mp4-2", "left", None))
    ]
    every = list(named("all", "all"))
    assert every[:4] == [
        *(("a-driver1", "1", "1"), ("a-driver2", "1", "2")),
        *(("a-face2-driver1", "2", "1"), ("a-face2-driver2", "2", "2")),
    ]
    assert len({name for name, _, _ in every}) == len(every) == 12


def test_what_is_followed_is_drawn():
    """A square of the frame's, green while the face is there and red where it was last."""
    photo = Image.new("RGB", (400, 200))
    quad = np.array([(100, 50), (100, 150), (200, 150), (200, 50)])
    for there, colour in ((True, FOLLOWED), (False, HELD)):
        shown = np.asarray(data.to_pil(show_face(photo, quad, there))).astype(int)
        rows, columns = np.nonzero(np.abs(shown - colour).sum(2) < 30)
        top = SIDE / 4  # of the frame within the square
        expected = [
            100 * SIDE / 400,
            200 * SIDE / 400,
            top + 50 * SIDE / 400,
            top + 150 * SIDE / 400,
        ]
        found = [columns.min(), columns.max(), rows.min(), rows.max()]
        assert found == pytest.approx(expected, abs=3)
    points, image = torch.rand(68, 2) * 32, torch.zeros(3, 32, 32)
    plain = DriverFrame("1", points, points, torch.zeros(3, 64, 64))
    widths = [
        side_by_side(ReenactedFrame(image, points, frame, {}), image).width
        for frame in (plain, DriverFrame("1", points, points, plain.picture, film=image))
    ]
    assert widths[1] > widths[0] * 1.2


def test_rates_are_exact(tmp_path):
    """Such as 30000/1001, in which a float's error would add up."""
    path = write_film(
        tmp_path / "a.mp4", [k * 1001 / 30000 for k in range(5)], base=Fraction(1, 30000)
    )
    frames = open_frames(path)
    assert frames.fps == pytest.approx(30000 / 1001, abs=1e-9)
    assert frames.count == 5
