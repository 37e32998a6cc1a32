"""Frames of videos, folders and photos, and what is wrong with them; written videos read back."""

import math

import numpy as np
import pytest
from PIL import Image

from facsimile.data import PhotoError
from facsimile.data.film import VideoError
from facsimile.data.frame_times import FPS
from facsimile.data.video import open_frames
from facsimile.data.video_writer import VideoWriter


def grey(level, size=(64, 48)):
    return Image.new("RGB", size, (level, level // 2, 0))


def film(path, count=9, fps=12.5, size=(64, 48)):
    with VideoWriter(path, fps) as video:
        for index in range(count):
            video.write(grey(25 * index, size))
    return path


def levels(frames):
    return [np.asarray(frame.photo)[..., 0].mean() for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_what_was_written_is_read(tmp_path, suffix):
    frames = open_frames(film(tmp_path / f"a{suffix}"))
    assert frames.fps == pytest.approx(12.5)
    assert frames.count == 9
    assert [frame.name for frame in frames][::8] == ["000001", "000009"]
    # Red comes back as red, in the right order, and a second time.
    for _ in range(2):
        assert levels(frames) == pytest.approx([25 * i for i in range(9)], abs=4)
    assert next(iter(frames)).photo.size == (64, 48)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}"]


def test_odd_sides_lose_nothing(tmp_path):
    photo = next(iter(open_frames(film(tmp_path / "a.mp4", size=(65, 49))))).photo
    assert photo.size == (66, 50)


def test_a_video_that_is_cut_off_keeps_its_frames(tmp_path):
    def stopped():
        with VideoWriter(tmp_path / "a.mp4", 25) as video:
            for index in range(5):
                video.write(grey(40 * index))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(list(open_frames(tmp_path / "a.mp4"))) == 5


def test_a_writer_without_frames_leaves_nothing(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_writing(tmp_path):
    with pytest.raises(VideoError, match=r'called ".gif", expected .mp4 or .webm'):
        VideoWriter(tmp_path / "a.gif", 25)
    with VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(grey(0))
        with pytest.raises(VideoError, match=r"got a frame of \(32, 48\)"):
            video.write(grey(0, (32, 48)))


def test_folders_and_photos(tmp_path):
    for index in (10, 2, 1):
        grey(20 * index).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    frames = open_frames(tmp_path)
    assert (frames.count, frames.fps) == (4, FPS)
    pictures = list(frames)
    assert [frame.name for frame in pictures] == ["1.png", "2.png", "3.png", "10.png"]
    assert "3.png: got something else than an image" in pictures[2].error
    assert pictures[2].photo is None
    assert levels([pictures[0], pictures[3]]) == [20, 200]
    one = open_frames(tmp_path / "2.png", fps=5)
    assert (one.count, one.fps, levels(one)) == (1, 5, [40])


def test_what_cannot_be_opened(tmp_path):
    def refused(name, content, error, message):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=message):
            open_frames(tmp_path / name)

    whole = film(tmp_path / "whole.mp4").read_bytes()
    refused("none.mp4", None, FileNotFoundError, "no such file or folder")
    refused("empty.mp4", b"", VideoError, "empty file")
    refused("text.mp4", b"this is no video" * 99, VideoError, "damaged video")
    refused("cut.mp4", whole[: len(whole) // 3], VideoError, "without a frame that can be read")
    refused("a.txt", b"text", VideoError, r'called ".txt", expected a video')
    refused("a.png", b"text", PhotoError, "something else than an image")
    (tmp_path / "folder").mkdir()
    refused("folder", None, VideoError, "without a photo")
    film(tmp_path / "small.mp4", size=(8, 8))
    refused("small.mp4", None, VideoError, "frames of 8x8 pixels")
    with pytest.raises(VideoError, match="nan frames a second"):
        open_frames(tmp_path / "whole.mp4", math.nan)


def test_frames_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    """Flat memory: the tenth photo of a folder is not opened for the first."""
    from facsimile.data import video

    for index in range(10):
        grey(20 * index).save(tmp_path / f"{index}.png")
    opened = []
    read = video.read_photo
    monkeypatch.setattr(video, "read_photo", lambda path: (opened.append(path), read(path))[1])
    frames = iter(open_frames(tmp_path))
    for _ in range(3):
        next(frames)
    assert len(opened) == 3
