"""`facsimile train`: train a generator, an encoder, or the landmark or region network.

    facsimile train generator --data faces.zip --resolution 64 --images 1000000 --out runs/a
    accelerate launch train.py generator ...      torchrun --nproc_per_node 2 train.py generator ...

To resume after a stop, run the same command again: the weights are the same as without the stop.
Exit status: 0 complete, 1 a loss became NaN or infinite, 2 wrong use, 130 after Ctrl-C or SIGTERM.
"""

import contextlib
import difflib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import tyro
from accelerate import Accelerator

from facsimile import checkpoints, encoders
from facsimile.commands.optional import OPTIONAL
from facsimile.devices import is_out_of_memory
from facsimile.exit_status import INTERRUPTED, OK, WRONG_USE
from facsimile.training import Distributed, Diverged, TrainingRecipe, TrainingSettings, malloc
from facsimile.training.config_file import expand_config, expand_preset
from facsimile.training.generator import GeneratorRecipe
from facsimile.training.generator_settings import GeneratorSettings
from facsimile.training.landmark_detector import LandmarkDetectorRecipe
from facsimile.training.landmark_settings import LandmarkDetectorSettings
from facsimile.training.launcher import obey_launcher
from facsimile.training.loop import check_batch, train
from facsimile.training.machine import duration, folder_bytes, format_bytes
from facsimile.training.region_settings import RegionSettings
from facsimile.training.regions import RegionRecipe
from facsimile.training.settings import to_dict
from facsimile.training.signals import sigterm_as_ctrl_c

DIVERGED = 1
"""Exit status after a loss or a weight became NaN or infinite."""


class Kind(NamedTuple):
    """Something that can be trained."""

    settings: type[TrainingSettings]
    recipe: Callable[[Any, Distributed], TrainingRecipe]


def kinds() -> dict[str, Kind]:
    """Everything that can be trained, by its name on the command line."""
    table = {name: Kind(kind.settings, kind.recipe) for name, kind in encoders.KINDS.items()}
    table["generator"] = Kind(GeneratorSettings, GeneratorRecipe)
    table["landmarks"] = Kind(LandmarkDetectorSettings, LandmarkDetectorRecipe)
    table["regions"] = Kind(RegionSettings, RegionRecipe)
    return table


def main(args: list[str] | None = None) -> int:
    """Train as the arguments say, by default those of the process; returns the exit status."""
    malloc.retain_freed_memory()
    args = sys.argv[1:] if args is None else args
    try:
        with sigterm_as_ctrl_c():
            name, settings = parse(expand_config(args))
            with contextlib.ExitStack() as stack:
                if settings.quiet:
                    nowhere = stack.enter_context(open(os.devnull, "w"))
                    stack.enter_context(contextlib.redirect_stdout(nowhere))
                run(name, obey_launcher(settings, os.environ), kinds()[name].recipe)
    except KeyboardInterrupt:
        command = shlex.join(["facsimile", "train", *args])
        print(f"\nstopped\nto go on: {command}", file=sys.stderr)
        return INTERRUPTED
    except Diverged as error:
        print(f"train: {error}", file=sys.stderr)
        return DIVERGED
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return WRONG_USE
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "train: out of memory; choose a smaller --batch, or more micro-steps with --accumulate "
            "(such as --accumulate 2), which gives the same result",
            file=sys.stderr,
        )
        return WRONG_USE
    return OK


def parse(args: list[str]) -> tuple[str, TrainingSettings]:
    """(what to train, its settings); prints, and leaves, for --help and for what cannot be.

    args: the kind, then flags. Errors of a kind's flags are about that kind alone.
    """
    table = kinds()
    options: dict[str, Any] = {"config": (tyro.conf.OmitArgPrefixes,), "registry": OPTIONAL}
    if args and not args[0].startswith("-") and args[0] not in table:
        near = difflib.get_close_matches(args[0], table, n=1)
        raise ValueError(
            f'there is no "{args[0]}" to train{f"; did you mean {near[0]}" if near else ""}? '
            f"These can be trained: {', '.join(table)}"
        )
    kind = table.get(args[0]) if args else None
    if kind is None:
        tyro.extras.subcommand_cli_from_dict(
            {name: x.settings for name, x in table.items()},
            prog="facsimile train",
            description=__doc__,
            args=args,
            **options,
        )
        raise AssertionError("tyro has left")
    args = expand_preset(args, {"small": kind.settings.SMALL})
    prog = f"facsimile train {args[0]}"
    return args[0], tyro.cli(kind.settings, prog=prog, args=args[1:], **options)


def run(
    kind: str,
    settings: TrainingSettings,
    make_recipe: Callable[[Any, Distributed], TrainingRecipe],
) -> None:
    """Set up the recipe and train it; with --dry-run only print its configuration."""
    start = time.monotonic()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = settings.torch_device()
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        gradient_accumulation_steps=settings.accumulate,
        log_with="tensorboard",
        project_dir=settings.out,
    )
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    distributed = Distributed(
        device=accelerator.device,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        all_mean=lambda x: accelerator.reduce(x, "mean"),
        load_networks=checkpoints.find,
        landmark_network=checkpoints.LANDMARKS,
        quiet=settings.quiet,
    )
    recipe = make_recipe(settings, distributed)
    check_batch(settings, recipe, distributed)  # raises ValueError
    configuration = _configuration(kind, settings, recipe)
    accelerator.print(configuration, flush=True)
    if settings.dry_run:
        return
    accelerator.print(recipe.setup_data(), flush=True)
    if accelerator.is_main_process:
        settings.out.mkdir(parents=True, exist_ok=True)
        (settings.out / "config.json").write_text(configuration + "\n", encoding="utf-8")
    accelerator.wait_for_everyone()
    try:
        train(settings, recipe, accelerator, distributed)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
    accelerator.wait_for_everyone()
    taken, disk = duration(time.monotonic() - start), format_bytes(folder_bytes(settings.out))
    accelerator.print(f"done in {taken}: {settings.out}, {disk}")
    accelerator.end_training()


def _configuration(kind: str, settings: TrainingSettings, recipe: TrainingRecipe) -> str:
    """JSON that `--config` reads."""
    parameters = {
        x.name: sum(weight.numel() for weight in x.module.parameters()) for x in recipe.trainables
    }
    content = {"kind": kind, "settings": to_dict(settings), "parameters": parameters}
    return json.dumps(content, indent=1)


if __name__ == "__main__":
    sys.exit(main())
