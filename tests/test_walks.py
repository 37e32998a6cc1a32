"""The walks of docs/architecture.md are those that the program takes: files in order of entry."""

import inspect
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile import data, encoders, stylegan
from facsimile.cli import main

ROOT = Path(__file__).parents[1]


def walk_of(heading):
    """The files of facsimile/ in the numbered list under a heading, in order."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"### {heading}")
    items = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z)", rest.split("\n#")[0], re.M | re.S)
    return [path for item in items for path in re.findall(r"`(facsimile/[\w/]+\.py)`", item)]


def entered(run):
    """The files of facsimile/ whose functions `run` calls, in the order of the first calls."""
    files = []

    def profile(frame, event, _):
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED  # no module's or class's body
        if event != "call" or not is_function or not code.co_filename.startswith(str(ROOT)):
            return
        name = Path(code.co_filename).relative_to(ROOT).as_posix()
        if name.startswith("facsimile/") and name not in files:
            files.append(name)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return files


@pytest.fixture
def folder(tmp_path, make_generator, make_discriminator, make_encoder):
    """A tiny generator with a discriminator, two encoders, and a photo."""
    generator = make_generator(32)
    stylegan.save(generator, tmp_path / "generator.safetensors")
    stylegan.save(make_discriminator(32), tmp_path / "discriminator.safetensors")
    for kind in ("difference", "in-domain"):
        encoders.save(make_encoder(kind, generator), tmp_path / f"{kind}.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "me.png")
    return tmp_path


def call(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    assert left.value.code == 0


@pytest.mark.slow
def test_invert(folder):
    options = ("--generator", folder, "--perceptual", "discriminator", "--device", "cpu")
    files = entered(
        lambda: call(
            *("invert", folder / "me.png", "--out", folder / "out", "--no-align", "--steps", 1),
            *options,
        )
    )
    assert files == walk_of("A photo, from `facsimile invert` to `latents.safetensors`")
    assert (folder / "out" / "me" / "latents.safetensors").is_file()


@pytest.mark.slow
def test_reenact(folder, monkeypatch):
    class Landmarker:
        name = note = "constant"

        def __call__(self, images):
            points = torch.rand(68, 2, generator=torch.Generator().manual_seed(1)) * 32
            ones = torch.ones(len(images))
            return data.Landmarks(points.expand(len(images), -1, -1), ones, ones > 0)

    monkeypatch.setattr(data, "landmarker", lambda *_, **__: Landmarker())
    files = entered(
        lambda: call(
            *("reenact", folder / "me.png", "yaw:10,0", "--out", folder / "out", "--no-align"),
            *("--fps", 2, "--generator", folder, "--device", "cpu"),
        )
    )
    walk = walk_of("A reenacted video, from `facsimile reenact` to `reenacted.mp4`")
    walk.remove("facsimile/reenactment/drivers.py")  # of other drivers than a script
    assert files == walk
    assert (folder / "out" / "reenacted.mp4").is_file()
