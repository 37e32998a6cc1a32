"""The sets of the benchmark of large sets, and a small run of all of it."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import accelerate
import pytest
import torch

from benchmarks import large_sets
from facsimile.commands import train
from facsimile.data import load_images


@pytest.fixture
def options(tmp_path: Path) -> large_sets.Options:
    return large_sets.Options(
        scratch=tmp_path / "scratch",
        count=300,
        in_memory=70,
        resolution=16,
        channel_base=32,
        channel_max=4,
        batch=4,
        steps=20,
        repeats=1,
        resume_steps=4,
        max_gb=100,
        least=0.0,
        data_workers=2,
        threads=1,
    )


def test_the_folder_and_the_zip_hold_the_same_images(options: large_sets.Options) -> None:
    paths = large_sets.write_sets(options)
    images = {name: load_images([path], 16, workers=0) for name, path in paths.items()}
    assert {name: len(x) for name, x in images.items()} == {
        "zip": 300,
        "folder": 300,
        "in memory": 70,
    }
    assert not any(x.failed for x in images.values())
    assert torch.equal(images["zip"].pixels, images["folder"].pixels)
    assert torch.equal(images["zip"].pixels[:70], images["in memory"].pixels)
    contents = {path.read_bytes() for path in paths["folder"].rglob("*.jpg")}
    assert len(contents) == 300
    assert large_sets.write_sets(options) == paths  # they are not written again


def test_memory_of_this_process() -> None:
    pss, rss = large_sets.memory_of(os.getpid())
    assert 0.05 < pss <= rss < 50


class InProcess:
    """A run of the training program in this process, which is faster; as subprocess.Popen."""

    def __init__(self, command: list[str], **_: object) -> None:
        assert command[:2] == [sys.executable, str(large_sets.ROOT / "train.py")]
        self.pid = os.getpid()
        self.returncode = train.main(command[2:])
        accelerate.state.AcceleratorState._reset_state(True)

    def poll(self) -> int:
        return self.returncode


@pytest.mark.exhaustive
def test_a_small_run_of_all(
    options: large_sets.Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Exits with a status where a bound is missed, here that of the rate, which none can reach."""
    commands = []

    def start(command: list[str], **streams: object) -> subprocess.Popen | InProcess:
        command = [*command, *["--z-dim", "8", "--mapping-layers", "1", "--num-samples", "1"]]
        commands.append(command)
        # The first in a process of its own, as it is where memory is measured.
        return (subprocess.Popen if len(commands) == 1 else InProcess)(command, **streams)

    programs = SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(large_sets, "subprocess", programs)
    with pytest.raises(SystemExit, match="1"):
        large_sets.main(replace(options, least=1000.0))
    assert len(commands) == 6
    printed = capsys.readouterr().out
    assert "300 images, zip" in printed
    assert "70 images, in memory" in printed
    assert "stopped and resumed: equal" in printed
    (alone,) = re.findall(
        r"^in memory: TrainingRun\(rate=(.*), pss=(.*), rss=(.*), ", printed, re.M
    )
    rate, pss, rss = map(float, alone)
    assert rate > 0
    assert 0.05 < pss <= rss < 50
