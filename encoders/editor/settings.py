"""Settings of the recipe `editor`."""

from dataclasses import dataclass
from pathlib import Path

from facsimile.training.settings import at_least

from ..settings import CosineSettings, IdentitySettings, TargetSettings

MIN_STRENGTH = 0.5
"""Of steps along a principal component, in standard deviations of w."""


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """The edits of the training."""

    components: int = 40
    """Principal components of w along which codes are edited, those of the largest variance."""
    max_strength: float = 3.0
    """Longest step along a component, in standard deviations of w; the shortest is 0.5."""
    direction_share: float = 0.7
    """Share of steps along a component among the edits; the others go part of the way to another
    sample."""

    def __post_init__(self) -> None:
        at_least(self, 1, "components")
        at_least(self, MIN_STRENGTH, "max_strength")
        if not 0 <= self.direction_share <= 1:
            raise ValueError(
                f"--direction-share is {self.direction_share}; it must be between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True)
class EditorSettings(TargetSettings):
    """Train the feature editor of a generator: it carries an edit of codes into a feature.

    Needs the feature encoder and the in-domain encoder of the generator. Writes
    OUT/encoder.safetensors (the moving average), sample sheets (an image, its in-domain code's
    image after an edit, its own after the edit, ..), curves and checkpoints: facsimile train editor
    --generator faces --data faces.zip --out runs/editor
    """

    feature: Path | None = None
    """The feature encoder, a file or a run's folder. Default: the one beside the generator."""
    in_domain: Path | None = None
    """The in-domain encoder, likewise."""
    edits: EditSettings = EditSettings()
    identity: IdentitySettings = IdentitySettings(identity_weight=0.03)
    images: int = 200_000
    """Number of images to train on, in all; may be raised later."""
    optimizer: CosineSettings = CosineSettings(lr=1e-3)
    width: int = 88
    """Channels of the editor at the feature's side, rounded up to a multiple of 8."""
    residual_weight: float = 1.0
    """Of what the network adds to F + delta, between 0 and 1."""
    gate: float | None = 0.39
    """Mean square of a feature's change, in standard deviations, where the in-domain code's feature
    takes half of the photo's place. None: it never does."""
    distance_weight: float = 0.0
    """Of edited photos: weight of how far the edit falls short of the same edit of the in-domain
    code, as a squared share of the way. With this weight at 1 to 2, landmarks at 0, the person's at
    0.3 to 1 and the critic's at 0.02 to 0.05, edits of the bundled generator went .84 instead of
    .78 of the way, but outlines of hair frayed; so edited photos are left out by default."""
    landmark_weight: float = 0.0
    """Of edited photos: the same for landmarks, by the bundled landmark network, where it sees a
    face in all images."""
    photo_identity_weight: float = 0.0
    """Of edited photos: weight of |e(edited) - e(photo)|^2, with the network of --identity."""
    adversarial_weight: float = 0.0
    """Of edited photos: weight of softplus(-D(edited)), with the generator's discriminator as it
    is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "residual_weight", "distance_weight", "photo_identity_weight")
        at_least(self, 0, "adversarial_weight", "landmark_weight")
        if self.gate is not None and not self.gate > 0:
            raise ValueError(f"--gate is {self.gate}; it must be above 0, or None")

    @property
    def edits_photos(self) -> bool:
        """Whether photos are edited that have no target."""
        weights = (self.distance_weight, self.landmark_weight, self.adversarial_weight)
        return bool(self.photos.fraction and any((*weights, self.photo_identity_weight)))
