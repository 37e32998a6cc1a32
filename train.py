"""The training program: one loop on Accelerate, a recipe per network.

    python train.py generator --data faces.zip --resolution 64 --images 1000000 --out runs/a
    accelerate launch train.py generator ...      torchrun --nproc_per_node 2 train.py generator ...

To go on after a stop, run the same command again: the same weights come out as without the stop.
Exit status: 0 done, 1 the losses are no numbers any more, 2 wrong use, 130 after Ctrl-C.
"""

import json
import sys
import time
from contextlib import nullcontext

import torch
import tyro
from accelerate import Accelerator
from tqdm import tqdm

from facsimile import checkpoints
from facsimile.encoders.difference_recipe import DifferenceRecipe
from facsimile.encoders.difference_settings import DifferenceRun, KeypointRun, NaiveRun
from facsimile.encoders.feature_recipe import FeatureRecipe, FeatureRun
from facsimile.encoders.in_domain_recipe import InDomainRecipe, InDomainRun
from facsimile.training import (
    BatchSlice,
    Checkpoints,
    Distributed,
    Diverged,
    Log,
    Meter,
    Recipe,
    Run,
    all_reduce_gradients,
    check_finite,
)
from facsimile.training.generator import GeneratorRecipe
from facsimile.training.generator_settings import GeneratorRun
from facsimile.training.landmark_detector import LandmarksRecipe, LandmarksRun
from facsimile.unfinished import interruptible

RECIPES = {
    "base": (FeatureRun, FeatureRecipe),
    "in-domain": (InDomainRun, InDomainRecipe),
    "difference": (DifferenceRun, DifferenceRecipe),
    "keypoint": (KeypointRun, DifferenceRecipe),
    "naive": (NaiveRun, DifferenceRecipe),
    "generator": (GeneratorRun, GeneratorRecipe),
    "landmarks": (LandmarksRun, LandmarksRecipe),
}
"""Name on the command line: its settings, and what is made of them on a Host."""
OK, DIVERGED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def train(run: Run, recipe: Recipe, host: Distributed) -> None:
    """Until `run.images` images were seen. Raises Diverged, OSError, or KeyboardInterrupt."""
    keep = Checkpoints(run.out, run.fixed())
    step = _resume(keep, recipe)
    meter = Meter(host, run.batch)
    log = Log(run.out, step * run.batch) if host.main else None
    bar = tqdm(
        total=run.images,
        initial=min(step * run.batch, run.images),
        unit="img",
        smoothing=0.02,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not host.main,
    )
    # One process stops between steps; several, started together, are stopped together.
    with bar, interruptible() if host.processes == 1 else nullcontext() as stop:
        while step * run.batch < run.images:
            advance(run, recipe, host, meter, step)
            step += 1
            seen = step * run.batch
            bar.update(min(run.batch, run.images - bar.n))

            last = seen >= run.images or (stop is not None and stop.is_set())
            save = last or _crossed(run.save_every, run.batch, seen)
            if save or step % run.log_every == 0:
                curves = meter.read()  # raises Diverged
                curves |= {
                    f"lr/{p.name}": p.optimizer.param_groups[0]["lr"] for p in recipe.players
                }
                if log is not None:
                    log.curves(curves | recipe.figures(), seen)
            if save:
                _save(keep, recipe, step, host, final=last)
            if log is not None and (last or _crossed(run.sample_every, run.batch, seen)):
                _trying(recipe.save, run.out)
                if pictures := recipe.samples():
                    _trying(log.sheet, pictures, seen)
                else:
                    bar.write(f"{seen} images: no sheet, as no two of its images show a face")
            if log is not None and (
                seen >= run.images or _crossed(run.score_every, run.batch, seen)
            ):
                scores = recipe.scores()
                log.curves(scores, seen)
                bar.write(
                    "  ".join([f"{seen} images", *(f"{k} {v:.5g}" for k, v in scores.items())])
                )
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
    if log is not None:
        log.close()


def advance(run: Run, recipe: Recipe, host: Distributed, meter: Meter, step: int) -> None:
    """One step of all players."""
    share = _share(run, recipe, host)
    first = step * run.batch + host.rank * run.accumulate * share
    places = [
        BatchSlice(step, first + micro * share, share, run.accumulate == 1)
        for micro in range(run.accumulate)
    ]
    for player in recipe.players:
        weights = [x for x in player.module.parameters() if x.requires_grad]
        player.optimizer.zero_grad()
        for place in places:
            losses = recipe.losses(player.name, place)
            total = sum(losses.values()) / run.accumulate
            total.backward(inputs=weights)
            meter.add(losses)
        all_reduce_gradients(weights, host)
        player.optimizer.step()
    meter.step()
    recipe.after(places[0])


def _share(run: Run, recipe: Recipe, host: Distributed) -> int:
    """Images per process and micro-step."""
    parts = host.processes * run.accumulate
    if run.batch % (parts * recipe.group):
        raise ValueError(
            f"--batch is {run.batch}; with {host.processes} processes, --accumulate "
            f"{run.accumulate} and groups of {recipe.group} images that share their statistics it "
            f"must be a multiple of {parts * recipe.group}"
        )
    return run.batch // parts


def _resume(keep: Checkpoints, recipe: Recipe) -> int:
    """Steps done; 0 where there is no checkpoint."""
    found = keep.load()
    if found is None:
        return 0
    try:
        for player in recipe.players:
            player.module.load_state_dict(found["modules"][player.name])
            player.optimizer.load_state_dict(found["optimizers"][player.name])
        recipe.load_state(found["recipe"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            f"the checkpoint in {keep.last.parent} holds other networks than these settings make "
            f"({str(error).splitlines()[0]}); give the same settings to go on, or another folder"
        ) from error
    return found["step"]


def _save(keep: Checkpoints, recipe: Recipe, step: int, host: Distributed, *, final: bool) -> None:
    """Write a checkpoint of sane weights. A full disk stops the run only at its end."""
    check_finite(recipe.players)  # raises Diverged
    if not host.main:
        return
    state = {
        "step": step,
        "modules": {p.name: p.module.state_dict() for p in recipe.players},
        "optimizers": {p.name: p.optimizer.state_dict() for p in recipe.players},
        "recipe": recipe.state(),
    }
    if final:
        keep.save(state)
    else:
        _trying(keep.save, state)


def _trying(write, *args) -> None:
    """A disk that is full now may have room again before the run is over."""
    try:
        write(*args)
    except OSError as error:
        tqdm.write(f"train.py: could not write ({error}); what was there is kept, the run goes on")


def _crossed(every: int, batch: int, seen: int) -> bool:
    return seen // every != (seen - batch) // every


def _describe(run: Run, recipe: Recipe) -> str:
    said = {
        "settings": run.plain(),
        "parameters": {
            p.name: sum(x.numel() for x in p.module.parameters()) for p in recipe.players
        },
    }
    return json.dumps(said, indent=1)


def start(run: Run) -> None:
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    device = run.pick_device()
    accelerator = Accelerator(cpu=device.type == "cpu")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    host = Distributed(
        device=accelerator.device,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        mean=lambda x: accelerator.reduce(x, "mean"),
        find=checkpoints.find,
        landmarks=checkpoints.LANDMARKS,
    )
    recipe = next(make for told, make in RECIPES.values() if told is type(run))(run, host)
    _share(run, recipe, host)
    if host.main:
        print(_describe(run, recipe), flush=True)
    if run.dry_run:
        return
    said = recipe.open_data()
    if host.main:
        print(said, flush=True)
        run.out.mkdir(parents=True, exist_ok=True)
        (run.out / "config.json").write_text(_describe(run, recipe) + "\n")
    accelerator.wait_for_everyone()
    began = time.monotonic()
    train(run, recipe, host)
    accelerator.wait_for_everyone()
    if host.main:
        print(f"done in {(time.monotonic() - began) / 60:.1f} minutes: {run.out}")
    accelerator.end_training()


def main(args: list[str] | None = None) -> int:
    malloc.keep()
    try:
        run = tyro.extras.subcommand_cli_from_dict(
            {name: told for name, (told, _) in RECIPES.items()},
            prog="train.py",
            description=__doc__,
            args=args,
            config=(tyro.conf.OmitArgPrefixes,),
        )
        start(run)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except Diverged as error:
        print(f"train.py: {error}", file=sys.stderr)
        return DIVERGED
    except (ValueError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return WRONG_USE
    return OK


if __name__ == "__main__":
    sys.exit(main())
