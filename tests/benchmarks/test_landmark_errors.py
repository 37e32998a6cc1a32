"""The landmark benchmark, with a judge that sees what the network does, but three pixels beside."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import landmarks, video
from facsimile import checkpoints, data

JUDGE = """
import torch
from facsimile import checkpoints, data
from facsimile.data.landmarks import SmallLandmarker

small = SmallLandmarker(checkpoints.LANDMARKS)

def landmarks68(image):
    if image.mean() > 250:
        return None
    seen = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    return small(seen).points[0].numpy() + [3, 0]
"""


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three samples, and a white picture, in which the judge sees no face."""
    folder = tmp_path / "faces"
    folder.mkdir()
    generator = checkpoints.find("faces").generator
    with torch.no_grad():
        images = generator.synthesize(video.sample(generator, 0, 3)).clamp(-1, 1)
    for index, image in enumerate([*images, torch.ones_like(images[0])]):
        data.to_pil(image).save(folder / f"{index}.png")
    return folder


@pytest.mark.slow
@torch.no_grad()
def test_the_error_is_what_the_judge_is_beside(faces: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    options = landmarks.Options(
        faces=faces,
        identity=tmp_path / "judge.py",
        count=4,
        resolution=128,
        batch=2,
        out=tmp_path / "landmarks.json",
    )
    landmarks.main(options)
    assert "it detects a face in 3 of 4" in capsys.readouterr().out
    rows = json.loads((tmp_path / "landmarks.json").read_text())["landmarks"]
    small = data.landmarker("small", small=checkpoints.LANDMARKS)
    images = torch.stack([data.to_tensor(data.read_photo(x)) for x in sorted(faces.iterdir())])
    points = small(images[:3]).points
    expected = (300 / (points[:, 36] - points[:, 45]).norm(dim=1)).mean()
    assert rows["small"]["error"] == pytest.approx(float(expected), rel=1e-4)
    # Three pixels aside, eyes and mouth are as open as before.
    assert rows["small"]["mouth"] == pytest.approx(1, abs=1e-4)
    assert rows["small"]["eyes"] == pytest.approx(1, abs=1e-4)
    assert rows["small, without the mirror image"]["eyes"] < 0.999
    assert rows["small"]["taken for faces"] == 0.75
    assert rows["small, without the mirror image"]["error"] != rows["small"]["error"]
    assert all(row["faces/s, one by one"] > 0 for row in rows.values())


def test_a_judge_must_have_landmarks(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def identity(image):\n    return None\n")
    with pytest.raises(ValueError, match="landmarks68"):
        landmarks.main(landmarks.Options(faces=faces, identity=tmp_path / "judge.py", count=4))
