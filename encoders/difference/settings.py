"""Settings of the recipe `difference`, and the section that reenactment recipes share.

The defaults are the terms and weights of "Learning an Encoder for Image Editing within a StyleGAN
Latent Space"; three terms are not in the paper and 0 by default: `landmark_weight`,
`identity_weight` and `source_landmark_weight`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from facsimile.training import R1Settings
from facsimile.training.settings import at_least

from ..settings import EncoderSettings, IdentitySettings

SMALL_REENACTMENT: Mapping[str, Any] = {**EncoderSettings.SMALL, "width": 32, "max-width": 128}
"""What `--preset small` sets for all reenactment recipes: the bundled encoder's widths."""


@dataclass(frozen=True, kw_only=True)
class ReenactmentSettings:
    """Faces with landmarks, the critic of both, and the terms of every reenactment recipe."""

    data: tuple[str, ...] = ()
    """Folders or zips of aligned photos to train on. Default: samples of the generator."""
    landmark_file: Path | None = None
    """.npz with `names`, the photos' file names, and `landmarks` (M, 68, 2), x and y in pixels;
    photos without an entry are left out. Default: the landmark network detects them."""
    landmark_network: Path | None = None
    """The landmark network, a file or a run's folder of facsimile train landmarks. Default: the
    bundled one."""
    per_layer_w_mix: float = 0.0
    """Samples get codes of W+, as the codes of photos are: each style input is a mixture of the
    sample's w and a w of its own, whose share is random up to this, from 0 to 1."""
    resolution: int | None = None
    """Resolution of the rendered landmarks, a power of two. Default: the generator's."""
    max_width: int | None = None
    """Most channels of a stage. Default: sixteen times the first's, as in the paper."""
    critic: Literal["projection", "concat"] = "projection"
    """How the critic is conditioned on landmarks: by an inner product, as in the paper, or as more
    channels, as in its code. Both are initialised with the generator's discriminator; in the
    paper's code the critic is trained from scratch."""
    adversarial_weight: float = 0.2
    """lambda_adv, of softplus(-D(G(w + d), landmarks)) and of the cycle's; 0: no critic."""
    landmark_weight: float = 0.0
    """Weight of the distance between the target landmarks and those that the landmark network
    detects in the image, mean(|p - p'|) over the distance of the outer eye corners. Not in the
    paper, which leaves landmarks to the critic, from which they are learned slowly."""
    cycle_weight: float = 1.0
    """Weight of the cycle: to the target landmarks and back."""

    def __post_init__(self) -> None:
        at_least(self, 1, "max_width", "resolution")
        at_least(self, 0, "adversarial_weight", "landmark_weight", "cycle_weight")
        if not 0 <= self.per_layer_w_mix <= 1:
            raise ValueError(
                f"--per-layer-w-mix is {self.per_layer_w_mix}; it must be between 0 and 1"
            )
        if self.landmark_file is not None and not self.data:
            raise ValueError(
                "--landmark-file has landmarks of photos, and there are none; give --data"
            )
        if not (self.adversarial_weight or self.landmark_weight):
            raise ValueError(
                "with --adversarial-weight 0 and --landmark-weight 0 no term asks for the target "
                "landmarks; give one of them"
            )


def check_groups(settings: EncoderSettings) -> None:
    """ValueError unless every face has another beside it, in its group and on the sheet."""
    at_least(settings, 2, "bn_group_size")
    at_least(settings.evaluation, 2, "num_samples")


@dataclass(frozen=True, kw_only=True)
class DifferenceSettings(EncoderSettings):
    """Train the latent difference encoder: from a face's code and landmarks to that face with them.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (a face, its landmarks, it
    with these; another face, its landmarks, the first with those, the same with dots at the target
    landmarks, and back), curves and checkpoints: facsimile train difference --generator faces
    --in-domain runs/in-domain --out runs/difference
    """

    reenactment: ReenactmentSettings = ReenactmentSettings()
    identity: IdentitySettings = IdentitySettings(identity_weight=0.0)
    """Of the face and its reenactment. Not in the paper, in which nothing but the cycle asks for
    the person."""
    r1: R1Settings = R1Settings()
    in_domain: Path | None = None
    """The in-domain encoder, a file or a run's folder. Default: the one beside the generator."""
    embed: Literal["true", "encoder"] = "true"
    """The source's code: the true one of samples, or E(x), as in the paper; always E(x) of photos,
    with E's iterations if it has any, computed before the training begins."""
    code_cache: Path | None = None
    """.safetensors with the codes of --data's photos, for this run and others on the same photos;
    written if it does not exist. Default: they are computed at every start."""
    cycle_input: Literal["image", "latent"] = "image"
    """Input of the way back: E(G(w + d)), as in the paper, by one forward pass of E, as a gradient
    goes through it; or w + d itself, as in its code: cheaper, and better if E has iterations."""
    cycle: Literal["latent", "image"] = "latent"
    """What the cycle compares: codes, mean((w_cyc - w)^2), or images."""
    source_landmark_weight: float = 0.0
    """Weight of mean(d^2) of faces whose target is their own landmarks. Not in the paper, in which
    no term asks for such a face to stay. 10 with a --landmark-weight of 1 halves their change."""
    source_landmark_share: float = 0.25
    """Share of such faces in a group, if --source-landmark-weight is not 0; at least one."""
    norm: Literal["batch", "layer"] = "batch"
    """Normalise over a group of images, as in the paper, or over each image, for small groups:
    slower, as rendered landmarks are nearly alike."""
    hidden: int = 0
    """Features of a layer that sees both the code and the landmarks, so that the movement may
    depend on the face. 0: none, as in the paper, where the difference is a sum of both."""

    SMALL: ClassVar[Mapping[str, Any]] = {**SMALL_REENACTMENT, "hidden": 96}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups(self)
        at_least(self, 0, "source_landmark_weight", "hidden")
        unchanged, size = self.unchanged_per_group, self.bn_group_size
        if self.source_landmark_weight and not 1 <= unchanged <= size - 2:
            raise ValueError(
                f"--source-landmark-share is {self.source_landmark_share}: of a group of {size} "
                f"these are {unchanged} faces, and there must be 1 to {size - 2}"
            )

    @property
    def unchanged_per_group(self) -> int:
        """Faces of a group whose target is their own landmarks."""
        share = self.source_landmark_share
        return max(1, round(share * self.bn_group_size)) if self.source_landmark_weight else 0

    @property
    def needs_in_domain(self) -> bool:
        """Whether an in-domain encoder is needed."""
        photos = self.reenactment.data or self.evaluation.eval_data
        return bool(photos) or self.embed == "encoder" or self.cycle_input == "image"
