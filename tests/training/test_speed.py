"""What a run says about time and disk. Oracles: numbers by hand, and the files themselves."""

from pathlib import Path

import pytest
import torch

from facsimile.commands import train
from facsimile.data import progress
from facsimile.training import TrainingSettings, machine, speed
from facsimile.training import progress as training_progress
from facsimile.training.machine import duration, format_bytes, machine_name, tensor_bytes
from facsimile.training.speed import Speed


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (99, "99 s"),
        (100, "2 min"),
        (60 * 99, "99 min"),
        (60 * 125, "2 h 5 min"),
        (3600 * 51, "2 days 3 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_bytes():
    state = {"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.float64), 3, {"c": "text"}]}
    assert tensor_bytes(state) == 3 * 4 + 2 * 8
    assert format_bytes(2.5e6) == "2 MB"
    assert format_bytes(1.24e9) == "1.2 GB"


def test_the_processor_is_named(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: A  Good CPU @ 2 GHz\nmodel name: other\n")
    monkeypatch.setattr(machine, "CPU_NAMES", info)
    threads = torch.get_num_threads()
    words = f"{threads} thread{'s' * (threads > 1)} of A Good CPU @ 2 GHz"
    assert machine_name(torch.device("cpu")) == words
    monkeypatch.setattr(machine, "CPU_NAMES", tmp_path / "missing")
    assert machine_name(torch.device("cpu"))


@pytest.fixture
def clock(monkeypatch):
    """clock[0]: the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(speed, "machine_name", lambda device: "this machine")
    return now


def test_the_first_step_is_not_timed(clock):
    """10 s for the first step and 2 s for each of the others, of 4 images: 2 images/s."""
    settings = TrainingSettings(out=Path(), images=20_040, batch=4)
    timer, told = Speed(settings, 20, torch.device("cpu")), []
    for step, seconds in enumerate((10, 2, 2, 2, 2), start=1):
        clock[0] += seconds
        told.append(timer.after_step(20 + 4 * step))
    assert told == [False, False, False, True, False]
    clock[0] -= 2
    state = {"recipe": torch.zeros(250_000), "modules": torch.zeros(500_000)}
    assert timer.expectation(36, state) == (
        "2 images/s on this machine: about 2 h 47 min for the other 20004 images, without scores; "
        "about 7 MB of disk, of which two checkpoints of 3 MB"
    )
    assert timer.measured(36) == "16 images in 16 s: 1 images/s on this machine"


def test_the_small_preset_is_proposed_for_long_runs(clock):
    class Settings(TrainingSettings):
        SMALL = {"batch": 4}

    for images, preset, proposed in ((8000, "paper", True), (100, "paper", False)):
        settings = Settings(out=Path(), images=images, batch=4, preset=preset)
        timer = Speed(settings, 0, torch.device("cpu"))
        for step in range(4):
            clock[0] += 2
            timer.after_step(4 * step + 4)
        words = timer.expectation(16, {"recipe": {}})
        assert ("--preset small" in words) == proposed


def test_a_run_tells_its_speed_and_its_disk(tmp_path, tiny, capsys, monkeypatch):
    """What it said of a checkpoint is its size, a complete run keeps one, and where there is no
    terminal nothing but lines is printed, one for each interval."""
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    out = tmp_path / "run"
    assert train.main(tiny(out, images=40, save_every=8)) == 0
    printed = capsys.readouterr()
    (line,) = [x for x in printed.out.splitlines() if " for the other " in x]
    assert " images/s on " in line
    said = float(line.rpartition("two checkpoints of ")[2].removesuffix(" MB"))
    size = (out / "checkpoint.pt").stat().st_size / 1e6
    assert said == pytest.approx(size, abs=0.6)
    assert not (out / "checkpoint-before.pt").exists()
    assert f"{out}, {format_bytes(machine.folder_bytes(out))}" in printed.out
    assert "40 images in " in printed.out
    assert "\r" not in printed.out + printed.err
    lines = [x for x in printed.err.splitlines() if x.startswith("training: ")]
    assert any("40/40" in x for x in lines)
    assert not any("41/40" in x or "44/40" in x for x in lines)


def test_a_quiet_run_prints_nothing(tmp_path, tiny, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(training_progress, "BAR_AFTER", 0.0)
    assert train.main([*tiny(tmp_path, images=40, frechet="discriminator"), "--quiet"]) == 0
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert (tmp_path / "generator.safetensors").is_file()


def test_a_short_run_has_fewer_scores(tmp_path):
    """As many images as were trained on, within bounds, unless a number is given."""
    args = ["generator", "--data", "x", "--resolution", "8", "--out", str(tmp_path), "--images"]
    counts = [train.parse([*args, str(n)])[1].frechet_samples for n in (2, 160, 1_000_000)]
    assert counts == [64, 160, 5_000]
    assert train.parse([*args, "160", "--frechet-samples", "9"])[1].frechet_samples == 9
    args = ["base", "--out", str(tmp_path), "--images"]
    counts = [train.parse([*args, str(n)])[1].evaluation.eval_images for n in (2, 160, 100_000)]
    assert counts == [16, 40, 64]
    given = train.parse([*args, "160", "--eval-images", "9"])[1]
    assert given.evaluation.eval_images == 9
