"""Threads and memory. Oracles: a machine whose load is known, and the allocators' own errors."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from facsimile import devices, threads
from facsimile.cli import main
from facsimile.commands.sample import Sample
from facsimile.devices import Batch, is_out_of_memory, set_threads
from facsimile.threads import LoadMeter, free_cores


class Meter:
    """Other programs keep so many cores busy."""

    def __init__(self, taken):
        self.taken = taken

    def cores_taken(self):
        return self.taken


@pytest.fixture
def four_cores(monkeypatch):
    """A machine and a process of four cores; returns the numbers of threads that are set."""
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    return chosen


@pytest.mark.parametrize(("taken", "threads"), [(0.2, 4), (1.0, 3), (1.7, 2), (4.0, 1), (9.0, 1)])
def test_threads_are_those_that_others_leave(four_cores, taken, threads):
    note = set_threads(None, Meter(taken))
    if threads == 4:
        assert (note, four_cores) == ("", [])
    else:
        assert four_cores == [threads]
        assert note.startswith(f"threads: {threads} of 4, as other programs keep {taken:.1f} cores")


def test_what_is_asked_for_comes_first(four_cores, monkeypatch):
    assert set_threads(3, Meter(4.0)) == ""
    assert four_cores == [3]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert set_threads(None, Meter(4.0)) == ""
    assert four_cores == [3]
    with pytest.raises(ValueError, match="--threads is 0; expected at least 1"):
        set_threads(0, Meter(0.0))


def test_cores_of_others_are_told_from_the_own(monkeypatch):
    """Of four cores and two seconds, 3 s were idle, and 2 s of the rest were this process's."""
    clock = SimpleNamespace(now=10.0, idle=100.0, own=5.0)
    time = SimpleNamespace(
        monotonic=lambda: clock.now, process_time=lambda: clock.own, sleep=lambda _: None
    )
    monkeypatch.setattr(threads, "time", time)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(idle=clock.idle, iowait=0))
    meter = LoadMeter()
    clock.now, clock.idle, clock.own = 12.0, 103.0, 7.0
    assert meter.cores_taken() == pytest.approx((4 * 2 - 3 - 2) / 2)
    assert free_cores(meter.cores_taken()) >= 1


def test_threads_sleep_while_they_wait():
    """The program says so before torch is imported, and heeds what the environment says."""
    code = (
        "import os, sys; from facsimile import threads; threads.wait_without_spinning(); "
        "print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    )
    for given, found in ({}, "PASSIVE False"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE False"):
        ran = subprocess.run(
            [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == found


def test_out_of_memory_halves_the_batch(capsys):
    batch = Batch(5, "frame")
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
    for error, size in ((cpu, 2), (torch.OutOfMemoryError("CUDA"), 1)):
        assert is_out_of_memory(error)
        batch.halve(error)
        assert batch.size == size
        assert f"out of memory: from now on {size} frame" in capsys.readouterr().err
    with pytest.raises(MemoryError):
        batch.halve(MemoryError())
    other = RuntimeError("shapes do not match")
    assert not is_out_of_memory(other)
    with pytest.raises(RuntimeError, match="shapes"):
        Batch(8, "frame").halve(other)


def test_ctrl_c_prints_the_command_that_goes_on(monkeypatch, capsys, tmp_path):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sample, "run", interrupted)
    out = tmp_path / "my samples"
    with pytest.raises(SystemExit) as left:
        main(["sample", "--out", str(out), "--threads", "1"])
    assert left.value.code == 130
    assert f"to go on: facsimile sample --out '{out}' --threads 1" in capsys.readouterr().err


def test_quiet(monkeypatch, capsys, tmp_path):
    def loud(self):
        print("a result")
        return 0

    monkeypatch.setattr(Sample, "run", loud)
    for more, said in ([], "a result\n"), (["--quiet"], ""):
        with pytest.raises(SystemExit):
            main(["sample", "--out", str(tmp_path / "samples"), "--threads", "1", *more])
        assert capsys.readouterr().out == said


def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match='"gpu" is not a device; choose auto, cpu'):
        devices.pick_device("gpu")
