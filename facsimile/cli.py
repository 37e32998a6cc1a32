"""The command line: `facsimile invert | edit | reenact | align | landmarks | train | ..`.

The exit statuses are in `exit_status`.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Union

import torch
import tyro

from facsimile import __version__
from facsimile.training import malloc

from .commands import edit
from .commands.align import Align
from .commands.convert import Convert
from .commands.demo import Demo
from .commands.info import Info
from .commands.invert import Invert
from .commands.landmarks import Landmarks
from .commands.prepare_data import PrepareData
from .commands.reenact import Reenact
from .commands.sample import Sample
from .exit_status import INTERRUPTED, WRONG_USE


@dataclass(frozen=True, kw_only=True)
class TrainHelp:
    """Train an encoder, a generator or the landmark detector: facsimile train --help."""


COMMANDS = {
    "invert": Invert,
    "edit": edit.EditHelp,
    "reenact": Reenact,
    "align": Align,
    "landmarks": Landmarks,
    "sample": Sample,
    "info": Info,
    "convert": Convert,
    "prepare-data": PrepareData,
    "train": TrainHelp,
    "demo": Demo,
}
"""Name -> options with `run() -> exit status`, a file of `commands` each. `edit` and `train` parse
their own arguments and are listed for the help."""


def main(args: list[str] | None = None) -> None:
    """Entry point of `facsimile`; leaves with the exit status."""
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        print(f"facsimile {__version__}")
        sys.exit(0)
    malloc.retain_freed_memory()
    try:
        sys.exit(_run(args))
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to continue", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        print(f"facsimile: {error}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except torch.OutOfMemoryError:
        print(
            "facsimile: out of memory; choose a smaller --batch, or --device cpu", file=sys.stderr
        )
        sys.exit(WRONG_USE)


def _run(args: list[str]) -> int:
    if args[:1] == ["edit"]:
        return edit.main(args[1:])
    if args[:1] == ["train"]:
        from .commands import train  # imports all that training needs

        return train.main(args[1:])
    commands = [
        Annotated[options, tyro.conf.subcommand(name)] for name, options in COMMANDS.items()
    ]
    command = tyro.cli(  # type: ignore[call-overload]
        Union[tuple(commands)],  # noqa: UP007, a union that is computed
        prog="facsimile",
        description="StyleGAN inversion: find the latents that reproduce a photo, and edit it. "
        "facsimile --version prints the version.",
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return command.run()
