"""What the terms of a loss are computed from: images at one step, and their targets.

Legend: N images, C channels, HxW pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents

from .recipe import Term

Networks = Mapping[str, Any]
"""By name: "perceptual" is a `metrics.Perceptual`, "encoder" maps images (N, C, H, W) to codes
(N, L, w_dim) in W+. A term may ask for any other name."""


@dataclass(frozen=True)
class Targets:
    """What a batch is compared with; constant during a phase."""

    generator: Generator
    initial: Latents
    """The latents before refinement."""
    images: Mapping[str, Tensor]
    """(N, C, H, W) each."""
    masks: Mapping[str, Tensor]
    """(N, 1, H, W) in [0, 1] each."""
    networks: Networks
    features: Mapping[tuple[str, str], list[Tensor]]
    """(term, target) -> tensors (N, ...) that the term's `prepare` made of the target's images."""
    dtype: torch.dtype | None = None
    """In which the generator computes, by autocast; None: in its own."""

    def select(self, indices: Tensor) -> "Targets":
        """The same for some of the images."""
        if len(indices) == len(self.initial):
            return self
        return replace(
            self,
            initial=self.initial[indices],
            images={name: x[indices] for name, x in self.images.items()},
            masks={name: x[indices] for name, x in self.masks.items()},
            features={key: [x[indices] for x in tensors] for key, tensors in self.features.items()},
        )

    def inputs(self, latents: Latents) -> "LossInputs":
        """With the images that these latents synthesize."""
        device = latents.code.device.type
        with torch.autocast(device, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            image = latents.synthesize(self.generator)
        return LossInputs(self, latents, image.to(latents.code.dtype))


@dataclass(frozen=True)
class LossInputs:
    """All that a term may use, at one step."""

    targets: Targets
    latents: Latents
    image: Tensor
    """(N, C, H, W), synthesized from the latents."""

    def network(self, name: str) -> Any:
        """The network of this name in `refine(networks=...)`."""
        return self.targets.networks[name]

    def target(self, term: Term) -> Tensor:
        """(N, C, H, W) the images with which the term compares."""
        return self.targets.images[term.target]

    def target_features(self, term: Term) -> list[Tensor]:
        """What the term's `prepare` made of these images, once for the whole run."""
        return self.targets.features[term.name, term.target]

    def mask(self, term: Term) -> Tensor | None:
        """(N, 1, H, W) in [0, 1], or None for all pixels."""
        return None if term.mask is None else self.targets.masks[term.mask]

    def difference(self, term: Term) -> Tensor:
        """(image - target), times the mask: (N, C, H, W)."""
        difference = self.image - self.target(term)
        return difference if term.mask is None else difference * self.mask(term)
