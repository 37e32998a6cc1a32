"""`facsimile sample`: random samples of a generator."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from facsimile import checkpoints, data, pictures
from facsimile.data.progress import ProgressBar
from facsimile.devices import pick_device
from facsimile.exit_status import OK
from facsimile.stylegan.randomness import keyed_generator

from .options import ComputeOptions

PER_ROW = 8
"""Samples in a row of the sheet."""


@dataclass(frozen=True, kw_only=True)
class Sample(ComputeOptions):
    """Synthesize random samples of a generator, as one sheet or as a folder of pictures.

    A sheet: facsimile sample --out samples.png

    A folder: facsimile sample --out samples/ --count 1000
    """

    out: Path
    """A picture's file for a sheet of all samples, or a folder for a picture of each."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    count: int = 48
    """Number of samples, eight to a row."""
    truncation_psi: float = 0.7
    """1 gives the generator's full variety, 0 its average image."""
    seed: int = 0
    """Sample i of a seed is the same for any count."""

    def run(self) -> int:
        if self.count < 1:
            raise ValueError(f"--count is {self.count}; it must be at least 1")
        samples = self._samples()
        if self.out.suffix:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            images = list(samples)
            rows = [images[i : i + PER_ROW] for i in range(0, len(images), PER_ROW)]
            pictures.sheet(rows, smallest=1).save(self.out)
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            bar = ProgressBar(samples, total=self.count, unit="sample", disable=self.quiet)
            for index, image in enumerate(bar):
                pictures.save(data.to_pil(image.clamp(-1, 1)), self.out / f"{index:06d}.png")
        print(self.out)
        return OK

    @torch.no_grad()
    def _samples(self) -> Iterator[torch.Tensor]:
        """Images (C, R, R), one after another."""
        generator = checkpoints.find(self.generator, pick_device(self.device)).generator
        for index in range(self.count):
            rng = keyed_generator("cpu", self.seed, "sample", index)
            z = torch.randn(1, generator.z_dim, generator=rng).to(generator.device)
            c = None
            if generator.c_dim:
                c = torch.zeros(1, generator.c_dim, device=generator.device)
                c[0, torch.randint(generator.c_dim, (), generator=rng)] = 1
            image = generator.synthesize(generator.map(z, c, self.truncation_psi))
            assert isinstance(image, torch.Tensor)
            yield image[0].cpu()
