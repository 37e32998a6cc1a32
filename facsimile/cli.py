"""The command line: `facsimile invert | edit | reenact | align | landmarks | train | ..`.

The exit statuses are in `exit_status`.
"""

import contextlib
import io
import os
import shlex
import sys
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro
from tqdm import tqdm

from facsimile import __version__
from facsimile.data import PhotoWarning
from facsimile.training import malloc

from .commands import edit
from .commands.align import Align
from .commands.convert import Convert
from .commands.demo import Demo
from .commands.info import Info
from .commands.invert import Invert
from .commands.landmarks import Landmarks
from .commands.optional import OPTIONAL
from .commands.options import CommonOptions, ComputeOptions
from .commands.prepare_data import PrepareData
from .commands.reenact import Reenact
from .commands.sample import Sample
from .devices import is_out_of_memory, set_threads
from .exit_status import INTERRUPTED, WRONG_USE
from .inputs import one_line
from .threads import LoadMeter


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


def main(args: list[str] | None = None, meter: LoadMeter | None = None) -> None:
    """Leave with the exit status of a command. meter: of other programs' load; None: a new one."""
    args = sys.argv[1:] if args is None else args
    _make_output_robust()
    if args == ["--version"]:
        print(f"facsimile {__version__}")
        sys.exit(0)
    malloc.retain_freed_memory()
    again = shlex.join(["facsimile", *args])
    try:
        status = _run(args, meter)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        status = INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"facsimile: {error}", file=sys.stderr)
        status = WRONG_USE
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "facsimile: out of memory; choose a smaller --batch, or --device cpu", file=sys.stderr
        )
        status = WRONG_USE
    if status == INTERRUPTED and args[:1] != ["train"]:
        print(f"to go on: {again}", file=sys.stderr)
    sys.exit(status)


def _make_output_robust() -> None:
    """Print every name of a file, whatever the terminal's encoding, and warnings as a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    show = warnings.showwarning

    def show_photo_warning(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if category is PhotoWarning:
            tqdm.write(f"warning: {one_line(str(message))}", file=sys.stderr)
        else:
            show(message, category, *rest, **more)

    warnings.showwarning = show_photo_warning


def _run(args: list[str], meter: LoadMeter | None) -> int:
    if args[:1] == ["train"]:
        from .commands import train  # imports all that training needs

        return train.main(args[1:])
    command = edit.parse(args[1:]) if args[:1] == ["edit"] else _parse(args)
    quiet = getattr(command, "quiet", False)
    with contextlib.ExitStack() as stack:
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w", errors="backslashreplace"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if isinstance(command, CommonOptions):
            note = set_threads(command.threads, meter)
            if note and isinstance(command, ComputeOptions):
                print(note)
        return command.run()


def _parse(args: list[str]) -> Any:
    commands = [
        Annotated[options, tyro.conf.subcommand(name)] for name, options in COMMANDS.items()
    ]
    return tyro.cli(  # type: ignore[call-overload]
        Union[tuple(commands)],  # noqa: UP007, a union that is computed
        prog="facsimile",
        description="StyleGAN inversion: find the latents that reproduce a photo, and edit it. "
        "facsimile --version prints the version.",
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=OPTIONAL,
    )
