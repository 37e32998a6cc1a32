"""Fréchet distance of a generator's samples to real faces, as in the model cards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from benchmarks import report
from facsimile import checkpoints, data
from facsimile.metrics.frechet import build_features, frechet_distance, moments
from facsimile.metrics.resize import resize_to_fit
from facsimile.stylegan import Generator
from facsimile.stylegan.randomness import keyed_generator

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fréchet distance of samples to real faces, and of one half of the faces to the other.

    All are shrunk to the resolution of the smallest generator. It is FID on InceptionV3's features
    only.
    """

    faces: tyro.conf.Positional[tuple[str, ...]]
    """Folders or zips of faces, used together."""
    generators: tuple[str, ...] = ("faces",)
    """Bundled names, files or folders; all are compared with the same faces."""
    frechet: Literal["auto", "inception", "squeezenet", "discriminator"] = "auto"
    """Features. auto: SqueezeNet's with --weights, else InceptionV3's where they can be had, else
    those of the first generator's discriminator."""
    weights: Path | None = None
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    images: int = 5000
    """Of either set."""
    truncation: float = 1.0
    seed: int = 1
    out: Path = Path("runs/distance.json")
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


@torch.no_grad()
def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    loaded = [checkpoints.find(name, options.device) for name in options.generators]
    feature_network = build_features(options.frechet, loaded[0].discriminator, options.weights)
    network = feature_network.network
    print(feature_network.note)
    resolution = min(x.generator.resolution for x in loaded)
    faces = data.load_images(options.faces, resolution)
    order = torch.randperm(len(faces), generator=keyed_generator("cpu", options.seed, "faces"))
    device, count = torch.device(options.device), options.images

    def face_moments(indices: Tensor, what: str):
        parts = tqdm(indices.split(BATCH), desc=what, leave=False)
        return moments(network(faces.batch(x, device, torch.float32)) for x in parts)

    real = face_moments(order[:count], "faces")
    distances = {}
    for name, pair in zip(options.generators, loaded, strict=True):
        batches = samples(pair.generator, options)
        distances[name] = frechet_distance(
            moments(network(resize_to_fit(x, resolution)) for x in batches), real
        )
    others = order[count : 2 * count]
    if len(others) > 1:
        distances["other faces"] = frechet_distance(face_moments(others, "other faces"), real)
    rows = [(name, f"{distance:.1f}") for name, distance in distances.items()]
    print(report.table(("", feature_network.name), rows))
    report.write_json(
        options.out,
        {
            "features": feature_network.note,
            "images": count,
            "resolution": resolution,
            "distance": distances,
        }
        | {"truncation": options.truncation, "seed": options.seed}
        | {"machine": report.machine(options.device)},
    )


def samples(generator: Generator, options: Options) -> Iterator[Tensor]:
    """Batches (N, C, R, R) in [-1, 1]; the classes of a conditional generator in turns."""
    rng = keyed_generator("cpu", options.seed, "distance")
    z = torch.randn(options.images, generator.z_dim, generator=rng).to(generator.device)
    for index, part in enumerate(tqdm(z.split(BATCH), desc="samples", leave=False)):
        c = None
        if generator.c_dim:
            number = torch.arange(index * BATCH, index * BATCH + len(part)) % generator.c_dim
            c = torch.nn.functional.one_hot(number, generator.c_dim).to(part)
        yield generator.synthesize(generator.map(part, c, options.truncation)).clamp(-1, 1)


if __name__ == "__main__":
    main(tyro.cli(Options))
