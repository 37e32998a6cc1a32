"""Output of the benchmarks: markdown tables, JSON files, the machine."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from facsimile.training import malloc


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, padded to be read as plain text; numbers are right-aligned."""
    size = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    rule = ["-" * size[0], *("-" * (n - 1) + ":" for n in size[1:])]
    lines = []
    for row in (head, rule, *rows):
        cells = [
            row[0].ljust(size[0]),
            *(x.rjust(n) for x, n in zip(row[1:], size[1:], strict=True)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all; makes its folder."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Likewise; several processes may write the same file, and the last one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def prepare(device: str, threads: int | None, *, tf32: bool = False) -> None:
    """True float32 on every device, and a number of CPU threads (None: PyTorch's choice).

    tf32: multiply in TensorFloat-32 on CUDA devices instead. Freed memory is retained, as in the
    programs.
    """
    malloc.retain_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32


def machine(device: str) -> dict[str, str | int]:
    """Device, threads and versions that the numbers depend on."""
    cuda = torch.device(device).type == "cuda"
    return {
        "kind": torch.device(device).type,
        "device": torch.cuda.get_device_name(device) if cuda else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def describe(machine: dict[str, str | int]) -> str:
    """What `machine` returned, in words."""
    threads = "" if machine.get("kind") == "cuda" else f", {machine['threads']} threads"
    return f"{machine['device']}{threads}, PyTorch {machine['torch']}"


def processor() -> str:
    """The model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "cpu")
