"""Reenactment by a video is timed, and fails when frames or memory are lost."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import video
from facsimile import checkpoints, encoders


@pytest.mark.slow
@pytest.mark.parametrize("align", [True, False])
def test_the_video_has_faces_and_in_between_none(align: bool) -> None:
    generator = checkpoints.find("faces").generator
    options = video.Options(frames=20, faceless=3, align=align)
    frames = [np.asarray(frame) for frame in video.make_frames(generator, options)]
    side = generator.resolution
    assert {frame.shape for frame in frames} == {(360, 480, 3) if align else (side, side, 3)}
    assert [number for number, frame in enumerate(frames) if np.ptp(frame) <= 1] == [2, 3, 4]
    # It goes on from frame to frame, and ends near where it began.
    distances = [np.abs(frames[0].astype(float) - frame).mean() for frame in frames]
    assert max(distances[1], distances[-1]) < max(distances) / 2


@pytest.mark.exhaustive
def test_frames_are_counted_at_both_ends(tmp_path: Path, make_encoder, capsys) -> None:
    encoder = make_encoder("difference", checkpoints.find("faces").generator)
    encoders.save(encoder, tmp_path / "difference.safetensors")
    told = {"frames": 20, "faceless": 3, "align": False, "marks": (10, 20), "out": tmp_path}
    told["encoders"] = (tmp_path / "difference.safetensors",)
    with pytest.raises(SystemExit):
        video.main(video.Options(**told, limit=-1000))
    assert "20 frames in, 20 out; 3 without a face, 3 counted" in capsys.readouterr().out
