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
        if self._features is None:
            self._features = self._build_features()
            if self._features is None:
                return {}
            print(self._features.note, flush=True)
        network, count = self._features.network, self.settings.evaluation.frechet_samples
        if self._real is None:
            rng = keyed_generator("cpu", self.settings.seed, "judged")
            indices = torch.randperm(len(images), generator=rng)[:count].split(PART)
            parts = images.batches(indices, self.distributed.device, torch.float32)
            self._real = moments(map(network, parts))
        generated = moments(network(x.float().clamp(-1, 1)) for x in generate(count))
        return {self._features.name: frechet_distance(generated, self._real)}

    def _build_features(self) -> FeatureExtractor | None:
        load, evaluation = self.distributed.load_networks, self.settings.evaluation
        discriminator = load(self.settings.network.init_from or "faces").discriminator
        return build_features(
            evaluation.frechet,
            discriminator or load("faces").discriminator,
            evaluation.frechet_weights,
        )
