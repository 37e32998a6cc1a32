"""The Fréchet distance between generated images and a training set.

Legend: N images, C channels, R resolution.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from facsimile import data
from facsimile.metrics.frechet import (
    FeatureExtractor,
    Moments,
    build_features,
    frechet_distance,
    moments,
)
from facsimile.stylegan.randomness import keyed_generator

from .generator_settings import GeneratorSettings
from .progress import with_bar
from .recipe import Distributed

PART = 16
"""Images at a time."""


class FrechetEvaluation:
    """Loads its network, and measures the training set, the first time that it is called."""

    def __init__(self, settings: GeneratorSettings, distributed: Distributed):
        self.settings, self.distributed = settings, distributed
        self._features: FeatureExtractor | None = None
        self._real: Moments | None = None

    @torch.no_grad()
    def __call__(
        self, images: data.ImageDataset, generate: Callable[[int], Iterator[Tensor]]
    ) -> dict[str, float]:
        """The distance by its name; empty with --frechet none.

        generate: a count -> so many images (n, C, R, R) in [-1, 1], by parts; values outside are
        clipped.
        """
        count = self.settings.frechet_samples
        if self._features is None:
            self._features = self._build_features()
            if self._features is None:
                return {}
            print(f"{self._features.note}; of {count} images", flush=True)
        network = self._features.network
        if self._real is None:
            rng = keyed_generator("cpu", self.settings.seed, "judged")
            indices = torch.randperm(len(images), generator=rng)[:count]
            parts = images.batches(indices.split(PART), self.distributed.device, torch.float32)
            parts = with_bar(parts, len(indices), "training images", self.distributed)
            self._real = moments(map(network, parts))
        parts = with_bar(generate(count), count, "generated images", self.distributed)
        generated = moments(network(x.float().clamp(-1, 1)) for x in parts)
        return {self._features.name: frechet_distance(generated, self._real)}

    def _build_features(self) -> FeatureExtractor | None:
        load, evaluation = self.distributed.load_networks, self.settings.evaluation
        discriminator = load(self.settings.network.init_from or "faces").discriminator
        return build_features(
            evaluation.frechet,
            discriminator or load("faces").discriminator,
            evaluation.frechet_weights,
        )
