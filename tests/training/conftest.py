"""A folder of little pictures, and the smallest run of `train.py generator` on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """23 pictures of 16 px, some of them not square."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(23):
        pixels = random.integers(0, 255, (16 + index % 3, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def tiny(pictures):
    """tiny(out, **changes) -> arguments of train.py: 8 px, batch 4, everything switched on."""

    def arguments(out, **changes):
        told = {
            "data": pictures,
            "resolution": 8,
            "channel_base": 32,
            "channel_max": 4,
            "latent": 8,
            "mapping_layers": 2,
            "group": 2,
            "batch": 4,
            "images": 80,
            "precision": "fp32",
            "device": "cpu",
            "r1_every": 4,
            "path_every": 3,
            "augment_images": 100,
            "save_every": 8,
            "log_every": 5,
            "samples": 2,
            "frechet": "none",
            "frechet_images": 16,
            "out": out,
        } | changes
        flags = [[f"--{name.replace('_', '-')}", str(value)] for name, value in told.items()]
        return ["generator", *sum(flags, [])]

    return arguments


@pytest.fixture(scope="session")
def live():
    """live((args, kills, processes), ..): train in processes of their own, killed so many times."""

    def run(*jobs):
        names = ("args", "kills", "processes")
        told = json.dumps([dict(zip(names, job, strict=True)) for job in jobs])
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("lives.py")), told],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]

    return run


@pytest.fixture(scope="session")
def tensors():
    """tensors(out) -> every tensor and number of a run's last checkpoint, by its path."""

    def flat(value, name=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flat(inner, f"{name}/{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from flat(inner, f"{name}/{index}")
        else:
            yield name, value

    def read(out):
        return dict(flat(torch.load(out / "checkpoint.pt", weights_only=True)["state"]))

    return read
