"""Curves and sheets."""

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from facsimile.training import Log


def write(out, images_seen, values):
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=out)
    log = Log(accelerator, out, images_seen)
    for x, value in values.items():
        log.scalars({"loss": value}, x)
    accelerator.end_training()


def test_a_resumed_run_replaces_what_followed_its_checkpoint(tmp_path):
    write(tmp_path, 0, {8: 1.0, 16: 2.0, 24: 3.0})
    write(tmp_path, 16, {24: 4.0, 32: 5.0})
    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    assert [(x.step, x.value) for x in events.Scalars("loss")] == [(8, 1), (24, 4), (32, 5)]


def test_sheets_have_eight_columns(tmp_path):
    """Ten images: two rows, the second with six black ones at its end."""
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=tmp_path)
    images = [torch.full((3, 2, 2), value) for value in torch.linspace(-1, 1, 10)]
    path = Log(accelerator, tmp_path, 0).sheet(images, 40)
    accelerator.end_training()
    assert path == tmp_path / "samples-000000040.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (4, 16, 3)
    assert pixels[::2, ::2, 0].tolist() == [
        [0, 28, 57, 85, 113, 142, 170, 198],
        [227, 255, *[0] * 6],
    ]
    assert not list(tmp_path.glob("*.part"))
    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    assert [image.step for image in events.Images("samples")] == [40]
