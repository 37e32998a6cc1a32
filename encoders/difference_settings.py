"""Settings of the recipes `difference`, `keypoint` and `naive`, which are one.

The defaults are the terms and weights of "Learning an Encoder for Image Editing within a StyleGAN
Latent Space"; two terms are ours and 0 by default, `landmark_weight` and `identity_weight`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from .recipe import EncoderRun


@dataclass(frozen=True, kw_only=True)
class LandmarkRun(EncoderRun):
    """What the three are told."""

    data: tuple[str, ...] = ()
    """Folders or zips of aligned photos to train on. Default: samples of the generator."""
    labels: Path | None = None
    """.npz with `names`, the photos' file names, and `landmarks` (M, 68, 2), x and y in pixels;
    photos that it does not name are left out. Default: the landmark network finds them."""
    spread: float = 0.0
    """Samples are drawn from W+, as the codes are that are found of photos: up to this share, from
    0 to 1, of what a style input gets is of a w of its own, the share another for every sample."""
    landmark_weights: Path | None = None
    """The landmark network, a file or a run's folder of train.py landmarks. Default: the bundled
    one."""
    images: int = 1_000_000
    """Train until so many images were seen in all; may be raised later. The paper's snapshots have
    seen 1.0 and 1.6 million."""
    resolution: int | None = None
    """Side of the picture of landmarks, a power of two. Default: the generator's."""
    width: int = 64
    """Channels of the first stage; every halving of the side doubles them."""
    max_width: int | None = None
    """Most channels of a stage. Default: sixteen times the first's, which makes the paper's."""
    critic: Literal["projection", "concat"] = "projection"
    """How the critic is told of landmarks: by an inner product, the paper's, or in more channels,
    its code's. Both begin as the generator's discriminator, the code's from scratch."""
    adversarial_weight: float = 0.2
    """lambda_adv, of softplus(-D(G(w + d), landmarks)) and of the cycle's; 0: no critic."""
    landmark_weight: float = 0.0
    """Of the distance between the landmarks wanted and those that the landmark network sees in the
    image, mean(|p - p'|) over the distance of the eyes' outer corners. Not the paper's, which
    leaves landmarks to the critic, from whom they come slowly."""
    cycle_weight: float = 1.0
    """Of the way there and back."""
    r1: float | None = None
    """Weight gamma of the critic's R1 penalty. Default: the paper's 10, and below 256 px less, in
    proportion to the pixels over whose sum it goes."""
    r1_every: int = 16
    """Steps between two R1 penalties."""
    perceptual_weight: float = 0.8
    """Of the perceptual part wherever images are compared; of LPIPS. The paper's 5e-5 is for VGG
    features of 0..255."""
    lr: float = 1e-4
    """Of the encoder."""
    critic_lr: float | None = None
    """Of the critic. Default: the encoder's."""
    lr_every: int = 250_000
    """Images in which the learning rates fall, smoothly, to 0.8 of themselves: in the paper's code
    a quarter of the run."""

    variant: ClassVar[Literal["difference", "keypoint", "naive"]]
    cycle: str
    """What is compared after the way there and back."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # The other image, whose landmarks are the target, is one of the group, or of the sheet.
        self._at_least("group", 2)
        self._at_least("samples", 2)
        self._at_least("r1_every", 1)
        for name, least in (
            *(("max_width", 1), ("resolution", 1), ("r1", 0), ("critic_lr", 0)),
            *(("adversarial_weight", 0), ("landmark_weight", 0), ("cycle_weight", 0)),
        ):
            if getattr(self, name) is not None:
                self._at_least(name, least)
        if not 0 <= self.spread <= 1:
            raise ValueError(f"--spread is {self.spread}; it must be between 0 and 1")
        if self.labels is not None and not self.data:
            raise ValueError("--labels are landmarks of photos, and there are none; give --data")
        if not (self.adversarial_weight or self.landmark_weight):
            raise ValueError(
                "with --adversarial-weight 0 and --landmark-weight 0 nothing asks for the target "
                "landmarks; give one of them"
            )

    def rate(self, seen: int) -> float:
        return self.lr * self.fallen(seen)

    def fallen(self, seen: int) -> float:
        """Share of the learning rates after so many images."""
        return 0.8 ** (seen / self.lr_every)

    @property
    def own(self) -> int:
        """Samples of a group that are to keep their own landmarks."""
        return 0

    @property
    def embeds(self) -> bool:
        """Whether an in-domain encoder is needed."""
        return False


@dataclass(frozen=True, kw_only=True)
class DifferenceRun(LandmarkRun):
    """Train the latent difference encoder: from a face's code and other landmarks to that face.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (a face, its landmarks, it
    with these; another face, its landmarks, the first with those, the same with dots where they
    were wanted, and back), curves and checkpoints: train.py difference --generator faces
    --in-domain runs/in-domain --out runs/difference
    """

    variant = "difference"
    in_domain: Path | None = None
    """The in-domain encoder, a file or a run's folder. Default: the one beside the generator."""
    embed: Literal["true", "encoder"] = "true"
    """The source's code: of samples the true one, or E(x), the paper's; of photos always E(x), with
    E's passes if it has any, found before the training begins."""
    codes: Path | None = None
    """.safetensors that keeps the codes of --data's photos, for this run and for others on the same
    photos; made where it is not there. Default: they are found anew at every start."""
    cycle_input: Literal["image", "latent"] = "image"
    """What goes back: E(G(w + d)), the paper's, with E's first look, as a gradient goes through it;
    or w + d itself, its code's: cheaper, and better where E has passes."""
    cycle: Literal["latent", "image"] = "latent"
    """What is compared after the way there and back: codes, mean((w_cyc - w)^2), or images."""
    identity_weight: float = 0.0
    """Of mean(d^2) of faces whose target is their own landmarks. Not the paper's, in which nothing
    asks that such a face stays as it is. 10 beside a --landmark-weight of 1 halves their change."""
    own_share: float = 0.25
    """Share of such faces in a group, where --identity-weight is not 0; at least one."""
    norm: Literal["batch", "layer"] = "batch"
    """Normalise over a group of images, the paper's, or over each image, for groups of few: slower,
    as pictures of landmarks are nearly alike."""
    hidden: int = 0
    """Numbers of a layer that sees the code and the landmarks at once, so that how a face moves may
    depend on whose it is. 0: none, the paper's, where the difference is a sum of both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("identity_weight", 0)
        self._at_least("hidden", 0)
        if self.identity_weight and not 1 <= self.own <= self.group - 2:
            raise ValueError(
                f"--own-share is {self.own_share}: of a group of {self.group} these are {self.own} "
                f"faces, and there must be 1 to {self.group - 2}"
            )

    @property
    def own(self) -> int:
        return max(1, round(self.own_share * self.group)) if self.identity_weight else 0

    @property
    def embeds(self) -> bool:
        return bool(self.data or self.photos) or self.embed == "encoder" or self.sees_itself

    @property
    def sees_itself(self) -> bool:
        """Whether the manipulated image is embedded anew."""
        return self.cycle_input == "image"


@dataclass(frozen=True, kw_only=True)
class KeypointRun(DifferenceRun):
    """Train the difference encoder that is told the landmarks' coordinates, and no picture of them.

    As `difference`; --width, --max-width and --resolution are then those of the critic alone.
    """

    variant = "keypoint"


@dataclass(frozen=True, kw_only=True)
class NaiveRun(LandmarkRun):
    """Train the naive encoder, to compare with: from a photo and landmarks at once to a code of W+.

    Writes what `difference` does: train.py naive --generator faces --out runs/naive
    """

    variant = "naive"
    cycle: Literal["image", "none"] = "image"
    """image: every step asks for its own landmarks, for another's, and for the way back. none: even
    steps are for own landmarks, odd ones for another's."""
    reconstruction_weight: float = 0.5
    """Of the pixel and perceptual term with own landmarks, where there is a cycle; else it is 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("reconstruction_weight", 0)
