"""The machine that a run is on: its name for people, and what a run will take of it."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

CPU_NAMES = Path("/proc/cpuinfo")
"""Where Linux names its processors."""


def machine_name(device: torch.device) -> str:
    """The processor and how much of it is used: "2 threads of Intel(R) Xeon(R)", or the GPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {_processor()}"


def _processor() -> str:
    if CPU_NAMES.is_file():
        for line in CPU_NAMES.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        state = state.values()
    elif not isinstance(state, list | tuple):
        return 0
    return sum(tensor_bytes(x) for x in state)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder and below."""
    return sum(x.stat().st_size for x in folder.rglob("*") if x.is_file())


def format_bytes(count: float) -> str:
    """In MB, or in GB from 1 GB on."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min", "2 days 4 h": as exact as an estimate is."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"
