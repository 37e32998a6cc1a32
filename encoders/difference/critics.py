"""Critics of an image with landmarks: is it a real face, and does it have these landmarks?

Legend: N images, C channels, R image resolution, d features of an embedding.
Both are initialised with the generator's discriminator: their first logits ignore the landmarks.
"""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from facsimile.stylegan import Discriminator

from ..layers import GhostBatchNorm, channel_schedule, discard_batch_stats
from .landmark_cnn import LANDMARK_CHANNELS, LandmarkCNN


class ProjectionCritic(nn.Module):
    """D(x, c) = D(x) + <phi(x), psi(c)> / sqrt(d).

    "cGANs with Projection Discriminator", equation 5: D(x) = v^T phi(x) is the discriminator, phi
    all of it but its last layer; psi is a network on the rendered landmarks whose last layer is
    initially 0. That network is normalised over groups, as rendered landmarks are nearly alike:
    otherwise the critic takes far longer to prefer a face's landmarks to those of another.
    """

    def __init__(
        self, discriminator: Discriminator, width: int, max_width: int, bn_group_size: int
    ):
        """bn_group_size: images per batch normalisation."""
        super().__init__()
        self.discriminator = copy.deepcopy(discriminator).requires_grad_(True)
        channels = channel_schedule(discriminator.img_resolution, width, max_width)
        self.landmark_net = LandmarkCNN(channels, lambda x: GhostBatchNorm(x, bn_group_size))
        self.embedding_dim = discriminator.config.channels[0]
        self.dense = nn.Linear(self.landmark_net.out_features, self.embedding_dim)
        for module in self.landmark_net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def embed_landmarks(self, rendered: Tensor) -> Tensor:
        """Rendered landmarks (N, 3, R, R) -> psi (N, d)."""
        psi = self.dense(self.landmark_net(rendered))
        discard_batch_stats(self)  # a critic is only used in training
        return psi

    def forward(self, image: Tensor, condition: Tensor, label: Tensor | None = None) -> Tensor:
        """image: (N, C, R, R), condition: psi (N, d), label: (N, c_dim) or None.

        Returns logits (N, 1).
        """
        phi = self.discriminator.embedding(image)
        projection = (phi * condition).sum(1, keepdim=True) / math.sqrt(self.embedding_dim)
        return self.discriminator.logits_from(phi, label) + projection


class ConcatCritic(nn.Module):
    """D of the image and the rendered landmarks, concatenated as channels.

    As in the code of the paper's authors, but initialised with the generator's discriminator, with
    weights of 0 for the new channels.
    """

    def __init__(self, discriminator: Discriminator):
        super().__init__()
        channels = discriminator.img_channels + LANDMARK_CHANNELS
        weights = discriminator.state_dict()
        (first,) = (name for name in weights if name.endswith("fromrgb.weight"))
        weight = weights[first]
        config = replace(discriminator.config, img_channels=channels)
        self.discriminator = Discriminator(config).to(weight)
        zeros = weight.new_zeros(len(weight), LANDMARK_CHANNELS, *weight.shape[2:])
        # The scale of an equalised layer falls with its number of inputs.
        scale = math.sqrt(channels / discriminator.img_channels)
        extended = torch.cat([weight, zeros], 1) * scale
        self.discriminator.load_state_dict(weights | {first: extended})

    def embed_landmarks(self, rendered: Tensor) -> Tensor:
        """Rendered landmarks (N, 3, R, R), unchanged."""
        return rendered

    def forward(self, image: Tensor, condition: Tensor, label: Tensor | None = None) -> Tensor:
        """image: (N, C, R, R), condition: rendered landmarks (N, 3, R, R), label: (N, c_dim) or
        None. Returns logits (N, 1).
        """
        return self.discriminator(torch.cat([image, condition.to(image.dtype)], 1), label)
