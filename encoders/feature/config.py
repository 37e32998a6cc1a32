"""The configuration of a feature encoder."""

from dataclasses import dataclass

import torch

from facsimile.stylegan import Generator, spaces

from ..blocks import NORM_GROUPS
from ..codes_network import CodesConfig

MAX_HALVINGS = 3
"""The images that are compared have at most 2^3 = 8 times the side of the feature."""
INNER_FACTOR = 10 / 7
"""Channels at half the feature's side, as a multiple of those at its side."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """The generator, the layer and the sizes of a feature encoder."""

    fingerprint: str
    """Of the generator that the encoder belongs to."""
    layer: str
    """Layer whose output the feature is."""
    channels: int
    """Of the feature."""
    side: int
    """Side of the feature without its margin, in pixels."""
    margin: int
    """Pixels of the feature around that side; StyleGAN3 has some."""
    halvings: int
    """Halvings from the images that are compared to the side of the feature."""
    width: int
    """Channels of the fusion network at the feature's side, a multiple of 8."""
    inner_width: int
    """Channels of the fusion network at half of that side, a multiple of 8."""
    counts: tuple[int, int, int] = (2, 2, 4)
    """Residual blocks of the fusion network before, at and after half the side."""
    codes: CodesConfig
    """Sizes of the codes network."""
    z_dim: int
    c_dim: int
    """Length of a label; 0 without labels."""
    hidden: int
    """Hidden features of the inverse mapping."""
    iterations: int = 0
    """Corrections of the feature, each after a look at its picture: `FeatureEncoder.predict`."""

    def __post_init__(self) -> None:
        # Files hold lists and dictionaries.
        object.__setattr__(self, "counts", tuple(self.counts))
        if isinstance(self.codes, dict):
            object.__setattr__(self, "codes", CodesConfig(**self.codes))
        for width in (self.width, self.inner_width):
            if width < 1 or width % NORM_GROUPS:
                raise ValueError(f"the width is {width}; it must be a multiple of {NORM_GROUPS}")

    @staticmethod
    def for_generator(
        generator: Generator,
        layer: str | None = None,
        width: int = 112,
        codes_width: int = 48,
        hidden: int | None = None,
        iterations: int = 0,
    ) -> "FeatureConfig":
        """For a layer of the generator (None: see `default_layer`); ValueError for an unknown one.

        width: rounded up to a multiple of 8; codes_width: see `CodesConfig.for_generator`; hidden:
        None for as many as w has numbers.
        """
        layer = layer or default_layer(generator)
        generator.first_ws_index(layer)  # raises
        side = next(x.resolution for x in generator.synthesis.layers if x.name == layer)
        mean = spaces.SPACES["w+"].initial_code(generator, 1, "mean")
        with torch.no_grad():
            shape = generator.synthesize(mean, stop=layer).x.shape
        width, inner_width = (
            NORM_GROUPS * -(-int(n) // NORM_GROUPS) for n in (width, width * INNER_FACTOR)
        )
        return FeatureConfig(
            fingerprint=generator.fingerprint,
            layer=layer,
            channels=shape[1],
            side=side,
            margin=(shape[2] - side) // 2,
            halvings=max(0, min(MAX_HALVINGS, (generator.resolution // side).bit_length() - 1)),
            width=width,
            inner_width=inner_width,
            codes=CodesConfig.for_generator(generator, codes_width),
            z_dim=generator.z_dim,
            c_dim=generator.c_dim,
            hidden=hidden or generator.w_dim,
            iterations=iterations,
        )


def default_layer(generator: Generator) -> str:
    """The first convolution at a quarter of the image's side, or the first layer above that."""
    side = generator.resolution // 4
    layers = [layer for layer in generator.synthesis.layers if layer.feature]
    return next((x.name for x in layers if x.resolution >= side), layers[-1].name)
