"""Recipes run over faces, with stored results, for the quality benchmarks.

Legend: N faces, R resolution of the generator.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

import facsimile
from benchmarks import report
from benchmarks.faces import Faces, Options, read
from facsimile import Studio, metrics
from facsimile.inversion import DEVIATION
from facsimile.metrics import Perceptual
from facsimile.plan import Init, InversionPlan
from facsimile.refine import Phase, Step, recipes, refine
from facsimile.stylegan import Generator, Latents, spaces


@dataclass(frozen=True)
class Row:
    """A recipe's result on all faces."""

    name: str
    latents: Latents
    record: dict
    """Content of its JSON file: settings, seconds per image, mean and per-image scores."""

    @property
    def mean(self) -> dict[str, float]:
        return self.record["mean"]


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
        report.prepare(options.device, options.threads)
        studio = facsimile.load(
            options.generator,
            perceptual=options.perceptual,
            perceptual_weights=options.perceptual_weights,
            encoders=options.encoders,
            device=options.device,
        )
        judge = options.judge and metrics.squeezenet_features(options.judge).to(options.device)
        side = studio.generator.resolution
        faces = read(options.faces, side, options.count, options.first, options.every)
        return Bench(options, studio, judge, Faces(faces.names, faces.images.to(options.device)))

    @property
    def generator(self) -> Generator:
        return self.studio.generator

    def run(
        self,
        name: str,
        batch: int | None = None,
        *,
        steps: int | None = None,
        init: Init | None = None,
    ) -> Row:
        """A recipe over all faces, `batch` at once; read from the folder if it is there already.

        steps: as in `Studio.plan`, but noise maps get three fifths of them after every recipe, so
        that rows compare. init: likewise, but None is without an encoder.
        """
        batch = batch or self.options.batch
        plan = self._plan(name, self.options.steps if steps is None else steps, init)
        settings = self._settings(plan, batch)
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        stem = f"{plan.recipe.name.replace('/', '_').replace(' ', '')}-{key}"
        json_path = self.options.out / f"{stem}.json"
        latents_path = json_path.with_suffix(".safetensors")
        if json_path.is_file() and latents_path.is_file():
            latents = Latents.load(latents_path, self.generator).to(self.options.device)
            record = json.loads(json_path.read_text())
        else:
            latents, record = self._refine(plan, batch)
            self.options.out.mkdir(parents=True, exist_ok=True)
            latents.save(latents_path)
            record |= {"settings": settings, "machine": report.machine(self.options.device)}
        # Scores are computed each time: a judge may have been added.
        record |= self._score(latents)
        report.write_json(json_path, metrics.jsonable(record))
        return Row(name, latents, record)

    @torch.no_grad()
    def synthesize(self, latents: Latents, noise: str | None = None) -> Tensor:
        """Images (N, 3, R, R), clipped to [-1, 1]; random noise comes from the benchmark's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.options.seed)
            parts = split(latents, self.options.batch)
            images = [part.synthesize(self.generator, noise) for part in parts]
        return torch.cat(images).clamp(-1, 1)

    def _plan(self, name: str, steps: int, init: Init | None) -> InversionPlan:
        recipe = recipes.get(name).with_steps(steps)
        later = (replace(phase, steps=steps * 3 // 5) for phase in recipe.phases[1:])
        recipe = replace(recipe, phases=(*recipe.phases[:1], *later))
        init = init or recipe.init or spaces.parse(recipe.space)[0].default_init
        return self.studio.plan(
            recipe, init=init, seed=self.options.seed, align=False, identity="off"
        )

    def _settings(self, plan: InversionPlan, batch: int) -> dict:
        """Everything that the result depends on."""
        return {
            "plan": plan.to_dict(),
            "faces": self.faces.names,
            "faces_fingerprint": self.faces.fingerprint,
            "batch": batch,
            "device": torch.device(self.options.device).type,
        }

    def _refine(self, plan: InversionPlan, batch: int) -> tuple[Latents, dict]:
        """The latents, and a record: seconds, status, the mean curve of every term.

        Of phases after the first, the seconds and curves are in `later`.
        """
        inverter, recipe = self.studio.inverter(plan), plan.recipe
        networks = inverter.term_networks()
        results, seconds_to_init, seconds = [], 0.0, 0.0
        later = dict.fromkeys((phase.name for phase in recipe.phases[1:]), 0.0)
        chunks = self.faces.images.split(batch)
        with tqdm(total=recipe.steps * len(chunks), desc=recipe.name) as bar:
            for index, targets in enumerate(chunks):
                before = index * recipe.steps
                start = last = time.perf_counter()

                def callback(step: Step, before: int = before) -> None:
                    nonlocal last
                    bar.update(before + step.done - bar.n)
                    if step.phase in later:
                        later[step.phase] += time.perf_counter() - last
                    last = time.perf_counter()

                with torch.no_grad():
                    latents = inverter.initial_latents(targets)
                seconds_to_init += time.perf_counter() - start
                results.append(
                    refine(
                        self.generator,
                        latents,
                        targets,
                        recipe,
                        networks=networks,
                        callback=callback,
                    )
                )
                seconds += time.perf_counter() - start
        histories, count = [result.history for result in results], len(self.faces.names)
        return join([result.latents for result in results]), {
            "seconds_per_image": seconds / count,
            "seconds_to_init": seconds_to_init / count,
            "steps": recipe.steps,
            "status": [status for result in results for status in result.status],
            "curves": curves(recipe.phases[0], histories),
            "later": {
                phase.name: {
                    "seconds_per_image": later[phase.name] / count,
                    "curves": curves(phase, histories),
                }
                for phase in recipe.phases[1:]
            },
        }

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


def curves(phase: Phase, histories: Sequence[dict[str, Tensor]]) -> dict[str, list[float]]:
    """Unweighted terms of a phase at each face's best so far; means over the faces.

    As many values as steps, and one: the first is that of the phase's start.
    """
    weights = {term.name: term.weight for term in phase.terms}
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


def split(latents: Latents, size: int) -> list[Latents]:
    return [latents[i : i + size] for i in range(0, len(latents), size)]


def join(parts: list[Latents]) -> Latents:
    tensors = [part.tensors() for part in parts]
    return parts[0].with_tensors(
        {name: torch.cat([x[name] for x in tensors]) for name in tensors[0]}
    )
