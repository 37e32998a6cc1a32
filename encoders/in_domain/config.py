"""The configuration of an in-domain encoder."""

from dataclasses import dataclass
from typing import Any, Literal

from facsimile.stylegan import Discriminator, Generator

from ..codes_network import CodesConfig
from ..layers import check_resolution, default_resolution, feature_net_config

Architecture = Literal["resnet", "levels"]


@dataclass(frozen=True, kw_only=True)
class DescentWeights:
    """Weights of the terms of the loss that the learned optimizer descends."""

    pixel: float = 1.0
    """Of the mean squared error."""
    perceptual: float = 10.0
    """Of the distance of the feature network's features; 10 is refinement's default."""
    identity: float = 0.0
    """Of the squared distance of the identity network's embeddings."""
    latent: float = 0.0
    """Of a code's mean square, in standard deviations of w, by which it stays in the domain."""


@dataclass(frozen=True, kw_only=True)
class InDomainConfig:
    """The generator and the sizes of an in-domain encoder."""

    fingerprint: str
    """Of the generator that the encoder belongs to."""
    architecture: Architecture = "resnet"
    """Of the network before the learned optimizer. resnet: that of the authors' code, whose last
    layer makes all codes of one vector; levels: `CodesNetwork`."""
    img_channels: int
    resolution: int
    """Resolution of the network's input, a power of two; images are resized to it."""
    num_ws: int
    w_dim: int
    width: int
    """Channels of the first stage; in the resnet, every halving doubles them."""
    max_width: int
    """Most channels of a stage."""
    codes: CodesConfig | None = None
    """Sizes of the codes network; None: a resnet."""
    iterations: int = 0
    """Steps of the learned optimizer."""
    hidden: int = 256
    """Hidden features for each style input of the learned optimizer."""
    turn_rank: int | None = None
    """Rank of the matrix of each style input that turns the gradient; None: w_dim."""
    initial_step: float = 0.03
    """Length of a new learned optimizer's steps, in standard deviations of w."""
    descent: DescentWeights = DescentWeights()
    feature_net: dict[str, Any] | None = None
    """Configuration of the discriminator of the learned optimizer's perceptual term."""
    identity: str | None = None
    """Name of the network of its identity term, as for `metrics.build_identity`. The network itself
    is not in the encoder's file."""

    def __post_init__(self) -> None:
        # Files hold dictionaries.
        if isinstance(self.codes, dict):
            object.__setattr__(self, "codes", CodesConfig(**self.codes))
        if isinstance(self.descent, dict):
            object.__setattr__(self, "descent", DescentWeights(**self.descent))
        check_resolution(self.resolution)
        if (self.architecture == "levels") != (self.codes is not None):
            raise ValueError(
                f'the architecture is "{self.architecture}", and sizes of a codes network are '
                f'{"" if self.codes else "not "}given; they belong to "levels"'
            )

    @staticmethod
    def for_generator(
        generator: Generator,
        width: int,
        max_width: int,
        resolution: int | None = None,
        iterations: int = 0,
        feature_net: Discriminator | None = None,
        *,
        architecture: Architecture = "resnet",
        **optimizer: Any,
    ) -> "InDomainConfig":
        """For a generator; resolution None: its own, or the power of two below it.

        max_width: of the resnet. optimizer: fields of the learned optimizer, if there are
        iterations.
        """
        codes = None
        if architecture == "levels":
            codes = CodesConfig.for_generator(generator, width, resolution)
            width, max_width = codes.channels[0], max(codes.channels)
        if iterations:
            optimizer["feature_net"] = feature_net_config(feature_net)
        return InDomainConfig(
            fingerprint=generator.fingerprint,
            architecture=architecture,
            img_channels=generator.img_channels,
            resolution=resolution or default_resolution(generator),
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            width=width,
            max_width=max_width,
            codes=codes,
            iterations=iterations,
            **(optimizer if iterations else {}),
        )
