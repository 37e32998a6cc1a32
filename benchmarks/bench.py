"""Recipes run over faces, with stored results, for the quality benchmarks.

Legend: N faces, R resolution of the generator.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import facsimile
from benchmarks import report
from benchmarks.faces import Faces, Options, read
from benchmarks.rows import MissingRow, Row, find, latents_path, plan_settings, row_path
from benchmarks.timing import wait
from facsimile import Studio, metrics, stylegan
from facsimile.inversion import DEVIATION, Inverter
from facsimile.metrics import Perceptual
from facsimile.plan import Init, InversionPlan
from facsimile.refine import Phase, Recipe, RefineResult, Step, recipes, refine
from facsimile.stylegan import Generator, Latents, spaces, statistics
from facsimile.stylegan.statistics_file import read_statistics, write_statistics

SETTLED = 0.05
"""Share of its last loss that an image may still lose once it has settled."""


@dataclass(frozen=True)
class Bench:
    """Networks and faces, ready to run recipes."""

    options: Options
    studio: Studio
    judge: Perceptual | None
    """A perceptual distance for scores only."""
    faces: Faces

    @staticmethod
    def load(options: Options) -> "Bench":
        report.prepare(options.device, options.threads, tf32=options.tf32)
        studio = facsimile.load(
            options.generator,
            perceptual=options.perceptual,
            perceptual_weights=options.perceptual_weights,
            encoders=options.encoders,
            device=options.device,
        )
        if options.statistics_samples is not None:
            take_statistics(studio.generator, options.statistics_samples, options.rows_folder)
        judge = options.judge and metrics.squeezenet_features(options.judge).to(options.device)
        side = studio.generator.resolution
        faces = read(options.faces, side, options.count, options.first, options.every)
        return Bench(options, studio, judge, faces.to(options.device))

    @property
    def generator(self) -> Generator:
        return self.studio.generator

    @property
    def encoder_layer(self) -> str | None:
        """The layer of the feature that an encoder predicts; None without such an encoder."""
        kind = next(filter(self.studio.encoders.has, ("feature", "base")), None)
        return None if kind is None else self.studio.encoders.get(kind).network.config.layer

    def run(
        self,
        recipe: str | Recipe,
        batch: int | None = None,
        *,
        steps: int | None = None,
        init: Init | None = None,
        layer: str | None = None,
        code: Init | None = None,
    ) -> Row:
        """A recipe over all faces, `batch` at once; read from the folder if it is there already.

        steps: as in `Studio.plan`, but noise maps get three fifths of them after every recipe, so
        that rows compare. init: likewise, but None is without an encoder. layer: of the feature.
        code: where the code starts beside an encoder's feature; None: where the encoder says.
        Raises MissingRow where only stored rows are asked for, unless it takes no steps.
        """
        batch, options = batch or self.options.batch, self.options
        recipe = recipes.get(recipe) if isinstance(recipe, str) else recipe
        recipe = recipe if layer is None else recipe.with_layer(layer)
        plan = self._plan(recipe, options.steps if steps is None else steps, init)
        settings = self._settings(plan, batch, code)
        name, folder = plan.recipe.name, options.rows_folder
        if (path := find(folder, name, settings, stored=options.stored)) is not None:
            record = json.loads(path.read_text())
            if not latents_path(path).is_file():
                return Row(name, None, record)
            latents = Latents.load(latents_path(path), self.generator).to(options.device)
        elif options.stored and plan.steps:
            raise MissingRow(
                f"{folder} has no row of {name} with {plan.steps} steps from {plan.init} for these "
                f"{len(self.faces.names)} faces"
            )
        else:
            path = row_path(folder, name, settings)
            latents, record = self._refine(plan, batch, code)
            folder.mkdir(parents=True, exist_ok=True)
            latents.save(latents_path(path))
            machine = report.machine(options.device)
            record |= {"settings": settings, "machine": machine, "timed": not options.untimed}
        # Scores are computed each time: a judge may have been added.
        record |= self._score(latents)
        report.write_json(path, metrics.jsonable(record))
        return Row(name, latents, record)

    def pictures(self, rows: Mapping[str, Row]) -> dict[str, Tensor]:
        """The faces, and what each row draws of them, (N, 3, R, R); without rows that have no
        latents."""
        drawn = {name: row.latents for name, row in rows.items() if row.latents is not None}
        images = {name: self.synthesize(latents) for name, latents in drawn.items()}
        return {"target": self.faces.images} | images

    @torch.no_grad()
    def synthesize(self, latents: Latents | None, noise: str | None = None) -> Tensor:
        """Images (N, 3, R, R), clipped to [-1, 1]; random noise comes from the benchmark's seed.

        Raises ValueError for a row that came without its latents.
        """
        if latents is None:
            raise ValueError(
                "a row has no latents here; bring its .safetensors beside its JSON, or leave out "
                "--stored"
            )
        with torch.random.fork_rng():
            torch.manual_seed(self.options.seed)
            parts = split(latents, self.options.batch)
            images = [part.synthesize(self.generator, noise) for part in parts]
        return torch.cat(images).clamp(-1, 1)

    def _plan(self, recipe: Recipe, steps: int, init: Init | None) -> InversionPlan:
        recipe = recipe.with_steps(steps)
        later = (replace(phase, steps=steps * 3 // 5) for phase in recipe.phases[1:])
        recipe = replace(recipe, phases=(*recipe.phases[:1], *later))
        init = init or recipe.init or spaces.parse(recipe.space)[0].default_init
        return self.studio.plan(
            recipe, init=init, seed=self.options.seed, align=False, identity="off"
        )

    def _settings(self, plan: InversionPlan, batch: int, code: Init | None) -> dict:
        """Everything that the result depends on."""
        options = self.options
        given = {
            "code": code,
            "statistics_samples": options.statistics_samples,
            "tf32": options.tf32 or None,
        }
        return {
            "plan": plan_settings(plan.to_dict()),
            "faces": self.faces.names,
            "faces_fingerprint": self.faces.fingerprint,
            "batch": batch,
            "device": torch.device(options.device).type,
        } | {name: value for name, value in given.items() if value is not None}

    def _refine(self, plan: InversionPlan, batch: int, code: Init | None) -> tuple[Latents, dict]:
        """The latents, and a record: seconds, status, the mean curve of every term.

        Of phases after the first, the seconds and curves are in `later`.
        """
        inverter, recipe = self.studio.inverter(plan), plan.recipe
        first, device = recipe.phases[0], self.options.device
        results: list[RefineResult] = []
        clock = Clock([phase.name for phase in recipe.phases])
        chunks = self.faces.images.split(batch)
        self._start(inverter, chunks[0], code)  # the first use of a network takes longer
        with tqdm(total=recipe.steps * len(chunks), desc=recipe.name) as bar:
            for index, targets in enumerate(chunks):

                def callback(step: Step, before: int = index * recipe.steps) -> None:
                    bar.update(before + step.done - bar.n)
                    clock.lap(step.phase)

                wait(device)
                clock.start()
                latents = self._start(inverter, targets, code)
                wait(device)
                clock.lap("init")
                results.append(
                    refine(
                        self.generator,
                        latents,
                        targets,
                        recipe,
                        networks=inverter.term_networks(),
                        callback=callback,
                    )
                )
                wait(device)
                clock.lap(recipe.phases[-1].name)
        histories, count = [result.history for result in results], len(self.faces.names)
        seconds = {name: value / count for name, value in clock.seconds.items()}
        return join([result.latents for result in results]), {
            "seconds_per_image": sum(seconds.values()),
            "seconds_to_init": seconds["init"],
            "steps": recipe.steps,
            "status": [status for result in results for status in result.status],
            "curves": curves(first, histories),
            "steps_to_settle": steps_to_settle(first, histories),
            "later": {
                phase.name: {
                    "seconds_per_image": seconds[phase.name],
                    "curves": curves(phase, histories),
                }
                for phase in recipe.phases[1:]
            },
        }

    @torch.no_grad()
    def _start(self, inverter: Inverter, targets: Tensor, code: Init | None) -> Latents:
        """Where refinement of the targets (N, 3, R, R) begins; code: as in `run`."""
        latents = inverter.initial_latents(targets)
        if code is None:
            return latents
        other = stylegan.init_latents(
            self.generator,
            spaces.parse(latents.space)[0].name,
            len(latents),
            init=code,
            seed=self.options.seed,
        )
        return latents.with_tensors(latents.tensors() | {"code": other.code})

    def _score(self, latents: Latents) -> dict:
        networks = {"perceptual": self.studio.perceptual, "judge": self.judge}
        networks = {name: network for name, network in networks.items() if network is not None}
        images, size = self.synthesize(latents), self.options.batch
        pairs = zip(images.split(size), self.faces.images.split(size), strict=True)
        identity = self.studio.identity_network()
        scores = metrics.gather(metrics.score(a, b, networks, identity) for a, b in pairs)
        descriptions = metrics.metric_descriptions(scores, networks, identity)
        descriptions["deviation"] = DEVIATION
        scores["deviation"] = latents.deviation(self.generator).tolist()
        mean = {name: metrics.mean(values) for name, values in scores.items()}
        return {"mean": mean, "per_image": scores, "metric_descriptions": descriptions}


class Clock:
    """Seconds of the parts of a run: of "init" and of every phase."""

    def __init__(self, phases: Sequence[str]):
        self.seconds = dict.fromkeys(("init", *phases), 0.0)
        self.last = 0.0

    def start(self) -> None:
        self.last = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last call was that of `part`."""
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now


def take_statistics(generator: Generator, samples: int, folder: Path) -> None:
    """Give the generator statistics of so many samples; a file in the folder holds them."""
    path = folder / f"{generator.fingerprint}-{samples}.statistics.safetensors"
    moments = read_statistics(path, generator.fingerprint)
    if moments is None:
        moments = statistics.compute(generator, samples)
        write_statistics(path, moments, generator.fingerprint)
    generator.statistics = moments.to(generator.mapping.w_avg)


def curves(phase: Phase, histories: Sequence[dict[str, Tensor]]) -> dict[str, list[float]]:
    """Unweighted terms of a phase at each face's best so far; means over the faces.

    As many values as steps, and one: the first is that of the phase's start.
    """
    weights = {term.key: term.weight for term in phase.terms}
    whole = {
        name: torch.cat([history[f"{phase.name}/{name}"] for history in histories], 1).cpu()
        for name in weights
    }
    total = sum(whole.values())
    best = torch.where(total.isfinite(), total, torch.inf).cummin(0).indices
    return {
        name: (values.gather(0, best).mean(1) / weights[name]).tolist()
        for name, values in whole.items()
    }


def steps_to_settle(phase: Phase, histories: Sequence[dict[str, Tensor]]) -> list[int]:
    """For each face the first step at which its lowest loss so far is near the last: SETTLED."""
    names = [f"{phase.name}/{term.key}" for term in phase.terms]
    total = torch.cat([torch.stack([x[name] for name in names]).sum(0) for x in histories], 1).cpu()
    best = torch.where(total.isfinite(), total, torch.inf).cummin(0).values
    return (best <= best[-1] * (1 + SETTLED)).int().argmax(0).tolist()


def split(latents: Latents, size: int) -> list[Latents]:
    return [latents[i : i + size] for i in range(0, len(latents), size)]


def join(parts: list[Latents]) -> Latents:
    tensors = [part.tensors() for part in parts]
    return parts[0].with_tensors(
        {name: torch.cat([x[name] for x in tensors]) for name in tensors[0]}
    )
