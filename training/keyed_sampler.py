"""Random draws and training images, as functions of the samples that a batch slice names.

Legend: N samples of a slice, G samples of a group, L style inputs, R side of the image.
The samples of a group share minibatch statistics. Groups are numbered over the whole run, and each
has generators of its own, so the number of processes does not change any draw.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from facsimile.data import ImageDataset, from_uint8
from facsimile.stylegan import Generator
from facsimile.stylegan.randomness import keyed_generator

from .read_ahead import BatchSchedule, ReadAhead
from .recipe import BatchSlice, Distributed
from .settings import TrainingSettings

EPOCHS = 2
"""Orders of a training set that are kept: slices that are read ahead may be of the next epoch."""


class KeyedSampler:
    """Draws that depend on the seed, a key, and the number of a sample's group alone."""

    def __init__(
        self,
        seed: int,
        group_size: int,
        device: torch.device,
        dtype: torch.dtype,
        schedule: BatchSchedule | None = None,
    ):
        """group_size: G. device, dtype: of what is drawn. schedule: the slices of a training run,
        by which images of a set that is not in memory are read ahead; None: they are not."""
        self.seed, self.group_size, self.device, self.dtype = seed, group_size, device, dtype
        self.schedule = schedule
        self._orders: dict[tuple[int, int], Tensor] = {}
        self._read_ahead: ReadAhead | None = None

    @classmethod
    def for_run(
        cls, settings: TrainingSettings, distributed: Distributed, group_size: int
    ) -> "KeyedSampler":
        """The sampler of a training run."""
        schedule = BatchSchedule.of(settings, distributed)
        return cls(settings.seed, group_size, distributed.device, settings.dtype, schedule)

    def generators(
        self, key: str, batch: BatchSlice, device: torch.device | str
    ) -> Iterator[torch.Generator]:
        """One for each group of the slice."""
        first, groups = batch.start // self.group_size, batch.size // self.group_size
        return (
            keyed_generator(device, self.seed, key, number)
            for number in range(first, first + groups)
        )

    def numbers(
        self,
        key: str,
        batch: BatchSlice,
        distribution: Callable[..., Tensor],
        *shape: int,
        on_device: bool = False,
    ) -> Tensor:
        """(N, *shape) of `distribution`, torch.rand or torch.randn.

        They are drawn on the CPU, and are the same for every device; or with `on_device` where
        they are used, which is faster for many.
        """
        device = self.device if on_device else "cpu"
        return interleave_groups(
            [
                distribution(self.group_size, *shape, generator=generator, device=device)
                for generator in self.generators(key, batch, device)
            ]
        )

    def indices(self, size: int, batch: BatchSlice) -> Tensor:
        """(N,): the images of the slice, in a set of `size`; each once an epoch, in a new order."""
        indices = []
        for sample in range(batch.start, batch.start + batch.size):
            epoch, position = divmod(sample, size)
            indices.append(self._order(size, epoch)[position])
        return interleave_groups(list(torch.stack(indices).split(self.group_size)))

    def batch(self, dataset: ImageDataset, batch: BatchSlice) -> tuple[Tensor, Tensor]:
        """Training images (N, 3, R, R) of the slice, and their indices (N,), see `indices`.

        The next slices of a set that is not in memory are decoded meanwhile. The images are the
        same as in memory.
        """
        indices = self.indices(len(dataset), batch)
        if dataset.in_memory or self.schedule is None:
            return dataset.batch(indices, self.device, self.dtype), indices
        if self._read_ahead is None or self._read_ahead.dataset is not dataset:
            self._read_ahead = ReadAhead(
                dataset,
                lambda batch: self.indices(len(dataset), batch),
                self.schedule,
                pin=self.device.type == "cuda",
            )
        pixels = self._read_ahead.pixels(batch)
        return from_uint8(pixels.to(self.device, non_blocking=True), self.dtype), indices

    def images(self, dataset: ImageDataset, batch: BatchSlice, mirror: bool) -> Tensor:
        """Training images (N, 3, R, R) of the slice, half of them mirrored with `mirror`."""
        images, _ = self.batch(dataset, batch)
        if not mirror:
            return images
        mirrored = self.numbers("flip", batch, torch.rand, on_device=True) < 0.5
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def codes(
        self, generator: Generator, batch: BatchSlice, style_mixing_prob: float
    ) -> tuple[Tensor, Tensor]:
        """Two codes z (N, 2, z_dim), and (N, L) bool: the inputs that take the second of them."""
        z = self.numbers("code", batch, torch.randn, 2, generator.z_dim, on_device=True)
        uniform, cut = self.numbers("mixing", batch, torch.rand, 2).unbind(1)
        inputs = generator.num_ws
        cut = torch.where(uniform < style_mixing_prob, 1 + (cut * (inputs - 1)).floor(), inputs)
        return z.to(self.dtype), (torch.arange(inputs) >= cut[:, None]).to(self.device)

    def noise(self, generator: Generator, batch: BatchSlice) -> list[Tensor]:
        """Maps (N, 1, r, r), one for each noise input."""
        shapes = [tuple(x.noise_const.shape) for x in generator.synthesis.noise_inputs]
        sizes = [math.prod(shape) for shape in shapes]
        flat = self.numbers("noise", batch, torch.randn, sum(sizes), on_device=True).to(self.dtype)
        maps = zip(flat.split(sizes, 1), shapes, strict=True)
        return [values.unflatten(1, (1, *shape)) for values, shape in maps]

    def _order(self, size: int, epoch: int) -> Tensor:
        """(size,): the order of a training set in an epoch."""
        key = (size, epoch)
        if key not in self._orders:
            generator = keyed_generator("cpu", self.seed, "order", epoch)
            self._orders[key] = torch.randperm(size, generator=generator)
            if len(self._orders) > EPOCHS:
                del self._orders[next(iter(self._orders))]
        return self._orders[key]


def interleave_groups(groups: list[Tensor]) -> Tensor:
    """Groups (G, ...) -> (N, ...), in the order in which `minibatch_std` divides a batch."""
    return torch.stack(groups, 1).flatten(0, 1)


def cache_on_gpu(images: ImageDataset, device: torch.device) -> ImageDataset:
    """The training set on the GPU if it takes at most a quarter of the free memory there."""
    if device.type == "cuda" and images.pixels is not None:
        free, _ = torch.cuda.mem_get_info(device)
        if images.pixels.numel() < free / 4:
            return images.to(device)
    return images
