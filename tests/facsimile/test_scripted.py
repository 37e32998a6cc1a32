"""Motions as a driver's word: what is read from it, and that nothing else is taken for one."""

import pytest
import torch

from facsimile.editing import mouth, yaw
from facsimile.reenactment.scripted import apply_motions, is_motion, read_motion


def test_words():
    driver = read_motion("yaw:-20,20,0+mouth:open+smile:0.5,0,-1", 10)
    assert driver.poses == [
        {"yaw": -20, "mouth": 1, "smile": 0.5},
        {"yaw": 20, "mouth": 1, "smile": 0},
        {"yaw": 0, "mouth": 1, "smile": -1},
    ]
    assert (driver.single, driver.count, driver.fps) == (False, 31, 10)
    one = read_motion("mouth:closed")
    assert (one.poses, one.single, one.count, one.fps) == ([{"mouth": -1}], True, 1, 25)


def test_files_stay_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("driver.mp4", "c:/me.jpg", "yaw/20.jpg", "http://x/y.mp4", "yaw"):
        assert not is_motion(name)
    assert is_motion("yaw:20")
    (tmp_path / "yaw:20").touch()
    assert not is_motion("yaw:20")


def test_an_expression_comes_before_the_turn():
    """In whichever order they are written."""
    own = 100 * torch.rand(68, 2, generator=torch.Generator().manual_seed(6))
    wanted = yaw(mouth(own[None], 1), 30)[0]
    for text in ("yaw:30+mouth:open", "mouth:open+yaw:30"):
        torch.testing.assert_close(apply_motions(own, read_motion(text).poses[0]), wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jaw:20", 'got "jaw", which is neither a motion nor a file'),
        ("yaw:20+yaw:10", 'got "yaw", twice'),
        ("yaw:left", 'got "left", of yaw'),
        ("yaw:open", 'got "open", of yaw'),
        ("yaw:", 'got "", of yaw'),
        ("yaw:90", "a turn of 90 degrees; expected -45 to 45, of yaw"),
        ("mouth:2", "an amount of 2; expected -1"),
        ("yaw:1,2,3+smile:0,1", "got 2 amounts for smile and 3"),
    ],
)
def test_what_is_no_motion(text, message):
    with pytest.raises(ValueError, match=message):
        read_motion(text)
