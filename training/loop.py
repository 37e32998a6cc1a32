"""The training loop on Accelerate, whatever the recipe.

Each step: batch, forward, losses, backward, learning rate, optimizer step, moving average; then
log, save, sample and evaluate when they are due. Recipes compute; only the loop writes.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm import tqdm

from facsimile.data.progress import ProgressBar

from .checkpoint import Checkpoints, resume, run_state
from .log import Log
from .processes import Meter, all_reduce_gradients, check_finite
from .read_ahead import BatchSchedule
from .recipe import Distributed, TrainingRecipe
from .settings import TrainingSettings, flag, resume_key
from .signals import GRACE, Cut, Stop, interruptible, stop_in_any_process
from .speed import Speed


def train(
    settings: TrainingSettings,
    recipe: TrainingRecipe,
    accelerator: Accelerator,
    distributed: Distributed,
) -> None:
    """Train until `settings.images` images were seen, from the last checkpoint if there is one.

    Raises Diverged, OSError, or KeyboardInterrupt after a stop whose checkpoint is written.
    """
    prepare(recipe, accelerator)
    anyway = [flag(name) for name in settings.resume_anyway]
    checkpoints = Checkpoints(settings.out, resume_key(settings), anyway)
    step = first_step = resume(checkpoints, recipe)
    images_seen = step * settings.batch
    meter = Meter(distributed, settings.batch)
    log = Log(accelerator, settings.out, images_seen)
    speed = Speed(settings, images_seen, distributed.device)
    bar = ProgressBar(
        desc="training",
        total=settings.images,
        initial=min(images_seen, settings.images),
        unit="img",
        smoothing=0.02,
        mininterval=0.5,
        disable=not distributed.shows_progress,
    )
    for change in checkpoints.changes if distributed.is_main else ():
        bar.write(change)
    with bar, interruptible(GRACE if distributed.processes > 1 else 0.0) as stop:
        stop_requested = stop_in_any_process(stop, distributed.processes)
        while images_seen < settings.images:
            try:
                train_step(settings, recipe, accelerator, distributed, meter, step, stop)
            except Cut:
                if step > first_step:
                    _save_stopped(checkpoints, recipe, step, settings.out)
                raise
            step += 1
            images_seen = step * settings.batch
            bar.update(min(settings.batch, settings.images - bar.n))
            stopping, complete = stop_requested(), images_seen >= settings.images
            due = partial(_due, settings.batch, images_seen)
            if speed.after_step(images_seen) and distributed.is_main:
                bar.write(speed.expectation(images_seen, run_state(step, recipe)))

            # Log. All processes take part, as losses are means over all of them.
            save = complete or stopping or due(settings.save_every)
            if save or step % settings.log_every == 0:
                metrics = meter.read() | _learning_rates(recipe)  # raises Diverged
                if distributed.is_main:
                    log.scalars(metrics | recipe.extra_metrics(), images_seen)

            # Save. A full disk ends the run only at its end.
            if save:
                check_finite(recipe.trainables)  # raises Diverged
                if distributed.is_main:
                    last = complete or stopping
                    write = checkpoints.save if last else _tolerate(checkpoints.save)
                    write(run_state(step, recipe))
            if distributed.is_main and (complete or stopping or due(settings.sample_every)):
                _tolerate(recipe.save)(settings.out)
            if complete and distributed.is_main:
                checkpoints.drop_before()
                bar.close()
                bar.write(speed.measured(images_seen))

            # Sample and evaluate, unless a stop waits. A stop cuts both.
            reports = [
                (settings.sample_every, partial(_sample, recipe, log)),
                (settings.score_every, partial(_evaluate, recipe, log)),
            ]
            for every, report in reports if distributed.is_main else []:
                if not (complete or due(every)):
                    continue
                try:
                    with stop.at_once():
                        words = report(images_seen)
                    if words:
                        bar.write(f"{images_seen} images: {words}")
                except Cut:
                    if complete:
                        bar.write("stopped: the training is complete, and its scores are left out")
                    elif distributed.processes == 1:
                        stopping = True
                        if not save:
                            _save_stopped(checkpoints, recipe, step, settings.out)
                    break  # several processes stop together, after the next step

            if stopping and not complete:
                raise KeyboardInterrupt


def _save_stopped(checkpoints: Checkpoints, recipe: TrainingRecipe, step: int, out: Path) -> None:
    """Save a run that is stopped where it would not have been saved."""
    check_finite(recipe.trainables)  # raises Diverged
    checkpoints.save(run_state(step, recipe))
    _tolerate(recipe.save)(out)


def _sample(recipe: TrainingRecipe, log: Log, images_seen: int) -> str:
    """Write a sheet; returns what is to be said of it."""
    images = recipe.sample_grid()
    if not images:
        return "no sheet, as there is no image to show"
    _tolerate(log.sheet)(images, images_seen)
    return ""


def _evaluate(recipe: TrainingRecipe, log: Log, images_seen: int) -> str:
    """Log the scores; returns them in words."""
    scores = recipe.evaluate()
    log.scalars(scores, images_seen)
    return ", ".join(f"{name} {value:.5g}" for name, value in scores.items())


def train_step(
    settings: TrainingSettings,
    recipe: TrainingRecipe,
    accelerator: Accelerator,
    distributed: Distributed,
    meter: Meter,
    step: int,
    stop: Stop | None = None,
) -> None:
    """Update every trainable once; raises Cut as long as nothing is changed.

    stop: cuts the step of a single process before its first gradient, so that a long one is not
    waited for. Several processes end their step, and stop together.
    """
    may_cut = stop is not None and distributed.processes == 1
    # Batch: the samples of this process, divided into micro-steps.
    batches = BatchSchedule.of(settings, distributed).slices(step)
    learning_rates = recipe.learning_rates(step * settings.batch)

    # Forward: once for all trainables, unless that would hold several graphs in memory.
    shared = None
    if len(batches) == 1:
        with stop.at_once() if stop and may_cut else nullcontext():
            shared = recipe.forward(batches[0])
    for trainable in recipe.trainables:
        for batch in batches:
            with accelerator.accumulate(trainable.module):
                if len(batches) > 1:
                    with torch.set_grad_enabled(trainable.uses_forward_graph):
                        shared = recipe.forward(batch)

                # Losses.
                with stop.at_once() if stop and may_cut else nullcontext():
                    losses = recipe.losses(trainable.name, batch, shared)
                may_cut = False
                terms = {name: x for name, x in losses.items() if x.requires_grad}
                statistics = {name: x for name, x in losses.items() if not x.requires_grad}

                # Backward.
                accelerator.backward(sum(terms.values()), inputs=trainable.parameters())
                meter.add(terms)
                if statistics:
                    recipe.record(statistics)

                # Learning rate and optimizer step, after the last micro-step.
                if accelerator.sync_gradients:
                    all_reduce_gradients(trainable.parameters(), distributed)
                    for group in trainable.optimizer.param_groups:
                        group["lr"] = learning_rates[trainable.name]
                    trainable.optimizer.step()
                    trainable.optimizer.zero_grad()

    # Moving averages and adaptive settings.
    recipe.on_step_end(batches[0])
    meter.step()


def prepare(recipe: TrainingRecipe, accelerator: Accelerator) -> None:
    """Let Accelerate prepare the optimizers.

    The networks stay as they are: recipes call parts of them and differentiate twice, which
    DistributedDataParallel does not support, so `train_step` averages the gradients itself. Recipes
    choose what runs in bf16 as well; the rest, such as losses and penalties, stays in float32.
    """
    recipe.trainables = tuple(
        replace(x, optimizer=accelerator.prepare(x.optimizer)) for x in recipe.trainables
    )


def check_batch(
    settings: TrainingSettings, recipe: TrainingRecipe, distributed: Distributed
) -> None:
    """ValueError if --batch cannot be divided over processes, micro-steps and groups."""
    processes, group = distributed.processes, recipe.group_size
    parts = processes * settings.accumulate
    if settings.batch % (parts * group) == 0:
        return
    divides = [f"{processes} process{'es' * (processes > 1)}, --accumulate {settings.accumulate}"]
    remedy = ""
    if group > 1:
        name = settings.GROUP_FLAG
        divides.append(f"groups of {group} images that share their statistics")
        if name:
            divides[-1] += f" (--{flag(name)})"
            smaller = math.gcd(settings.batch // parts, group)
            if settings.batch % parts == 0 and smaller > 1:
                remedy = f", or give --{flag(name)} {smaller}"
    raise ValueError(
        f"--batch is {settings.batch}; with {' and '.join(divides)} it must be a multiple of "
        f"{parts * group}{remedy}"
    )


def _due(batch: int, images_seen: int, interval: int) -> bool:
    """Whether the last step of `batch` images crossed a multiple of `interval`."""
    return images_seen // interval != (images_seen - batch) // interval


def _learning_rates(recipe: TrainingRecipe) -> dict[str, float]:
    return {f"lr/{x.name}": x.optimizer.param_groups[0]["lr"] for x in recipe.trainables}


def _tolerate(write: Callable[..., object]) -> Callable[..., None]:
    """`write`, but a failure is only reported: a full disk may have room again later."""

    def attempt(*args) -> None:
        try:
            write(*args)
        except OSError as error:
            tqdm.write(f"train: cannot write ({error}); older files are kept, and training goes on")

    return attempt
