"""A learned optimizer: from a code and the gradient of the loss at it to a better code.

Legend: N images, C channels, R image resolution, L style inputs, D numbers in w, H hidden features.
After "Human Body Model Fitting by Learned Gradient Descent", there for body models, and "Iterative
Amortized Inference". ReStyle corrects a code by comparing images; here the gradient through the
generator gives the direction for every number of the code, and the network learns how far to go.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import metrics
from facsimile.metrics.backbones import DiscriminatorBackbone
from facsimile.stylegan import Discriminator, freeze
from facsimile.stylegan.discriminator import DiscriminatorConfig

from ..layers import prepare_images

PERCEPTUAL_WEIGHT = 10.0
"""Weight of the perceptual term, as in refinement, which continues with the same losses."""
INITIAL_STEP = 0.03
"""Length of the initial steps, in standard deviations of w."""
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

    def __init__(
        self,
        num_ws: int,
        w_dim: int,
        iterations: int,
        hidden: int,
        img_channels: int,
        resolution: int,
        feature_net: dict[str, Any] | None,
    ):
        """resolution: at which images are compared; feature_net: configuration of the discriminator
        of the perceptual term, None: without that term."""
        super().__init__()
        self.iterations, self.img_channels = iterations, img_channels
        self.resolution = resolution
        network = None
        if feature_net is not None:
            network = freeze(Discriminator(DiscriminatorConfig(**feature_net)))
        self.add_module("eyes", network)  # its name in files, as are the following
        inputs = 3 * w_dim
        # Input layer: direction, code and last change; size of the gradient; iteration.
        self.into = nn.Parameter(torch.randn(num_ws, inputs, hidden) / inputs**0.5)
        self.size = nn.Parameter(torch.randn(num_ws, hidden) * 0.3)
        self.number = nn.Parameter(torch.zeros(iterations, num_ws, hidden))
        self.blocks = nn.Sequential(*(MixerBlock(num_ws, hidden) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(hidden)
        # Output layer, and plain descent: a matrix on the direction, and the step size's logarithm.
        # The initial weights give plain descent with steps of one length.
        self.out = nn.Parameter(torch.randn(num_ws, hidden, w_dim) * 1e-3 / hidden**0.5)
        self.turn = nn.Parameter(torch.zeros(num_ws, w_dim, w_dim))
        self.length = nn.Parameter(torch.full((iterations, num_ws, 1), INITIAL_STEP).log())
        # Root mean square of the gradient at the mean code.
        self.register_buffer("usual", torch.ones(num_ws))

    def extract(self, images: Tensor) -> ImageFeatures:
        """Images (N, C, R, R) of any R, as they are compared.

        With the features of `metrics`, but in lower precision under autocast: it is for a gradient.
        """
        features = []
        if self.feature_net is not None:
            resolution = self.feature_net.img_resolution
            prepared = prepare_images(images, self.img_channels, resolution)
            features = DiscriminatorBackbone(self.feature_net)(prepared)
        return ImageFeatures(prepare_images(images, self.img_channels, self.resolution), features)

    def loss_and_grad(
        self, code: Tensor, photo: ImageFeatures, synthesize: Callable[[Tensor], Tensor]
    ) -> LossAndGrad:
        """mean((x - G(w))^2) + 10 |phi(x) - phi(G(w))|^2, and its gradient.

        code: (N, L, D); photo: from `extract`; synthesize: code -> images.
        """
        with torch.enable_grad():
            code = code.detach().requires_grad_()
            current = self.extract(synthesize(code))
            loss = metrics.mse(current.image, photo.image)
            if self.feature_net is not None:
                distance = metrics.distance(current.features, photo.features)
                loss = loss + PERCEPTUAL_WEIGHT * distance
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
        for iteration in range(self.iterations):
            change = self(iteration, code, gradient, last_change)
            last_change = change.detach()
            code = code + last_change
            if iteration + 1 == self.iterations and not torch.is_grad_enabled():
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
        step = self.length[iteration].exp()
        descent = step * (direction + _per_input_matmul(direction, self.turn))
        return _per_input_matmul(x, self.out) - descent


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
