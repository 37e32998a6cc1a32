"""Settings of the recipe `feature`."""

from dataclasses import dataclass

from facsimile.training import R1Settings
from facsimile.training.settings import at_least

from ..settings import TargetSettings


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(TargetSettings):
    """Train the feature encoder of a generator: from a photo to codes and the feature of one layer.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, reconstruction, ..),
    curves and checkpoints: facsimile train feature --generator faces --data faces.zip
    --out runs/feature
    """

    layer: str | None = None
    """Layer whose output the feature is, e.g. b32.conv0. Default: the first convolution at a
    quarter of the image's side."""
    width: int = 112
    """Channels of the fusion network at the feature's side."""
    codes_width: int = 48
    """Channels of the first stage of the codes network, to which its other sizes are proportional.
    """
    inverse_width: int | None = None
    """Hidden features of the inverse mapping. Default: as many as w has numbers."""
    iterations: int = 0
    """Corrections of the feature, each after a look at its picture and the gradient of the pixel
    error. Each costs a pass through the generator and back, in use too."""
    final_identity_weight: float = 0.03
    """As --identity-weight, which is for the picture of the codes, for the final picture."""
    final_identity_start: float = 0.25
    """Share of the training after which that term comes in, and grows for a tenth of it."""
    latent_weight: float = 0.02
    """Weight of mean((E(x) - w)^2) for samples, in standard deviations of w; photos count as 0."""
    code_size_weight: float = 0.002
    """Weight of the codes' mean square, in standard deviations of w from the mean: it keeps them
    in the generator's domain."""
    feature_reg_weight: float = 0.002
    """Weight of the mean square of the feature's change, in standard deviations of each channel."""
    inverse_weight: float = 1.0
    """Weight of the terms of the inverse mapping, from the predicted codes to codes of Z+ that make
    the same picture; nothing but this mapping learns from them. 0: it stays untrained."""
    adversarial_weight: float = 0.0
    """Weight of softplus(-D(final picture)); 0: no critic."""
    adversarial_start: float = 0.5
    """Share of the training after which that term comes in, and grows for a tenth of it."""
    r1: R1Settings = R1Settings()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "codes_width", "inverse_width")
        at_least(
            self, 0, "iterations", "final_identity_weight", "latent_weight", "code_size_weight"
        )
        at_least(self, 0, "feature_reg_weight", "inverse_weight", "adversarial_weight")
        for name in ("final_identity_start", "adversarial_start"):
            if not 0 <= getattr(self, name) <= 1:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is {getattr(self, name)}; it must be between 0 and 1")
