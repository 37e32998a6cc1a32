"""Settings of the recipe `in-domain`."""

from dataclasses import dataclass

from facsimile.training import ImageSettings, R1Settings
from facsimile.training.settings import at_least

from ..settings import EncoderSettings


@dataclass(frozen=True, kw_only=True)
class PhotoSettings(ImageSettings):
    """Training photos."""

    data: tuple[str, ...] = ()
    """Folders or zips of aligned photos to train on. Default: samples of the generator alone."""
    real_fraction: float | None = None
    """Share of photos among the training images; the others are samples. Default: 1 with --data,
    else 0."""
    mirror: bool = True
    """Mirror half of the photos."""

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"--real-fraction is {self.real_fraction}; it must be between 0 and 1")
        if self.fraction and not self.data:
            raise ValueError(
                f"--real-fraction is {self.real_fraction}, and there are no photos; "
                "give a folder or a zip of them as --data"
            )

    @property
    def fraction(self) -> float:
        """Share of photos."""
        return float(bool(self.data)) if self.real_fraction is None else self.real_fraction


@dataclass(frozen=True, kw_only=True)
class InDomainSettings(EncoderSettings):
    """Train the in-domain encoder of a generator: from a photo to a code of W+.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, reconstruction, ..),
    curves and checkpoints: facsimile train in-domain --generator faces --data faces.zip
    --out runs/in-domain
    """

    photos: PhotoSettings = PhotoSettings()
    images: int = 1_000_000
    """Number of images to train on, in all; may be raised later. The paper's authors take 12
    million at 128 px."""
    resolution: int | None = None
    """Resolution of the encoder's input, a power of two. Default: the generator's."""
    max_width: int | None = None
    """Most channels of a stage. Default: eight times the first's, as in the paper."""
    adversarial_weight: float = 0.1
    """Weight of softplus(-D(G(E(x)))); 0: no critic."""
    r1: R1Settings = R1Settings()
    iterations: int = 0
    """Steps of a learned optimizer that follow the encoder: each takes the gradient of the
    reconstruction loss at the code. 0: one forward pass, as in the paper."""
    freeze: bool = False
    """Train the learned optimizer alone, after the encoder of --init-from."""
    latent_weight: float = 0.0
    """Weight of mean((E(x) - w)^2), a mean over the batch in which photos count as 0. Not in the
    paper; it helps with samples: 500 steps on a small generator of random weights left an error of
    0.00087 without it, 0.00045 at 0.1, 0.00021 at 1; 100 steps on faces64 showed no difference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "bn_group_size")
        at_least(self, 1, "max_width", "resolution")
        at_least(self, 0, "adversarial_weight", "latent_weight", "iterations")
        if self.freeze and not (self.iterations and self.init_from is not None):
            raise ValueError(
                "--freeze trains the learned optimizer alone, after a trained encoder; name that "
                "as --init-from, and give --iterations"
            )
