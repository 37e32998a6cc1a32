"""Shared by the quality benchmarks: the faces, stored runs of recipes over them, the picture.

Legend: N faces, HxW pixels, R side of the generator's images.
"""

import hashlib
import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from benchmarks import report
from facsimile import checkpoints, data, metrics
from facsimile.checkpoints import EncoderSet
from facsimile.data.photos import PHOTO_NAME
from facsimile.metrics import Perceptual
from facsimile.refine import Phase, Step, recipes, refine
from facsimile.starts import Start, decide
from facsimile.stylegan import Generator, Latents, spaces

RECIPES = tuple(name for name, x in recipes.RECIPES.items() if x.init != "encoder")
"""Those without an encoder: the comparison is of spaces, not of encoders."""
SHOWN = 8
"""Faces in the picture."""
SMALLEST_SHOWN = 128
"""Pixels; smaller faces are enlarged in the picture by an integer factor."""
DEVIATION = (
    "distance of the code from the generator's samples: for z spaces the largest relative distance "
    "from the sphere, 0 = on it; for the others the root mean square of the whitened code, 1 = "
    "typical; only the style inputs that act"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every quality benchmark; each has its own defaults."""

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces; the first `count` in sorted order are used."""
    count: int = 16
    steps: int = 500
    """Steps of the first phase; those of the others are in proportion."""
    out: Path = Path("runs/faces")
    """Folder of the results. Rows that are there under the same settings are not computed again."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    encoders: tuple[Path, ...] = ()
    """Encoders, as files or folders of runs, instead of those beside the generator."""
    perceptual: str = "discriminator"
    """The perceptual distance that is minimised; a name of metrics.build_perceptual."""
    perceptual_weights: Path | None = None
    """File with its ImageNet weights."""
    judge: Path | None = None
    """SqueezeNet 1.1 weights with torchvision's names: a perceptual distance for scores only."""
    recipes: tuple[str, ...] = ()
    batch: int = 16
    """Faces refined at once."""
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


@dataclass(frozen=True)
class Faces:
    names: list[str]
    images: Tensor
    """(N, 3, R, R) in [-1, 1]."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash over names and pixels."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.images.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def read(path: Path, side: int, count: int) -> Faces:
    """The first `count` photos of a folder or .zip, at side x side.

    Raises FileNotFoundError, or ValueError where there are fewer.
    """
    with TemporaryDirectory() as unpacked:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if PHOTO_NAME.search(name))
                photos = [Path(archive.extract(name, unpacked)) for name in names[:count]]
        else:
            photos = data.find_photos(path)[:count]
        if len(photos) < count:
            raise ValueError(f"{path} has {len(photos)} photos, asked for {count}; lower --count")
        squares = [data.fit_square(data.read_photo(photo), side) for photo in photos]
    images = torch.stack([data.to_tensor(square) for square in squares])
    return Faces([photo.name for photo in photos], images)


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
    generator: Generator
    perceptual: Perceptual | None
    judge: Perceptual | None
    faces: Faces
    encoders: EncoderSet

    @staticmethod
    def load(options: Options) -> "Bench":
        report.prepare(options.device, options.threads)
        checkpoint = checkpoints.find(options.generator, options.device, options.encoders)
        perceptual = metrics.build_perceptual(
            options.perceptual, checkpoint.discriminator, options.perceptual_weights
        )
        judge = options.judge and metrics.squeezenet_features(options.judge)
        faces = read(options.faces, checkpoint.generator.resolution, options.count)
        networks = [n if n is None else n.to(options.device) for n in (perceptual, judge)]
        images = faces.images.to(options.device)
        faces = Faces(faces.names, images)
        return Bench(options, checkpoint.generator, *networks, faces, checkpoint.encoders)

    def run(
        self,
        name: str,
        batch: int | None = None,
        *,
        steps: int | None = None,
        start: str | None = None,
    ) -> Row:
        """A recipe over all faces, `batch` at once; read from the folder if it is there already.

        steps: as in `Studio.invert`, but noise maps get three fifths of them after every recipe, so
        that rows compare. start: likewise, but None is without an encoder.
        """
        batch = batch or self.options.batch
        steps = self.options.steps if steps is None else steps
        recipe = recipes.get(name).with_steps(steps)
        later = (replace(phase, steps=steps * 3 // 5) for phase in recipe.phases[1:])
        recipe = replace(recipe, phases=(*recipe.phases[:1], *later))
        start = start or recipe.init or spaces.parse(recipe.space)[0].default_init
        recipe = recipe.for_networks({"perceptual": self.perceptual})
        start_ = decide(recipe, start, self.encoders)
        recipe = start_.recipe
        settings = self._settings(start_, batch)
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        stem = f"{recipe.name.replace('/', '_').replace(' ', '')}-{key}"
        json_path, latents_path = (
            self.options.out / f"{stem}.{kind}" for kind in ("json", "safetensors")
        )
        if json_path.is_file() and latents_path.is_file():
            latents = Latents.load(latents_path, self.generator).to(self.options.device)
            record = json.loads(json_path.read_text())
        else:
            latents, record = self._refine(start_, batch)
            self.options.out.mkdir(parents=True, exist_ok=True)
            latents.save(latents_path)
            record |= {"settings": settings, "machine": report.machine(self.options.device)}
        # Scores are computed anew each time: a judge may have been added.
        record |= self._score(latents)
        report.write_json(json_path, metrics.jsonable(record))
        return Row(name, latents, record)

    @torch.no_grad()
    def draw(self, latents: Latents, noise: str | None = None) -> Tensor:
        """Images (N, 3, R, R), clipped to [-1, 1]; random noise comes from the benchmark's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.options.seed)
            parts = [
                part.synthesize(self.generator, noise)
                for part in _split(latents, self.options.batch)
            ]
        return torch.cat(parts).clamp(-1, 1)

    def _settings(self, start: Start, batch: int) -> dict:
        """Everything that the result depends on."""
        return start.settings() | {
            "recipe": repr(start.recipe),
            "generator": self.generator.fingerprint,
            "faces": self.faces.names,
            "faces_fingerprint": self.faces.fingerprint,
            "perceptual": self.perceptual and self.perceptual.name,
            "seed": self.options.seed,
            "batch": batch,
            "device": torch.device(self.options.device).type,
        }

    def _refine(self, start: Start, batch: int) -> tuple[Latents, dict]:
        """The latents, and a record: seconds, status, the mean curve of every term.

        Of phases after the first, the seconds and curves are in `later`.
        """
        results, begun, seconds = [], 0.0, 0.0
        later = dict.fromkeys((phase.name for phase in start.recipe.phases[1:]), 0.0)
        recipe, chunks = start.recipe, self.faces.images.split(batch)
        encoder = None if start.encoder is None else start.encoder.network
        with tqdm(total=recipe.steps * len(chunks), desc=recipe.name) as bar:
            for index, targets in enumerate(chunks):
                before = index * recipe.steps
                began = last = time.perf_counter()

                def tell(step: Step, before: int = before) -> None:
                    nonlocal last
                    bar.update(before + step.done - bar.n)
                    if step.phase in later:
                        later[step.phase] += time.perf_counter() - last
                    last = time.perf_counter()

                with torch.no_grad():
                    first = start.latents(self.generator, targets, self.options.seed, None)
                begun += time.perf_counter() - began
                refined = refine(
                    self.generator,
                    first,
                    targets,
                    recipe,
                    networks={"perceptual": self.perceptual, "encoder": encoder},
                    callback=tell,
                )
                seconds += time.perf_counter() - began
                results.append(refined)
        status = [status for refined in results for status in refined.status]
        latents, count = join([refined.latents for refined in results]), len(self.faces.names)
        histories = [refined.history for refined in results]
        return latents, {
            "seconds_per_image": seconds / count,
            "seconds_to_start": begun / count,
            "steps": recipe.steps,
            "status": status,
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
        networks = {"perceptual": self.perceptual, "judge": self.judge}
        networks = {name: network for name, network in networks.items() if network is not None}
        images, size = self.draw(latents), self.options.batch
        pairs = zip(images.split(size), self.faces.images.split(size), strict=True)
        scores = metrics.gather(metrics.score(a, b, networks) for a, b in pairs)
        about = metrics.metric_descriptions(scores, networks)
        scores["deviation"], about["deviation"] = (
            latents.deviation(self.generator).tolist(),
            DEVIATION,
        )
        mean = {name: metrics.mean(values) for name, values in scores.items()}
        return {"mean": mean, "per_image": scores, "cards": about}


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


def _split(latents: Latents, size: int) -> list[Latents]:
    return [latents[i : i + size] for i in range(0, len(latents), size)]


def join(parts: list[Latents]) -> Latents:
    tensors = [part.tensors() for part in parts]
    return parts[0].with_tensors(
        {name: torch.cat([x[name] for x in tensors]) for name in tensors[0]}
    )


def save_picture(path: Path, rows: dict[str, Tensor]) -> None:
    """A row of pictures under each name; rows: (N, 3, R, R) in [-1, 1], the first `SHOWN`."""
    from matplotlib.figure import Figure

    strips = {}
    for name, images in rows.items():
        images = images[:SHOWN].cpu()
        times = max(1, SMALLEST_SHOWN // images.shape[-1])
        images = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
        strips[name] = torch.cat(list(images * 0.5 + 0.5), 2).clamp(0, 1).permute(1, 2, 0)
    height, width = next(iter(strips.values())).shape[:2]
    dpi, margin = 100, max(map(len, strips)) * 9  # pixels for the names
    size = ((width + margin) / dpi, height * len(strips) / dpi)
    figure = Figure(figsize=size, dpi=dpi)
    for index, (name, strip) in enumerate(strips.items()):
        left, row = margin / (width + margin), 1 / len(strips)
        axes = figure.add_axes((left, 1 - (index + 1) * row, 1 - left, row))
        axes.imshow(strip.numpy(), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(left * 0.95, 1 - (index + 0.5) * row, name, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
