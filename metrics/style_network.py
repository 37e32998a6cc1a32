"""The network whose features a style loss compares."""

from .backbone_weights import MissingWeights
from .backbones import Discriminator, discriminator_features, vgg16_layers
from .perceptual import Perceptual

STYLE_LAYERS = ("conv3_3",)
"""Of VGG16, as Image2StyleGAN++ has it."""


def build_style(discriminator: Discriminator | None = None) -> Perceptual:
    """VGG16's conv3_3 if its weights are available or can be downloaded, else the discriminator.

    The result's `note` says which. Raises FileNotFoundError where there is neither.
    """
    try:
        network = vgg16_layers(STYLE_LAYERS, name="vgg16 conv3_3")
        network.note = "style: VGG16's conv3_3, as in Image2StyleGAN++"
    except MissingWeights as missing:
        if discriminator is None:
            raise FileNotFoundError(
                f"no network for a style loss is available: {missing}; or pass a discriminator"
            ) from missing
        network = discriminator_features(discriminator)
        network.note = (
            "style: the generator's own discriminator, as VGG16's weights, "
            f"{missing.name}, are not here: {missing.remedy}"
        )
    return network
