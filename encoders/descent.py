"""Learned descent: from a code, and the gradient of the losses at it, to a better code.

Legend: N images, C channels, R side of the image, L style inputs, D numbers in w, H hidden numbers.
After "Human Body Model Fitting by Learned Gradient Descent", there for bodies, and "Iterative
Amortized Inference". ReStyle's passes look at the drawing; these ask the generator too, which way
each number of the code would have to go, and have learned how far the answer holds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import metrics
from facsimile.metrics.trunks import DiscriminatorTrunk
from facsimile.stylegan import Discriminator, freeze
from facsimile.stylegan.discriminator import DiscriminatorConfig

from .layers import shown

PERCEPTUAL = 10.0
"""Weight of the perceptual term, as in refinement: the same losses go on there."""
FIRST = 0.03
"""Length of the first steps, in standard deviations of w; what was learned comes on top."""
FAR = 4.0
"""Largest logarithm of a gradient's size that counts."""
BLOCKS = 2


class Look(NamedTuple):
    """An image as it is compared."""

    image: Tensor
    """(N, C, side, side)"""
    features: list[Tensor]
    """Of the eyes' blocks; none without eyes."""


class Slope(NamedTuple):
    """How a code stands to its photo."""

    loss: Tensor
    """(N,)"""
    gradient: Tensor
    """Of each image's loss with respect to its code, (N, L, D)."""


class Descent(nn.Module):
    """Code, slope and last change -> change, all (N, L, D) in standard deviations of w.

    What is learned for one style input serves no other; over them goes what the blocks mix.
    """

    def __init__(
        self,
        num_ws: int,
        w_dim: int,
        passes: int,
        hidden: int,
        img_channels: int,
        side: int,
        eyes: dict[str, Any] | None,
    ):
        """side: of the images that are compared; eyes: the configuration of the discriminator whose
        features are compared too, None: without that term."""
        super().__init__()
        self.passes, self.img_channels, self.side = passes, img_channels, side
        self.eyes = None if eyes is None else freeze(Discriminator(DiscriminatorConfig(**eyes)))
        inputs = 3 * w_dim
        self.into = nn.Parameter(torch.randn(num_ws, inputs, hidden) / inputs**0.5)
        self.size = nn.Parameter(torch.randn(num_ws, hidden) * 0.3)
        self.number = nn.Parameter(torch.zeros(passes, num_ws, hidden))
        self.blocks = nn.Sequential(*(Block(num_ws, hidden) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(hidden)
        # It begins as plain descent, with steps of one length.
        self.out = nn.Parameter(torch.randn(num_ws, hidden, w_dim) * 1e-3 / hidden**0.5)
        self.turn = nn.Parameter(torch.zeros(num_ws, w_dim, w_dim))
        self.length = nn.Parameter(torch.full((passes, num_ws, 1), FIRST).log())
        self.register_buffer("usual", torch.ones(num_ws))

    def look(self, images: Tensor) -> Look:
        """Images (N, C, R, R) of any R, as they are compared.

        With the features of `metrics`, but in half precision under autocast: it is for a gradient.
        """
        features = []
        if self.eyes is not None:
            whole = shown(images, self.img_channels, self.eyes.img_resolution)
            features = DiscriminatorTrunk(self.eyes)(whole)
        return Look(shown(images, self.img_channels, self.side), features)

    def slope(self, code: Tensor, photo: Look, draw: Callable[[Tensor], Tensor]) -> Slope:
        """mean((x - G(w))^2) + 10 |phi(x) - phi(G(w))|^2, and its gradient.

        code: (N, L, D), photo: `look`'s, draw: such a code -> images.
        """
        with torch.enable_grad():
            code = code.detach().requires_grad_()
            drawn = self.look(draw(code))
            loss = metrics.mse(drawn.image, photo.image)
            if self.eyes is not None:
                loss = loss + PERCEPTUAL * metrics.distance(drawn.features, photo.features)
            (gradient,) = torch.autograd.grad(loss.sum(), code)
        return Slope(loss.detach(), gradient.to(code.dtype))

    @torch.no_grad()
    def fit(self, images: Tensor, code: Tensor, draw: Callable[[Tensor], Tensor]) -> None:
        """Learn how steep it is at a code (N, L, D) that does not draw the images."""
        gradient = self.slope(code, self.look(images), draw).gradient
        self.usual.copy_(gradient.square().mean((0, 2)).sqrt())

    def run(
        self, images: Tensor, code: Tensor, draw: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The code (N, L, D) after all passes; the losses (N,) after each, in use but the last.

        In training the gradient of a pass's loss goes to what this network said in it, and no
        further: it is the one that the next pass begins with, so that training costs what use does.
        """
        with torch.no_grad():
            photo = self.look(images)
        code, last, losses = code.detach(), torch.zeros_like(code), []
        gradient = self.slope(code, photo, draw).gradient
        for number in range(self.passes):
            change = self(number, code, gradient, last)
            last = change.detach()
            code = code + last
            if number + 1 == self.passes and not torch.is_grad_enabled():
                break
            loss, gradient = self.slope(code, photo, draw)
            losses.append(loss + ((change - last) * gradient).sum((1, 2)))
        return code, losses

    def forward(self, number: int, code: Tensor, gradient: Tensor, last: Tensor) -> Tensor:
        """number: of the pass, from 0; last: the change before, 0 at first."""
        size = gradient.square().mean(2, keepdim=True).sqrt()
        tiny = torch.finfo(size.dtype).tiny
        way = gradient / size.clamp_min(tiny)
        size = (size / self.usual[:, None]).clamp_min(tiny).log().clamp(-FAR, FAR)
        # Changes are some tenth of what the others are.
        x = _each(torch.cat([way, code, 10 * last], 2), self.into)
        x = self.norm(self.blocks(x + self.number[number] + size * self.size))
        straight = self.length[number].exp() * (way + _each(way, self.turn))
        return _each(x, self.out) - straight


class Block(nn.Module):
    """(N, L, H) -> the same, over the style inputs and then over the numbers of each."""

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


def _each(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, L, I) by a matrix (L, I, O) for each style input -> (N, L, O)."""
    return torch.bmm(x.transpose(0, 1), weight.to(x.dtype)).transpose(0, 1)
