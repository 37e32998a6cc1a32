"""Freed memory is retained: large tensors are made again without page faults."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

COUNT = """
import resource, sys, torch
from facsimile.training.malloc import retain_freed_memory
print(retain_freed_memory() if sys.argv[1] == "retain" else None)
# Until the heap has its final size, however much was imported before.
for _ in range(20):
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str, **environment: str) -> tuple[str, int]:
    """What retain_freed_memory() returned, and the page faults of ten tensors of 64 MB."""
    plain = {name: x for name, x in os.environ.items() if not name.startswith("MALLOC_")}
    process = subprocess.run(
        [sys.executable, "-c", COUNT, what],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    returned, count = process.stdout.split()
    return returned, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_tensors_are_not_cleared_again():
    returned, retained = faults("retain")
    if returned == "False":
        pytest.skip("not glibc")
    _, usual = faults("leave")
    assert retained < usual / 10


def test_the_environment_comes_first():
    assert faults("retain", MALLOC_ARENA_MAX="4")[0] == "False"
