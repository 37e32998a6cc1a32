"""Freed memory is retained: large tensors are made again without page faults."""

import os
import subprocess
import sys

import pytest

from facsimile.training import malloc

COUNT = """
import resource, runpy, sys, torch
def faults():
    # Of ten tensors of 64 MB.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
returned = runpy.run_path(sys.argv[1])["retain_freed_memory"]()
faults(), faults()  # until the heap has its final size, however much was imported before
print(usual, returned, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_tensors_are_not_cleared_again():
    plain = {name: x for name, x in os.environ.items() if not name.startswith("MALLOC_")}
    process = subprocess.run(
        [sys.executable, "-c", COUNT, malloc.__file__],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    usual, returned, retained = process.stdout.split()
    if returned == "False":
        pytest.skip("not glibc")
    assert int(retained) < int(usual) / 10


def test_the_environment_comes_first(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("malloc is configured"))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not malloc.retain_freed_memory()
