"""How much memory one training step of every encoder takes, at a resolution that people have.

The generator has random weights; for memory they do not matter.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks import report
from benchmarks.networks import random_discriminator, random_generator
from facsimile import stylegan

KINDS = ("feature", "in-domain", "editor", "difference")
NEEDS = {"editor": ("feature", "in-domain"), "difference": ("in-domain",)}
"""The encoders that a kind is trained with; they are those of the steps before."""
SMALLEST_BATCH = {"difference": 2}
"""Faces that take on one another's landmarks."""
KIB, GIB = 2**10, 2**30
STEP = """
import sys, torch
from facsimile.commands.train import main
status = main(sys.argv[1:])
if torch.cuda.is_available():
    print("peak", torch.cuda.max_memory_allocated())
sys.exit(status)
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train every kind of encoder for one step, each in a process of its own.

    Memory is the resident size of the process, or what PyTorch allocates on a GPU, at its peak. It
    includes the optimizer's state. Exits with status 1 if a step takes more than --limit.
    """

    resolution: int = 2**10
    channel_base: int = 2**15
    channel_max: int = 2**9
    batch: int = 1
    kinds: tuple[str, ...] = KINDS
    faces: Path | None = None
    """Folder or .zip of aligned faces for the difference encoder, which needs landmarks; None: it
    is left out."""
    limit: float = 24.0
    """GiB."""
    scratch: Path = Path("runs/training-memory")
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


def main(options: Options) -> int:
    report.prepare(options.device, options.threads)
    make_networks(options)
    kinds = [x for x in options.kinds if x != "difference" or options.faces is not None]
    sizes = {kind: peak(kind, options) for kind in kinds}
    rows = [(kind, f"{size / GIB:.1f}") for kind, size in sizes.items()]
    print(report.table(("one step", "GiB"), rows))
    machine = report.machine(options.device)
    report.write_json(
        options.scratch / "memory.json",
        {"peak_bytes": sizes, "machine": machine, "resolution": options.resolution}
        | {"batch": options.batch},
    )
    return int(max(sizes.values()) > options.limit * GIB)


def make_networks(options: Options) -> None:
    """generator.safetensors and discriminator.safetensors in the scratch folder, unless there."""
    sizes = options.resolution, options.channel_base, options.channel_max
    for name, make in (("generator", random_generator), ("discriminator", random_discriminator)):
        path = options.scratch / "networks" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            stylegan.save(make(*sizes), path)


def peak(kind: str, options: Options) -> int:
    """Bytes at the peak of one training step."""
    out, batch = options.scratch / kind, max(options.batch, SMALLEST_BATCH.get(kind, 1))
    flags = ["--generator", str(options.scratch / "networks"), "--out", str(out)]
    flags += ["--images", str(batch), "--batch", str(batch), "--perceptual", "discriminator"]
    flags += ["--bn-group-size", str(SMALLEST_BATCH.get(kind, 1))]
    flags += ["--num-samples", "2", "--eval-images", "2"]
    flags += ["--device", options.device, "--preset", "small"]
    if options.threads is not None:
        flags += ["--threads", str(options.threads)]
    if kind == "difference":
        flags += ["--data", str(options.faces)]
    for needed in NEEDS.get(kind, ()):
        flags += [f"--{needed}", str(options.scratch / needed)]
    with (options.scratch / f"{kind}.log").open("w+") as log:
        command = [sys.executable, "-c", STEP, kind, *flags]
        run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        printed = log.read()
    if run.returncode:
        raise RuntimeError(f"training {kind} ended with {run.returncode}: {printed[-500:]}")
    if torch.device(options.device).type == "cuda":
        return int(printed.split("peak")[-1])
    return usage.ru_maxrss * KIB


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
