"""Does a folder of photos stream through an encoder as fast as the networks run?"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro
from torch import Tensor

from benchmarks import report
from facsimile import Studio, checkpoints, data, encoders
from facsimile.checkpoints import EncoderSet
from facsimile.encoders import BaseEncoder
from facsimile.encoders.base.network import BaseConfig
from facsimile.inversion import Inverter
from facsimile.jobs import Job
from facsimile.stylegan import Generator, freeze


@dataclass(frozen=True, kw_only=True)
class Options:
    """Invert generated pictures with the feature encoder alone, from files to files and in memory.

    The files: facsimile invert FILES --no-align --steps 0 --init encoder, from reading a picture
    to the last summary. Bare: encoder and generator on batches in memory. Exits with status 1
    if the files' rate is below `least` times the bare rate.
    """

    files: int = 1000
    batch: int = 8
    generator: str = "faces"
    encoder: Path | None = None
    """A feature or base encoder. Default: the one beside the generator, or a random base encoder,
    which is as fast."""
    least: float = 0.8
    device: str = "cpu"
    threads: int | None = None
    """CPU threads of the networks; None: PyTorch's choice."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        studio = load(options, work)
        photos, images = write_photos(studio.generator, options, work)
        inverter = studio.inverter(studio.plan("f/z+", steps=0, init="encoder", align=False))
        job = Job(inverter, studio.target_reader, photos, work / "out", options.batch)
        bare(inverter, images[: 2 * options.batch], options)  # warms up
        half = len(images) // 2
        # Before and after: a machine that slows down slows both.
        seconds = bare(inverter, images[:half], options)
        start = time.perf_counter()
        job.run()
        streamed = time.perf_counter() - start
        seconds += bare(inverter, images[half:], options)
    if job.failed:
        raise RuntimeError(f"not all files were inverted: {job.failed}")
    rates = {"bare": len(photos) / seconds, "files": len(photos) / streamed}
    ratio = rates["files"] / rates["bare"]
    print(report.table(("", "images/s"), [(name, f"{rate:.1f}") for name, rate in rates.items()]))
    print(f"files / bare: {ratio:.2f}, expected at least {options.least:g}")
    print(report.machine(options.device))
    if ratio < options.least:
        sys.exit(1)


def load(options: Options, work: Path) -> Studio:
    """Without a perceptual network, as the command line does with 0 steps."""
    named = () if options.encoder is None else (options.encoder,)
    networks = checkpoints.find(options.generator, options.device, named)
    encoder_set = networks.encoders
    if not (encoder_set.has("feature") or encoder_set.has("base")):
        path = work / "base.safetensors"
        encoders.save(random_encoder(networks.generator), path)
        encoder_set = EncoderSet(networks.generator, named=[path])
    return Studio(networks.generator, encoders=encoder_set, name=networks.name)


def random_encoder(generator: Generator) -> BaseEncoder:
    """With the default width."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = BaseEncoder(BaseConfig.for_generator(generator, None, 128, "zero"))
        encoder.to(generator.device)
        z = torch.randn(16, generator.z_dim).to(generator.device)
    encoder.init_normalization(generator, generator.map(z))
    return freeze(encoder)


@torch.no_grad()
def write_photos(generator: Generator, options: Options, work: Path) -> tuple[list[Path], Tensor]:
    """Samples as .png files, and (N, C, R, R) as they are read again."""
    source = torch.Generator().manual_seed(0)
    photos, images = [], []
    (work / "photos").mkdir()
    for index in range(options.files):
        z = torch.randn(1, generator.z_dim, generator=source).to(generator.device)
        picture = data.to_pil(generator.synthesize(generator.map(z, truncation_psi=0.7))[0])
        photos.append(work / "photos" / f"{index}.png")
        picture.save(photos[-1])
        images.append(data.to_tensor(picture))
    return photos, torch.stack(images).to(options.device)


@torch.no_grad()
def bare(inverter: Inverter, images: Tensor, options: Options) -> float:
    """Seconds of encoder and generator alone."""
    start = time.perf_counter()
    for targets in images.split(options.batch):
        inverter.initial_latents(targets).synthesize(inverter.generator).cpu()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(tyro.cli(Options))
