"""The latent difference encoder: from a face's code and landmarks to that face with them.

Legend: N images, L style inputs (num_ws), D numbers in w, K = 68 points, E landmark features.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", figure 1, with the sizes and
the order of layers of the authors' code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.layers import SLOPE

from ..layers import GhostBatchNorm, channel_schedule, check_resolution, default_resolution
from .landmark_cnn import LandmarkCNN, PerLayerLinear, init_weights, render_landmarks

LANDMARK_FEATURES, SOURCE_FEATURES = 160, 32
"""Features of the landmarks, and of each w."""
INITIAL_DIFFERENCE = 0.1
"""Standard deviation of the initial differences, in those of w."""


@dataclass(frozen=True, kw_only=True)
class DifferenceConfig:
    """The generator and the sizes of a difference or keypoint encoder."""

    fingerprint: str
    """Of the generator that the encoder belongs to."""
    norm: Literal["batch", "layer"]
    """Over a group of images, as in the paper; or over each image, for small groups."""
    side: int
    """Resolution of the generator's images, in whose pixels landmarks are given."""
    resolution: int
    """Resolution of the rendered landmarks, a power of two."""
    num_ws: int
    w_dim: int
    width: int
    """Channels of the landmark network's first stage; every halving doubles them."""
    max_width: int
    """Most channels of a stage."""
    hidden: int = 0
    """Features of a layer that sees both the face and the landmarks; 0: none, as in the paper."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if self.norm not in ("batch", "layer"):
            raise ValueError(f'norm is "{self.norm}"; it must be batch or layer')
        if self.hidden < 0:
            raise ValueError(f"hidden is {self.hidden}; it must be at least 0")

    @staticmethod
    def for_generator(
        generator: Generator,
        width: int,
        max_width: int,
        resolution: int | None = None,
        norm: Literal["batch", "layer"] = "batch",
        hidden: int = 0,
    ) -> "DifferenceConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        return DifferenceConfig(
            fingerprint=generator.fingerprint,
            norm=norm,
            side=generator.resolution,
            resolution=resolution or default_resolution(generator),
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            width=width,
            max_width=max_width,
            hidden=hidden,
        )


class DifferenceEncoder(nn.Module):
    """Codes (N, L, D) in W+ and landmarks (N, K, 2) -> codes (N, L, D): w + d(w, landmarks).

    d is in standard deviations of w, so that a generator's scale of w does not matter. Its initial
    size is a tenth of them: training starts close to the source's image, which a difference as
    large as w would destroy, and every weight has a gradient from the first step on, which d = 0
    would not give. The paper's last normalisation has no such factor.

    The paper's d is a sum of features of the landmarks and features of w_i: the same landmarks move
    every face alike. The optional hidden layer of all w and the landmarks, not in the paper, is
    added to the features of every d_i, so that the movement may depend on the face.
    """

    # Names in the code of the submodules; their names in files are on the right.
    landmark_net = property(attrgetter("tower"))
    landmark_features = property(attrgetter("shape"))
    source_linear = property(attrgetter("inward"))
    source_features = property(attrgetter("source"))
    joint_features = property(attrgetter("joint"))
    output_linear = property(attrgetter("outward"))
    output_norm = property(attrgetter("last"))

    def __init__(self, config: DifferenceConfig, bn_group_size: int = 2):
        """bn_group_size: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        num_ws, w_dim, batch = config.num_ws, config.w_dim, config.norm == "batch"

        def norm(features: int) -> nn.Module:
            return GhostBatchNorm(features, bn_group_size) if batch else nn.LayerNorm(features)

        def norm2d(channels: int) -> nn.Module:
            return GhostBatchNorm(channels, bn_group_size) if batch else nn.GroupNorm(1, channels)

        def dense(inputs: int, features: int) -> list[nn.Module]:
            return [nn.Linear(inputs, features, bias=False), norm(features), act]

        act = nn.LeakyReLU(SLOPE)
        network, inputs = self._build_landmark_net(norm2d)
        self.add_module("tower", network)
        self.add_module("shape", nn.Sequential(*dense(inputs, LANDMARK_FEATURES)))
        self.add_module("inward", PerLayerLinear(num_ws, w_dim, SOURCE_FEATURES))
        source_norm = norm(num_ws * SOURCE_FEATURES)
        self.add_module("source", nn.Sequential(nn.Flatten(), source_norm, act))
        inputs = num_ws * SOURCE_FEATURES + LANDMARK_FEATURES
        joint = nn.Sequential(*dense(inputs, config.hidden)) if config.hidden else None
        self.add_module("joint", joint)
        features = SOURCE_FEATURES + LANDMARK_FEATURES + config.hidden
        self.add_module("outward", PerLayerLinear(num_ws, features, w_dim))
        # Normalised by itself, no image could get d = 0, which a face that is to stay needs.
        self.add_module(
            "last", GhostBatchNorm(num_ws * w_dim, bn_group_size) if batch else nn.Identity()
        )
        init_weights(self)
        if batch:
            nn.init.constant_(self.output_norm.weight, INITIAL_DIFFERENCE)
        else:
            nn.init.normal_(self.output_linear.weight, std=INITIAL_DIFFERENCE / features**0.5)
        self.register_buffer("mean", torch.zeros(num_ws, w_dim))
        self.register_buffer("scale", torch.ones(num_ws, w_dim))

    def _build_landmark_net(self, norm: Callable[[int], nn.Module]) -> tuple[nn.Module, int]:
        """(network on what `_landmark_input` gives, number of its output features)."""
        config = self.config
        channels = channel_schedule(config.resolution, config.width, config.max_width)
        network = LandmarkCNN(channels, norm)
        return network, network.out_features

    def _landmark_input(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) -> rendered images (N, 3, S, S)."""
        return render_landmarks(landmarks, self.config.side, self.config.resolution)

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale: the generator's mean code, and the deviation of ws (N, L, D)."""
        self.mean.copy_(spaces.SPACES["w+"].initial_code(generator, 1, "mean")[0])
        self.scale.copy_(ws.std(0))

    def embed_landmarks(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) in pixels of the generator's images -> features e_c (N, E)."""
        inputs = self._landmark_input(landmarks.to(self.mean))
        return self.landmark_features(self.landmark_net(inputs))

    def difference(self, ws: Tensor, embedding: Tensor) -> Tensor:
        """ws (N, L, D), embedded landmarks (N, E) -> d (N, L, D)."""
        if ws.shape[1:] != self.mean.shape:
            raise ValueError(
                f"got codes of the shape {tuple(ws.shape)}; this encoder takes "
                f"(N, {', '.join(map(str, self.mean.shape))}) in W+"
            )
        num_ws = len(self.mean)
        source = self.source_features(self.source_linear((ws - self.mean) / self.scale))
        if self.joint_features is not None:
            joint = self.joint_features(torch.cat([source, embedding], 1))
            embedding = torch.cat([embedding, joint], 1)
        source = source.unflatten(1, (num_ws, -1))
        # (N, L, 192 + hidden)
        features = torch.cat([source, embedding[:, None].expand(-1, num_ws, -1)], 2)
        # From here in full precision: three digits are too few for a code.
        d = self.output_norm(self.output_linear(features).to(self.mean.dtype).flatten(1))
        return d.unflatten(1, self.mean.shape) * self.scale

    def predict(self, ws: Tensor, embedding: Tensor) -> Tensor:
        """ws (N, L, D), embedded landmarks (N, E) -> w_hat = w + d (N, L, D)."""
        return ws + self.difference(ws, embedding)

    def forward(self, ws: Tensor, landmarks: Tensor) -> Tensor:
        """Landmarks in pixels of the generator's images; ValueError for other shapes."""
        return self.predict(ws, self.embed_landmarks(landmarks))
