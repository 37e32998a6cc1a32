"""Critics of an image together with landmarks: is it a real face, and does it have these landmarks?

Legend: N images, C channels, R side of the image, d numbers of an embedding.
Both begin as the generator's own discriminator, whatever the landmarks, and learn these from there.
"""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from facsimile.stylegan import Discriminator

from .landmark_tower import PICTURE, Tower
from .layers import GhostBatchNorm, forget, widths


class ProjectionCritic(nn.Module):
    """D(x, c) = D(x) + <phi(x), psi(c)> / sqrt(d).

    "cGANs with Projection Discriminator", equation 5: D(x) = v^T phi(x) is the discriminator, phi
    all of it but its last layer; psi a tower on the picture of landmarks, whose last layer is 0 at
    first. The tower is normalised over groups, as pictures of landmarks are nearly alike: without
    it the critic takes far longer to prefer a face's own landmarks to another's.
    """

    def __init__(self, own: Discriminator, width: int, max_width: int, group: int):
        """group: images per batch normalisation."""
        super().__init__()
        self.own = copy.deepcopy(own).requires_grad_(True)
        channels = widths(own.img_resolution, width, max_width)
        self.tower = Tower(channels, lambda channels: GhostBatchNorm(channels, group))
        self.size = own.config.channels[0]
        self.dense = nn.Linear(self.tower.outputs, self.size)
        for module in self.tower.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def told(self, picture: Tensor) -> Tensor:
        """Pictures (N, 3, R, R) of landmarks -> psi (N, d)."""
        psi = self.dense(self.tower(picture))
        forget(self)  # a critic is never used but in training
        return psi

    def forward(self, image: Tensor, told: Tensor, label: Tensor | None = None) -> Tensor:
        """image: (N, C, R, R), told: of `told`, label: (N, c_dim) or None -> logits (N, 1)."""
        phi = self.own.embed(image)
        fit = (phi * told).sum(1, keepdim=True) / math.sqrt(self.size)
        return self.own.logits_from(phi, label) + fit


class ConcatCritic(nn.Module):
    """D of the image and the picture of landmarks as one picture of more channels.

    As in the code of the paper's authors, but not from scratch: the generator's discriminator, with
    weights of 0 for the channels that are new.
    """

    def __init__(self, own: Discriminator):
        super().__init__()
        channels = own.img_channels + PICTURE
        held = own.state_dict()
        (first,) = (name for name in held if name.endswith("fromrgb.weight"))
        weight = held[first]
        self.own = Discriminator(replace(own.config, img_channels=channels)).to(weight)
        blank = weight.new_zeros(len(weight), PICTURE, *weight.shape[2:])
        # The scale of an equalised layer falls with its number of inputs.
        grown = torch.cat([weight, blank], 1) * math.sqrt(channels / own.img_channels)
        self.own.load_state_dict(held | {first: grown})

    def told(self, picture: Tensor) -> Tensor:
        """Pictures (N, 3, R, R) of landmarks, as they are."""
        return picture

    def forward(self, image: Tensor, told: Tensor, label: Tensor | None = None) -> Tensor:
        """image: (N, C, R, R), told: (N, 3, R, R), label: (N, c_dim) or None -> logits (N, 1)."""
        return self.own(torch.cat([image, told.to(image.dtype)], 1), label)
