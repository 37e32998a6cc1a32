"""Settings of the recipe `in-domain`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal

from facsimile.training import EmaSettings, R1Settings
from facsimile.training.settings import at_least

from ..settings import (
    CosineSettings,
    IdentitySettings,
    PerceptualSettings,
    SamplingSettings,
    TargetSettings,
)
from .config import Architecture

DEFAULTS: dict[str, dict[str, Any]] = {
    "levels": {
        **{"width": 48, "bn_group_size": 8, "truncation_psi": 1.0},
        **{"lr": 1e-3, "ema_images": 8_000},
        **{"perceptual_weight": 0.3, "identity_weight": 0.1},
        **{"critic": "frozen", "adversarial_weight": 0.005},
        **{"latent_weight": 0.02, "code_size_weight": 0.004},
        **{"iterations": 8, "optimizer_hidden": 192, "turn_rank": 64, "initial_step": 0.08},
        **{"descent_perceptual_weight": 0.3, "descent_identity_weight": 0.1},
        **{"descent_latent_weight": 0.001},
    },
    "resnet": {
        **{"width": 64, "bn_group_size": 16, "truncation_psi": 0.7},
        **{"lr": 1e-4, "lr_decay_images": 250_000, "ema_images": 2_000},
        **{"perceptual_weight": 0.8, "identity_weight": 0.0},
        **{"critic": "trained", "adversarial_weight": 0.1},
        **{"latent_weight": 0.0, "code_size_weight": 0.0},
        **{"iterations": 0, "optimizer_hidden": 256, "turn_rank": 0, "initial_step": 0.03},
        **{"descent_perceptual_weight": 10.0, "descent_identity_weight": 0.0},
        **{"descent_latent_weight": 0.0},
    },
}
"""Of the settings whose default depends on the architecture. `levels`: those of the bundled
encoder; `resnet`: those of this recipe before, after the paper."""


@dataclass(frozen=True, kw_only=True)
class InDomainSampling(SamplingSettings):
    """The generator, and how it is sampled."""

    truncation_psi: float | None = None  # type: ignore[assignment]
    """Truncation of the samples, on the first --truncation-cutoff style inputs. Default: 1, which
    is none; 0.7 with the resnet."""


@dataclass(frozen=True, kw_only=True)
class InDomainPerceptual(PerceptualSettings):
    """The perceptual term of the reconstruction."""

    perceptual_weight: float | None = None  # type: ignore[assignment]
    """Weight of the perceptual term. Default: 0.3; 0.8 with the resnet, which is for LPIPS. The
    paper's 5e-5 is for VGG features of images of 0..255."""


@dataclass(frozen=True, kw_only=True)
class InDomainIdentity(IdentitySettings):
    """The term of the person."""

    identity_weight: float | None = None  # type: ignore[assignment]
    """Weight of |e(G(E(x))) - e(x)|^2, with embeddings e of the reconstruction and the target.
    Default: 0.1; 0 with the resnet."""


@dataclass(frozen=True, kw_only=True)
class InDomainOptimizer(CosineSettings):
    """Learning rates. With the resnet they fall exponentially, without warm-up."""

    lr: float | None = None  # type: ignore[assignment]
    """Learning rate. Default: 1e-3; 1e-4 with the resnet."""
    lr_decay_images: int | None = None
    """Images after which the learning rates have fallen to a hundredth. Default: --images. With the
    resnet: images in which they fall to 0.8 of themselves, by default 250,000."""


@dataclass(frozen=True, kw_only=True)
class InDomainEma(EmaSettings):
    """Exponential moving average of the weights."""

    ema_images: float | None = None  # type: ignore[assignment]
    """Half-life of the moving average of the weights, in images. Default: 8,000; 2,000 with the
    resnet."""


@dataclass(frozen=True, kw_only=True)
class LearnedOptimizerSettings:
    """The learned optimizer that follows the network.

    Each of its steps takes the gradient, with respect to the code, of the squared error plus these
    terms, and gives the next code."""

    iterations: int | None = None
    """Steps of the learned optimizer. Each costs as much as the generator's gradient, in use too.
    0: one forward pass, as in the paper. Default: 8; 0 with the resnet."""
    optimizer_hidden: int | None = None
    """Hidden features for each style input. Default: 192; 256 with the resnet."""
    turn_rank: int | None = None
    """Rank of the matrix of each style input that turns the gradient; 0: a full matrix. Default:
    64; 0 with the resnet."""
    initial_step: float | None = None
    """Length of the steps at first, in standard deviations of w. Default: 0.08; 0.03 with the
    resnet."""
    descent_perceptual_weight: float | None = None
    """Weight of the distance of the discriminator's features. Default: 0.3; 10 with the resnet."""
    descent_identity_weight: float | None = None
    """Weight of the squared distance of the embeddings of --identity. The encoder then needs that
    network wherever it is used. Default: 0.1; 0 with the resnet."""
    descent_latent_weight: float | None = None
    """Weight of the code's mean square, in standard deviations of w from the mean: it keeps codes
    in the generator's domain. Default: 0.001; 0 with the resnet."""

    def __post_init__(self) -> None:
        at_least(self, 0, "iterations", "turn_rank", "descent_perceptual_weight")
        at_least(self, 0, "descent_identity_weight", "descent_latent_weight")
        at_least(self, 1, "optimizer_hidden")


@dataclass(frozen=True, kw_only=True)
class InDomainSettings(TargetSettings):
    """Train the in-domain encoder of a generator: from a photo to a code of W+.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, reconstruction, ..),
    curves and checkpoints: facsimile train in-domain --generator faces --data faces.zip
    --out runs/in-domain
    """

    architecture: Architecture = "levels"
    """levels: a lean network with a style head for each of three levels, and a learned optimizer
    after it. resnet: network, objective and defaults of "In-Domain GAN Inversion"."""
    sampling: InDomainSampling = InDomainSampling()
    perceptual: InDomainPerceptual = InDomainPerceptual()
    identity: InDomainIdentity = InDomainIdentity()
    optimizer: InDomainOptimizer = InDomainOptimizer()
    ema: InDomainEma = InDomainEma()
    learned_optimizer: LearnedOptimizerSettings = LearnedOptimizerSettings()
    bn_group_size: int | None = None  # type: ignore[assignment]
    """Images per batch normalisation, which the resnet has, and images that share the minibatch
    statistics of a critic. Default: 8; 16 with the resnet."""
    width: int | None = None  # type: ignore[assignment]
    """Channels of the first stage, to which all sizes of `levels` are proportional; every halving
    of the side doubles those of the resnet. Default: 48; 64 with the resnet."""
    resolution: int | None = None
    """Resolution of the encoder's input, a power of two. Default: the generator's."""
    max_width: int | None = None
    """Most channels of a stage of the resnet. Default: eight times the first's, as in the paper."""
    critic: Literal["frozen", "trained"] | None = None
    """The critic of the reconstructions: the generator's discriminator as it is, or trained further
    in this run, as in the paper. Default: frozen; trained with the resnet."""
    adversarial_weight: float | None = None
    """Weight of softplus(-D(G(E(x)))); 0: no critic. Default: 0.005; 0.1 with the resnet."""
    r1: R1Settings = R1Settings()
    latent_weight: float | None = None
    """Weight of mean((E(x) - w)^2) for samples, in standard deviations of w (with the resnet: as it
    is); a mean over the batch in which photos count as 0. Not in the paper. Default: 0.02; 0 with
    the resnet, where 0.1 to 1 helped on a small generator of random weights: 500 steps left an
    error of 0.00087 without it, 0.00045 at 0.1, 0.00021 at 1."""
    code_size_weight: float | None = None
    """Weight of the codes' mean square, in standard deviations of w from the mean: it keeps them in
    the generator's domain. Default: 0.004; 0 with the resnet."""
    freeze: bool = False
    """Train the learned optimizer alone, after the encoder of --init-from."""

    SMALL: ClassVar[Mapping[str, Any]] = {
        **TargetSettings.SMALL,
        **{"bn-group-size": 8, "iterations": 4, "eval-images": 8},
    }

    def __post_init__(self) -> None:
        _set_defaults(self)
        super().__post_init__()
        at_least(self, 2 if self.architecture == "resnet" else 1, "bn_group_size")
        at_least(self, 1, "max_width", "resolution")
        at_least(self, 0, "adversarial_weight", "latent_weight", "code_size_weight")
        if self.freeze and not (self.iterations and self.init_from is not None):
            raise ValueError(
                "--freeze trains the learned optimizer alone, after a trained encoder; name that "
                "as --init-from, and give --iterations"
            )

    @property
    def iterations(self) -> int:
        """Steps of the learned optimizer."""
        return self.learned_optimizer.iterations or 0

    def lr_factor(self, images_seen: int) -> float:
        if self.architecture == "resnet":
            return self.optimizer.decay(images_seen)
        return super().lr_factor(images_seen)


def _set_defaults(settings: InDomainSettings) -> None:
    """Give every setting that is None its default for the architecture, in the sections too."""
    defaults = dict(DEFAULTS[settings.architecture])
    if settings.architecture == "resnet" and settings.photos.data:
        defaults["real_fraction"] = 1.0
    for field in fields(settings):
        value: Any = getattr(settings, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            names = [x.name for x in fields(value) if x.name in defaults]
            missing = {x: defaults[x] for x in names if getattr(value, x) is None}
            object.__setattr__(settings, field.name, replace(value, **missing))
        elif value is None and field.name in defaults:
            object.__setattr__(settings, field.name, defaults[field.name])
