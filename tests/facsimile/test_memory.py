"""Freed memory is kept: large tensors are made again without a page fault."""

import os
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from facsimile.training import malloc
print(malloc.keep() if sys.argv[1] == "keep" else None)
for _ in range(3):  # until the heap has found its size
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str, **environment: str) -> tuple[str, int]:
    """What keep() returned, and the pages that ten tensors of 64 MB had the kernel clear."""
    plain = {name: x for name, x in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, what],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    told, count = done.stdout.split()
    return told, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_tensors_are_not_cleared_again():
    told, kept = faults("keep")
    if told == "False":
        pytest.skip("not glibc")
    _, usual = faults("leave")
    assert kept < usual / 10


def test_the_environment_has_the_last_word():
    assert faults("keep", MALLOC_ARENA_MAX="4")[0] == "False"
