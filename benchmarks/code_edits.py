"""Whether edits of an encoder's codes stay pictures of faces: Fréchet distance to the unedited.

Codes that lie far from the generator's samples redraw a photo and fall apart when they are edited.

Legend: N faces, L style inputs, D numbers in w.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from benchmarks import faces, report
from facsimile import checkpoints, encoders
from facsimile.metrics.frechet import build_features, frechet_distance, moments
from facsimile.stylegan import Generator
from facsimile.stylegan.randomness import keyed_generator
from facsimile.stylegan.statistics import principal_directions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Edit the codes of faces along random principal components, both ways, and compare the sets.

    Prints and writes the Fréchet distance of the edited pictures to the unedited ones of the same
    encoder, and to the photos.
    """

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces."""
    encoders: tuple[Path, ...] = ()
    """Encoders into W+, as files or folders of runs. Default: the in-domain encoder beside the
    generator."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    weights: Path
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    count: int = 300
    components: int = 20
    """Principal components of w, those of the largest variance, among which edits are drawn."""
    edits: int = 4
    """Of every face."""
    strength: float = 2.0
    """In standard deviations of samples."""
    batch: int = 20
    seed: int = 0
    out: Path = Path("runs/code-edits.json")
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


@torch.no_grad()
def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    found = checkpoints.find(options.generator, options.device)
    generator = found.generator.to(options.device)
    features = build_features("squeezenet", found.discriminator, options.weights)
    assert features is not None
    read = faces.read(options.faces, generator.resolution, options.count)
    images = read.images.to(options.device)
    photos = moments(features.network(x) for x in images.split(options.batch))
    changes = random_edits(generator, options)
    rows = {}
    for name, encoder in _encoders(found.encoders, generator, options):
        parts = images.split(options.batch)
        codes = torch.cat([encoders.encode(encoder, generator, x, "w+").code for x in parts])
        unedited = moments(map(features.network, _synthesize(generator, codes, options.batch)))
        edited = (codes[:, None] + changes).flatten(0, 1)
        moved = moments(map(features.network, _synthesize(generator, edited, options.batch)))
        rows[name] = {
            "edited to unedited": frechet_distance(moved, unedited),
            "unedited to photos": frechet_distance(unedited, photos),
            "edited to photos": frechet_distance(moved, photos),
        }
    lines = [(name, *(f"{x:.0f}" for x in row.values())) for name, row in rows.items()]
    print(report.table(("", *next(iter(rows.values()))), lines))
    settings = {"faces": options.count, "edits": options.edits, "strength": options.strength}
    machine = report.machine(options.device)
    report.write_json(options.out, {"distance": rows, "machine": machine} | settings)


def random_edits(generator: Generator, options: Options) -> Tensor:
    """(N, edits, L, D): changes along components drawn for each face, with random signs."""
    directions = principal_directions(generator)[: options.components]
    rng = keyed_generator("cpu", options.seed, "code edits")
    shape = (options.count, options.edits)
    number = torch.randint(len(directions), shape, generator=rng)
    sign = 1 - 2 * torch.randint(2, shape, generator=rng)
    change = options.strength * sign[..., None] * directions[number]
    return change[:, :, None].expand(-1, -1, generator.num_ws, -1).to(options.device, torch.float32)


def _encoders(
    found: checkpoints.EncoderSet, generator: Generator, options: Options
) -> Iterator[tuple[str, nn.Module]]:
    if not options.encoders:
        yield "in-domain", found.get("in-domain").network.to(options.device)
    for path in options.encoders:
        yield str(path), encoders.load(path, generator)


def _synthesize(generator: Generator, codes: Tensor, batch: int) -> Iterator[Tensor]:
    return (generator.synthesize(x).clamp(-1, 1) for x in codes.split(batch))


if __name__ == "__main__":
    main(tyro.cli(Options))
