"""Output of the benchmarks: markdown tables, JSON files, the machine."""

import json
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def prepare(device: str, threads: int | None) -> None:
    """True float32 on every device, and a number of CPU threads (None: PyTorch's choice).

    Freed memory is retained, as in the programs.
    """
    malloc.retain_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def machine(device: str) -> dict[str, str | int]:
    """Device, threads and versions that the numbers depend on."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
