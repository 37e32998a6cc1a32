"""The demo, with a few steps: the first thing that a newcomer runs."""

import pytest
from PIL import Image

from facsimile import pictures
from facsimile.commands import demo
from facsimile.stylegan import Latents


@pytest.mark.slow
def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "MOTIONS", demo.MOTIONS[:1])
    monkeypatch.setattr(demo, "MORPH_FRAMES", 4)
    assert demo.demo(tmp_path, {"f/z+": 2, "w+ +noise": 2}) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("f/z+", "w+ +noise"))]
    assert [row.split()[-1] for row in rows] == [
        str(tmp_path / "f-z-plus" / "astronaut"),
        str(tmp_path / "w-plus-noise" / "astronaut"),
    ]
    assert [int(row[12:19]) for row in rows] == [2, 3]
    for folder in ("f-z-plus", "w-plus-noise"):
        assert len(Latents.load(tmp_path / folder / "astronaut" / "latents.safetensors")) == 1
    with Image.open(tmp_path / "demo.png") as picture, Image.open(tmp_path / "aligned.png") as face:
        # The photo, two inversions and three motions; below them a morph of as many frames.
        side = (picture.width + pictures.GAP) // (3 + len(demo.MOTIONS)) - pictures.GAP
        assert picture.height == 2 * (side + pictures.LABEL) + pictures.GAP
        panel = picture.crop((0, pictures.LABEL, side, pictures.LABEL + side))
        assert panel.resize(face.size, Image.Resampling.NEAREST).tobytes() == face.tobytes()


def test_the_command_runs_the_demo(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(demo, "demo", lambda *args: calls.append(args) or 0)
    assert demo.Demo(out=tmp_path).run() == 0
    assert calls == [(tmp_path, demo.RECIPES, "auto")]
