"""A learned optimizer: from a code and the gradient of the loss at it to a better code.

Legend: N images, C channels, R image resolution, L style inputs, D numbers in w, H hidden features.
After "Human Body Model Fitting by Learned Gradient Descent", there for body models, and "Iterative
Amortized Inference". ReStyle corrects a code by comparing images; here the gradient through the
generator gives the direction for every number of the code, and the network learns how far to go.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import metrics
from facsimile.metrics.backbones import DiscriminatorBackbone
from facsimile.stylegan import Discriminator, freeze
from facsimile.stylegan.discriminator import DiscriminatorConfig

from ..layers import prepare_images
from .config import InDomainConfig

MAX_LOG_GRAD = 4.0
"""The logarithm of the gradient's relative size is clamped to this, in both directions."""
LAST_CHANGE_SCALE = 10
"""Changes are about a tenth of the size of the network's other inputs."""
BLOCKS = 2


class ImageFeatures(NamedTuple):
    """An image as it is compared."""

    image: Tensor
    """(N, C, resolution, resolution)"""
    features: list[Tensor]
    """Of the feature network's blocks; empty without one."""
    embedding: Tensor | None = None
    """Of the identity network; None without one."""


class LossAndGrad(NamedTuple):
    """The loss at a code, and its gradient."""

    loss: Tensor
    """(N,)"""
    gradient: Tensor
    """Of each image's loss with respect to its code, (N, L, D)."""


class LearnedOptimizer(nn.Module):
    """(code, gradient, last change) -> change, all (N, L, D) in standard deviations of w.

    Each style input has weights of its own; the blocks mix information between style inputs.
    """

    feature_net = property(attrgetter("eyes"), doc="The frozen discriminator, or None.")

    def __init__(self, config: InDomainConfig):
        """Images are compared at the encoder's resolution."""
        super().__init__()
        self.config = config
        self.identity = None if config.identity is None else LazyIdentity(config.identity)
        network = None
        if config.feature_net is not None:
            network = freeze(Discriminator(DiscriminatorConfig(**config.feature_net)))
        self.add_module("eyes", network)  # its name in files, as are the following
        num_ws, w_dim, hidden = config.num_ws, config.w_dim, config.hidden
        iterations, inputs = config.iterations, 3 * config.w_dim
        # Input layer: direction, code and last change; size of the gradient; iteration.
        self.into = nn.Parameter(torch.randn(num_ws, inputs, hidden) / inputs**0.5)
        self.size = nn.Parameter(torch.randn(num_ws, hidden) * 0.3)
        self.number = nn.Parameter(torch.zeros(iterations, num_ws, hidden))
        self.blocks = nn.Sequential(*(MixerBlock(num_ws, hidden) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(hidden)
        # Output layer, and plain descent: a matrix on the direction, perhaps as a product of two,
        # and the step size's logarithm.
        # The initial weights give plain descent with steps of one length.
        self.out = nn.Parameter(torch.randn(num_ws, hidden, w_dim) * 1e-3 / hidden**0.5)
        if (rank := config.turn_rank) is None:
            self.turn = nn.Parameter(torch.zeros(num_ws, w_dim, w_dim))
        else:
            self.turn_in = nn.Parameter(torch.randn(num_ws, w_dim, rank) / w_dim**0.5)
            self.turn_out = nn.Parameter(torch.zeros(num_ws, rank, w_dim))
        self.length = nn.Parameter(torch.full((iterations, num_ws, 1), config.initial_step).log())
        # Root mean square of the gradient at the mean code.
        self.register_buffer("usual", torch.ones(num_ws))

    def extract(self, images: Tensor) -> ImageFeatures:
        """Images (N, C, R, R) of any R, as they are compared.

        With the features of `metrics`, but in lower precision under autocast: it is for a gradient.
        """
        channels, features, embedding = self.config.img_channels, [], None
        if self.feature_net is not None:
            resolution = self.feature_net.img_resolution
            prepared = prepare_images(images, channels, resolution)
            features = DiscriminatorBackbone(self.feature_net)(prepared)
        if self.identity is not None:
            embedding = self.identity.embed(images, self.length)
        image = prepare_images(images, channels, self.config.resolution)
        return ImageFeatures(image, features, embedding)

    def loss_and_grad(
        self, code: Tensor, photo: ImageFeatures, synthesize: Callable[[Tensor], Tensor]
    ) -> LossAndGrad:
        """The loss and its gradient, with the weights a, b, c, d of `DescentWeights`:

        a mean((x - G(w))^2) + b |phi(x) - phi(G(w))|^2 + c |e(x) - e(G(w))|^2 + d mean(w^2)

        phi: features of the feature network; e: embedding of the identity network; w is normalized.
        code: (N, L, D); photo: from `extract`; synthesize: code -> images.
        """
        weights = self.config.descent
        with torch.enable_grad():
            code = code.detach().requires_grad_()
            current = self.extract(synthesize(code))
            loss = weights.pixel * metrics.mse(current.image, photo.image)
            if self.feature_net is not None:
                distance = metrics.distance(current.features, photo.features)
                loss = loss + weights.perceptual * distance
            if current.embedding is not None and photo.embedding is not None:
                error = (current.embedding - photo.embedding).square().sum(1)
                loss = loss + weights.identity * error
            if weights.latent:
                loss = loss + weights.latent * code.square().mean((1, 2))
            (gradient,) = torch.autograd.grad(loss.sum(), code)
        return LossAndGrad(loss.detach(), gradient.to(code.dtype))

    @torch.no_grad()
    def init_normalization(
        self, images: Tensor, code: Tensor, synthesize: Callable[[Tensor], Tensor]
    ) -> None:
        """Measure the gradient's usual size at a code (N, L, D) that is not that of the images."""
        gradient = self.loss_and_grad(code, self.extract(images), synthesize).gradient
        self.usual.copy_(gradient.square().mean((0, 2)).sqrt())

    def run(
        self, images: Tensor, code: Tensor, synthesize: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """(codes (N, L, D) after all iterations, losses (N,) after each; not the last in use).

        In training the gradient of an iteration's loss goes to the output of this network in that
        iteration, and no further. It is the gradient that the next iteration starts with, so
        training costs no more than use.
        """
        with torch.no_grad():
            photo = self.extract(images)
        code, last_change, losses = code.detach(), torch.zeros_like(code), []
        gradient = self.loss_and_grad(code, photo, synthesize).gradient
        for iteration in range(self.config.iterations):
            change = self(iteration, code, gradient, last_change)
            last_change = change.detach()
            code = code + last_change
            if iteration + 1 == self.config.iterations and not torch.is_grad_enabled():
                break
            loss, gradient = self.loss_and_grad(code, photo, synthesize)
            losses.append(loss + ((change - last_change) * gradient).sum((1, 2)))
        return code, losses

    def forward(
        self, iteration: int, code: Tensor, gradient: Tensor, last_change: Tensor
    ) -> Tensor:
        """iteration: from 0; last_change: of the iteration before, 0 in the first."""
        size = gradient.square().mean(2, keepdim=True).sqrt()
        tiny = torch.finfo(size.dtype).tiny
        direction = gradient / size.clamp_min(tiny)
        log_size = (size / self.usual[:, None]).clamp_min(tiny).log()
        log_size = log_size.clamp(-MAX_LOG_GRAD, MAX_LOG_GRAD)
        inputs = [direction, code, LAST_CHANGE_SCALE * last_change]
        x = _per_input_matmul(torch.cat(inputs, 2), self.into)
        x = self.norm(self.blocks(x + self.number[iteration] + log_size * self.size))
        descent = self.length[iteration].exp() * (direction + self._turned(direction))
        return _per_input_matmul(x, self.out) - descent

    def _turned(self, direction: Tensor) -> Tensor:
        """The direction (N, L, D) times the matrix of each style input."""
        if self.config.turn_rank is None:
            return _per_input_matmul(direction, self.turn)
        return _per_input_matmul(_per_input_matmul(direction, self.turn_in), self.turn_out)


class LazyIdentity:
    """An identity network by its name, read when it is first used. It is in no state dict."""

    def __init__(self, name: str):
        """name: as `metrics.build_identity` takes it."""
        self.name = name
        self._network: metrics.IdentityNetwork | None = None

    def embed(self, images: Tensor, like: Tensor) -> Tensor:
        """Embeddings of images (N, C, R, R), on the device and in the precision of `like`.

        Raises FileNotFoundError, with the remedy, where the network is not there.
        """
        if self._network is None:
            try:
                self._network = metrics.build_identity(self.name)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"this encoder's learned optimizer compares faces by the identity network "
                    f'"{self.name}", which is not there: {error}'
                ) from error
            if self._network is None:
                raise ValueError(
                    f'the encoder\'s configuration names the identity network "{self.name}"; '
                    "expected one that recognises people, such as dlib"
                )
        return self._network.to(like.device, like.dtype).embed(images)


class MixerBlock(nn.Module):
    """(N, L, H) -> (N, L, H): mixes the style inputs, then the features of each."""

    def __init__(self, num_ws: int, hidden: int):
        super().__init__()
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.across = nn.Linear(num_ws, num_ws)
        self.wide, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        nn.init.normal_(self.across.weight, std=0.01)
        nn.init.zeros_(self.across.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.before(x).transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


def _per_input_matmul(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, L, I) times a matrix (L, I, O) for each style input -> (N, L, O)."""
    return torch.bmm(x.transpose(0, 1), weight.to(x.dtype)).transpose(0, 1)
