"""The in-domain encoder: from a photo to a code of W+, one w for every style input.

Legend: N images, L style inputs (num_ws), D numbers in w, R image resolution.
"In-Domain GAN Inversion for Real Image Editing", section 3.1.
"""

from collections.abc import Callable
from operator import attrgetter

import torch
from torch import Tensor, nn

from facsimile.stylegan import Generator, spaces

from ..codes_network import CodesNetwork
from ..layers import prepare_images
from .config import InDomainConfig
from .learned_optimizer import LearnedOptimizer
from .resnet import resnet_modules

GRADIENT_SAMPLES = 8
"""Samples from which the usual size of the gradient is measured; the gradient takes memory."""


class InDomainEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+.

    Its network predicts codes that are normalized: counted from the mean w, in standard deviations
    of w, so that a generator's scale of w does not matter.
    """

    optimizer = property(attrgetter("descent"), doc="The `LearnedOptimizer`, if there is one.")

    def __init__(self, config: InDomainConfig, bn_group_size: int = 2):
        """bn_group_size: images per batch normalisation in training; the resnet alone has any."""
        super().__init__()
        self.config = config
        self.codes = None if config.codes is None else CodesNetwork(config.codes)
        if self.codes is None:
            for name, module in resnet_modules(config, bn_group_size).items():
                self.add_module(name, module)
        if config.iterations:
            self.add_module("descent", LearnedOptimizer(config))  # its name in files
        if self.codes is None:
            self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))
            self.register_buffer("scale", torch.ones(config.num_ws, config.w_dim))

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (L, D) of w."""
        owner = self if self.codes is None else self.codes
        return owner.mean, owner.scale

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale: the generator's mean code, and the deviation of ws (N, L, D)."""
        mean, scale = self.statistics
        mean.copy_(spaces.SPACES["w+"].initial_code(generator, 1, "mean")[0])
        scale.copy_(ws.std(0))
        if self.config.iterations:
            ws = ws[:GRADIENT_SAMPLES]
            images = torch.clamp(generator.synthesize(ws), -1, 1)
            synthesize = self.from_normalized(generator.synthesize)
            self.optimizer.init_normalization(images, torch.zeros_like(ws), synthesize)

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError for other images."""
        return self.denormalize(self.normalized(images))

    def normalized(self, images: Tensor) -> Tensor:
        """As `forward`, but the codes (N, L, D) are normalized."""
        if self.codes is not None:
            return self.codes.normalized(images)
        config = self.config
        x = prepare_images(images, config.img_channels, config.resolution)
        x = self.blocks(self.first(x))
        # From here in full precision: three digits are too few for a code.
        x = self.norm(self.dense(x.flatten(1)).to(self.mean.dtype))
        return x.unflatten(1, self.mean.shape)

    def normalize(self, ws: Tensor) -> Tensor:
        """Codes (N, L, D) of W+ -> counted from the mean, in standard deviations of w."""
        mean, scale = self.statistics
        return (ws - mean) / scale

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, scale = self.statistics
        return torch.addcmul(mean, x, scale)

    def encode(self, images: Tensor, synthesize: Callable[[Tensor], Tensor]) -> Tensor:
        """Codes (N, L, D) of images after all iterations.

        synthesize: codes (N, L, D) -> images. No gradient goes through the iterations.
        """
        code = self(images)
        if not self.config.iterations:
            return code
        with torch.no_grad():
            return self.optimize(images, code, synthesize)[0]

    def optimize(
        self, images: Tensor, code: Tensor, synthesize: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """(codes after the iterations, losses (N,) after each): see `LearnedOptimizer.run`."""
        x = self.normalize(code.detach())
        x, losses = self.optimizer.run(images, x, self.from_normalized(synthesize))
        return self.denormalize(x), losses

    def from_normalized(self, synthesize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`synthesize` for codes that are normalized."""
        return lambda x: synthesize(self.denormalize(x))
