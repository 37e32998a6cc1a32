"""The keypoint encoder: the latent difference encoder on coordinates in place of a rendered image.

Legend: N images, L style inputs, D numbers in w, K = 68 points.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3: a variant
that it compares.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from facsimile.data.points68 import NUM_POINTS

from .difference.landmark_cnn import landmark_coordinates
from .difference.network import DifferenceConfig, DifferenceEncoder
from .difference.objective import DifferenceRecipe
from .difference.settings import DifferenceSettings
from .kinds import EncoderKind


class KeypointEncoder(DifferenceEncoder):
    """Codes (N, L, D) in W+ and landmarks (N, K, 2) -> codes (N, L, D): w + d(w, landmarks)."""

    def _build_landmark_net(self, norm: Callable[[int], nn.Module]) -> tuple[nn.Module, int]:
        return nn.Identity(), 2 * NUM_POINTS

    def _landmark_input(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) -> coordinates (N, 2K) in [-1, 1]."""
        return landmark_coordinates(landmarks, self.config.side)


@dataclass(frozen=True, kw_only=True)
class KeypointSettings(DifferenceSettings):
    """Train the difference encoder that takes the landmarks' coordinates instead of their image.

    As `difference`; --width, --max-width and --resolution are then those of the critic alone.
    """


class KeypointRecipe(DifferenceRecipe):
    """`DifferenceRecipe` for the keypoint encoder."""

    def _build(self) -> nn.Module:
        return KeypointEncoder(self._config(), self.settings.bn_group_size)


KIND = EncoderKind(
    name="keypoint",
    config=DifferenceConfig,
    network=KeypointEncoder,
    settings=KeypointSettings,
    recipe=KeypointRecipe,
    predicts="w+ given landmarks",
    source="w+",
)
