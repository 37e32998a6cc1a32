"""The recipe `in-domain`: an encoder into W+, held by a critic among images that look real.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w.
"In-Domain GAN Inversion for Real Image Editing", equations 2 and 3. The paper trains on photos;
samples of the generator, whose codes are known, may join them or stand in for them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import data
from facsimile.stylegan import Discriminator
from facsimile.training import BatchSlice, Distributed
from facsimile.training.draws import cache_on_gpu

from .in_domain import InDomainConfig, InDomainEncoder
from .recipe import EncoderRecipe, EncoderRun


@dataclass(frozen=True, kw_only=True)
class InDomainRun(EncoderRun):
    """Train the in-domain encoder of a generator: from a photo to a code of W+.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, redrawn, ..), curves
    and checkpoints: train.py in-domain --generator faces --data faces.zip --out runs/in-domain
    """

    data: tuple[str, ...] = ()
    """Folders or zips of aligned photos to train on. Default: samples of the generator alone."""
    real_fraction: float | None = None
    """Share of photos among the training images; the others are samples. Default: 1 with --data,
    else 0."""
    flip: bool = True
    """Mirror half of the photos."""
    images: int = 1_000_000
    """Train until so many images were seen in all; may be raised later. The paper's authors take 12
    million at 128 px."""
    resolution: int | None = None
    """Side that the encoder is shown, a power of two. Default: the generator's."""
    width: int = 64
    """Channels of the encoder's first stage; every halving of the side doubles them."""
    max_width: int | None = None
    """Most channels of a stage. Default: eight times the first's, which makes the paper's."""
    perceptual_weight: float = 0.8
    """In front of the perceptual term; of LPIPS, as in the encoders after the paper. The paper's
    5e-5 is for another network's features of 0..255."""
    adversarial_weight: float = 0.1
    """Of softplus(-D(G(E(x)))); 0: no critic."""
    r1: float | None = None
    """Weight gamma of the critic's R1 penalty. Default: the paper's 10, and below 256 px less, in
    proportion to the pixels over whose sum it goes."""
    r1_every: int = 16
    """Steps between two R1 penalties."""
    passes: int = 0
    """How often the code is corrected by the gradient of the losses at what it draws, by a network
    that has learned what to make of it; 0: the paper's one look at the photo."""
    freeze: bool = False
    """Leave the guess as --from has it, and train the passes alone."""
    latent_weight: float = 0.0
    """Of mean((E(x) - w)^2), a mean over the batch in which photos count as 0. Not the paper's; for
    samples it helps: of a small generator of random weights, 500 steps left an error of 0.00087
    without it, 0.00045 at 0.1, 0.00021 at 1; of faces64, 100 steps showed no difference."""
    lr: float = 1e-4
    """Of the encoder and of the critic; more than 1e-4 is known to diverge on photos."""
    lr_every: int = 250_000
    """Images in which the learning rate falls, smoothly, to 0.8 of itself: in the paper a quarter
    of the run. It does not follow --images, which may be raised later."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("group", 2), ("r1_every", 1)):
            self._at_least(name, least)
        for name in ("max_width", "resolution"):
            if getattr(self, name) is not None:
                self._at_least(name, 1)
        for name in ("adversarial_weight", "latent_weight", "r1", "passes"):
            if getattr(self, name) is not None:
                self._at_least(name, 0)
        if self.freeze and not (self.passes and self.start is not None):
            raise ValueError(
                "--freeze trains passes alone, on a trained guess; name one as --from, and give "
                "--passes"
            )
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

    def rate(self, seen: int) -> float:
        return self.lr * 0.8 ** (seen / self.lr_every)


class Redrawn(NamedTuple):
    """A place's images and what became of them."""

    target: Tensor
    """x (N, C, R, R)"""
    sampled: Tensor
    """(N,) whether it is a sample of the generator."""
    ws: Tensor | None
    """(N, L, D) of the samples; of no use for photos."""
    label: Tensor | None
    """(N, c_dim) likewise."""
    code: Tensor
    """E(x) (N, L, D)"""
    image: Tensor
    """G(E(x)) (N, C, R, R)"""


class InDomainRecipe(EncoderRecipe):
    player = "encoder"
    betas = (0.9, 0.99)
    ADDED = ("passes", "eyes")

    def __init__(self, run: InDomainRun, host: Distributed):
        super().__init__(run, host)
        self.images: data.ImageSet | None = None
        self.critic: Discriminator | None = None
        self._kept: Redrawn | None = None
        self.gamma = self._gamma(run.r1)
        if run.freeze:
            self._freeze()
        elif run.adversarial_weight:
            self.critic = self._placed(self._own_critic(bool(run.fraction)))
            self.players = (self._player("critic", self.critic), *self.players)

    def _network(self) -> nn.Module:
        run, eyes = self.run, self.discriminator
        most = run.max_width or 8 * run.width
        config = InDomainConfig.of(
            self.generator, run.width, most, run.resolution, run.passes, eyes
        )
        encoder = InDomainEncoder(config, run.group)
        if config.eyes is not None:
            encoder.descent.eyes.load_state_dict(eyes.state_dict())
        return encoder

    def _freeze(self) -> None:
        """Of the encoder nothing moves but its passes, and its statistics stay as they are."""
        self.encoder.eval().requires_grad_(False)
        for name, weight in self.encoder.descent.named_parameters():
            weight.requires_grad_(not name.startswith("eyes."))

    def open_data(self) -> str:
        """Read the photos; returns what there is, in a sentence."""
        said = super().open_data()
        if not self.run.fraction:
            return said
        images = self._open("data")
        self.images = cache_on_gpu(images, self.device)
        return f"{images.summary()}, as {self.run.fraction:.0%} of the training; {said}"

    def _redraw(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        draw = self.generator.synthesize
        return draw(encoder.find(images, draw))

    # One step -------------------------------------------------------------------------------------

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        self._begin(place)
        return self._of_critic(place) if player == "critic" else self._of_encoder(place)

    def _of_critic(self, place: BatchSlice) -> dict[str, Tensor]:
        """softplus(D(G(E(x)))) + softplus(-D(x)) + gamma / 2 |grad D(x)|^2 (equation 3)."""
        # One drawing serves both players where a step has one micro-step.
        with torch.set_grad_enabled(place.whole):
            drawn = self._drawn(place)
        self._kept = drawn if place.whole else None
        return self._told_apart(
            drawn.target,
            lambda image: self._judge(image, drawn.label),
            lambda: self._judge(drawn.image.detach(), drawn.label),
            place,
        )

    def _of_encoder(self, place: BatchSlice) -> dict[str, Tensor]:
        """mean((x - G(E(x)))^2), the perceptual and the adversarial term (equation 2), and what the
        passes descend."""
        run = self.run
        if run.freeze:
            target, *_ = self._targets(place)
            with torch.no_grad():
                code = self.encoder(target)
            return self._after_passes(target, code)
        drawn = self._kept or self._drawn(place)
        self._kept = None
        losses = self._apart(drawn.image, drawn.target)
        if self.critic is not None:
            fooled = F.softplus(-self._judge(drawn.image, drawn.label)).mean()
            losses["encoder/adversarial"] = run.adversarial_weight * fooled
        if run.latent_weight and drawn.ws is not None:
            apart = (drawn.code - drawn.ws).square().mean((1, 2))
            losses["encoder/latent"] = run.latent_weight * (apart * drawn.sampled).mean()
        if run.passes:
            losses |= self._after_passes(drawn.target, drawn.code)
        return losses

    def _after_passes(self, target: Tensor, code: Tensor) -> dict[str, Tensor]:
        """What the passes descend, after each of them: their mean."""
        with self.run.autocast(self.device):
            _, losses = self.encoder.descend(target, code, self.generator.synthesize)
        return {"encoder/after passes": torch.stack(losses).mean()}

    def _judge(self, image: Tensor, label: Tensor | None) -> Tensor:
        """Logits (N, 1) of the critic."""
        with self.run.autocast(self.device):
            label = label if self.critic.config.c_dim else None
            return self.critic(image, label).to(self.run.dtype)

    def _drawn(self, place: BatchSlice) -> Redrawn:
        target, sampled, ws, label = self._targets(place)
        with self.run.autocast(self.device):
            code = self.encoder(target)
            image = self.generator.synthesize(code).to(self.run.dtype)
        return Redrawn(target, sampled, ws, label, code, image)

    def _targets(self, place: BatchSlice) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The first four of `Redrawn`."""
        run, ws, label = self.run, None, None
        chance = self.draws.numbers("photo", place, torch.rand).to(self.device)
        sampled = chance >= run.fraction
        with torch.no_grad():
            if run.fraction > 0:
                target = self.draws.images(self.images, place, run.flip)
            if run.fraction < 1:
                ws, label = self._codes(place)
                if sampled.all():
                    target = self._photo(ws)
                elif sampled.any():  # where there is a photo, nothing need be drawn
                    target = target.index_put((sampled,), self._photo(ws[sampled]))
        return target, sampled, ws, label
