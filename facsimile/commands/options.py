"""Options that commands share; and types of options that may be left out, for which the
help shows what a value looks like, and no "None".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options of every command."""

    threads: OptionalInt = None
    """CPU threads. Default: OMP_NUM_THREADS, else as many as other programs leave cores free."""
    quiet: bool = False
    """Print errors alone, and no progress bar."""


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(CommonOptions):
    """Options of every command that runs networks."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
