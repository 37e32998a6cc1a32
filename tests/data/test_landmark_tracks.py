"""Files of landmarks over time."""

import json

import numpy as np
import pytest
import torch

from facsimile.data.landmark_tracks import has_face, read_track, write_track


@pytest.fixture
def track():
    return torch.rand(5, 68, 2) * 100


def test_round_trip(track, tmp_path):
    track[1] = torch.nan
    write_track(tmp_path / "a.npz", track, 12.5, list("abcde"))
    points, fps = read_track(tmp_path / "a.npz")
    assert torch.equal(points.nan_to_num(-1), track.nan_to_num(-1))
    assert fps == 12.5
    assert has_face(points).tolist() == [True, False, True, True, True]


def test_json(track, tmp_path):
    path = tmp_path / "a.json"
    for message in ({"landmarks": track[0].tolist(), "photo": "a.jpg"}, track[0].tolist()):
        path.write_text(json.dumps(message))
        points, fps = read_track(path)
        assert torch.equal(points, track[:1])
        assert fps is None
    path.write_text(json.dumps({"landmarks": track.tolist(), "fps": 30}))
    points, fps = read_track(path)
    assert torch.equal(points, track)
    assert fps == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"landmarks": np.zeros((3, 5, 2))}, r"shape \(3, 5, 2\)"),
        ({"landmarks": np.zeros((0, 68, 2))}, r"shape \(0, 68, 2\)"),
        ({"landmarks": np.zeros((68, 3))}, r"shape \(1, 68, 3\)"),
        ({"landmarks": np.full((68, 2), np.inf)}, "infinite"),
        ({"landmarks": np.zeros((68, 2)), "fps": np.array(-1)}, "-1.0 frames a second"),
        ({"points": np.zeros((68, 2))}, "no 'landmarks'"),
        ({"landmarks": np.array(["a"])}, "could not convert"),
        ({"landmarks": np.array([None])}, "Object arrays cannot be loaded"),
    ],
)
def test_other_files(content, message, tmp_path):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(ValueError, match=f"a.npz: got .*{message}"):
        read_track(tmp_path / "a.npz")


def test_broken_files(tmp_path):
    for name in ("a.json", "a.npz"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read_track(tmp_path / name)
        (tmp_path / name).write_text("{")
        with pytest.raises(ValueError, match=f"{name}: got a file with"):
            read_track(tmp_path / name)
    (tmp_path / "a.json").write_text('{"landmarks": [[1, 2], [3]]}')
    with pytest.raises(ValueError, match="a.json: got a file with"):
        read_track(tmp_path / "a.json")
