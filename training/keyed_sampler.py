"""What a place of a run draws: training images, codes, noise, numbers; a function of the place.

Legend: N images of a place, G images of a group, L style inputs, R side of the image.
Groups, the images that share their minibatch statistics, are numbered over the whole run, and each
has a source of randomness of its own: how many processes there are changes no draw.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from facsimile.data import ImageSet
from facsimile.stylegan import Generator
from facsimile.stylegan.randomness import keyed_generator

from .recipe import BatchSlice


class KeyedSampler:
    def __init__(self, seed: int, group: int, device: torch.device, dtype: torch.dtype):
        self.seed, self.group, self.device, self.dtype = seed, group, device, dtype
        self._order: tuple[int, int, Tensor] | None = None

    def sources(
        self, what: str, place: BatchSlice, device: torch.device | str
    ) -> Iterator[torch.Generator]:
        """One per group at `place`."""
        first, groups = place.first // self.group, place.n // self.group
        return (
            keyed_generator(device, self.seed, what, number)
            for number in range(first, first + groups)
        )

    def numbers(
        self,
        what: str,
        place: BatchSlice,
        draw: Callable[..., Tensor],
        *shape: int,
        on_device: bool = False,
    ) -> Tensor:
        """(N, *shape) from `draw`, torch.rand or torch.randn; on the device itself with `on_device`."""
        device = self.device if on_device else "cpu"
        rngs = self.sources(what, place, device)
        return interleave_groups(
            [draw(self.group, *shape, generator=r, device=device) for r in rngs]
        )

    def images(self, known: ImageSet, place: BatchSlice, flip: bool) -> Tensor:
        """Training images (N, 3, R, R): each once per epoch, half of them mirrored with `flip`."""
        images = known.batch(self.indices(len(known), place), self.device, self.dtype)
        if not flip:
            return images
        mirrored = self.numbers("flip", place, torch.rand).to(self.device) < 0.5
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def indices(self, size: int, place: BatchSlice) -> Tensor:
        """(N,): which of a set of `size` images the samples are; a new order every epoch."""
        found = []
        for sample in range(place.first, place.first + place.n):
            epoch, position = divmod(sample, size)
            if self._order is None or self._order[:2] != (size, epoch):
                rng = keyed_generator("cpu", self.seed, "order", epoch)
                self._order = (size, epoch, torch.randperm(size, generator=rng))
            found.append(self._order[2][position])
        return interleave_groups(list(torch.stack(found).split(self.group)))

    def codes(
        self, generator: Generator, place: BatchSlice, mixing: float
    ) -> tuple[Tensor, Tensor]:
        """z (N, 2, z_dim), and (N, L): whether an input takes the second of the two codes."""
        z = self.numbers("code", place, torch.randn, 2, generator.z_dim, on_device=True).to(
            self.dtype
        )
        mixed, cut = self.numbers("mixing", place, torch.rand, 2).unbind(1)
        inputs = generator.num_ws
        cut = torch.where(mixed < mixing, 1 + (cut * (inputs - 1)).floor(), inputs)
        return z, (torch.arange(inputs) >= cut[:, None]).to(self.device)

    def noise(self, generator: Generator, place: BatchSlice) -> list[Tensor]:
        """Maps (N, 1, r, r), one per noise input."""
        shapes = [tuple(x.noise_const.shape) for x in generator.synthesis.noise_inputs]
        sizes = [math.prod(shape) for shape in shapes]
        flat = self.numbers("noise", place, torch.randn, sum(sizes), on_device=True).to(self.dtype)
        parts = zip(flat.split(sizes, 1), shapes, strict=True)
        return [part.unflatten(1, (1, *shape)) for part, shape in parts]


def interleave_groups(groups: list[Tensor]) -> Tensor:
    """Groups (G, ...) -> (N, ...), laid out so that `minibatch_std` finds them again."""
    return torch.stack(groups, 1).flatten(0, 1)


def cache_on_gpu(images: ImageSet, device: torch.device) -> ImageSet:
    """The training set on the GPU where it takes at most a quarter of the free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if images.pixels.numel() < free / 4:
            return images.to(device)
    return images
