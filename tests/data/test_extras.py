"""What needs an optional dependency says which extra installs it."""

import sys
from pathlib import Path

import pytest

from facsimile import checkpoints, data
from facsimile.data import fan, video


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV and face-alignment cannot be imported, as if they were not installed."""
    for name in ("av", "face_alignment"):
        monkeypatch.setitem(sys.modules, name, None)
    find_spec = fan.find_spec
    monkeypatch.setattr(
        fan, "find_spec", lambda name: None if name == "face_alignment" else find_spec(name)
    )


def test_videos_name_their_extra(without_extras: None, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    with pytest.raises(video.VideoError, match=r"pip install 'facsimile\[video\]'"):
        video.open_frames(tmp_path / "film.mp4")


def test_fan_names_its_extra(without_extras: None, tmp_path: Path) -> None:
    weights = tmp_path / fan.FILE
    weights.write_bytes(b"weights")
    with pytest.raises(FileNotFoundError, match=r"pip install 'facsimile\[landmarks\]'"):
        data.landmarker("fan", small=checkpoints.LANDMARKS, fan_weights=weights)
    chosen = data.landmarker("auto", small=checkpoints.LANDMARKS, fan_weights=weights)
    assert chosen.name == "small"
