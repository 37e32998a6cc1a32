"""What the recipes with a critic share: its initial weights, and its losses.

Legend: N images, C channels, R image resolution.
"""

import copy
import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from facsimile.stylegan import Discriminator
from facsimile.training import R1Settings
from facsimile.training.penalties import r1


def initial_critic(
    discriminator: Discriminator | None, resolution: int, bn_group_size: int, *, photos: bool
) -> Discriminator:
    """A trainable copy of the generator's discriminator.

    resolution: of the generator. bn_group_size: its minibatch statistics stay within such groups,
    which may lie in different processes. photos: whether it is shown any.
    Raises ValueError if there is no discriminator of this resolution, or photos lack its labels.
    """
    if discriminator is None or discriminator.img_resolution != resolution:
        present = "none"
        if discriminator is not None:
            present = f"one for images of {discriminator.img_resolution} px"
        raise ValueError(
            f"the critic is initialised with the generator's discriminator, of {resolution} px, "
            f"and there is {present}; put it beside the generator as discriminator.safetensors, or "
            "train without a critic with --adversarial-weight 0"
        )
    if discriminator.config.c_dim and photos:
        raise ValueError(
            "the generator's discriminator takes labels, and photos have none; "
            "leave --data out, or train without a critic with --adversarial-weight 0"
        )
    critic = copy.deepcopy(discriminator).requires_grad_(True)
    critic.b4.group = math.gcd(critic.b4.group, bn_group_size)
    return critic


def r1_gamma(section: R1Settings, resolution: int) -> float:
    """Weight of R1, a sum over pixels. Default: 10 at 256 px, and less below."""
    if section.r1_gamma is not None:
        return section.r1_gamma
    return 10 * min(1.0, (resolution / 256) ** 2)


def critic_losses(
    real: Tensor,
    on_real: Callable[[Tensor], Tensor],
    on_fake: Callable[[], Tensor],
    step: int,
    section: R1Settings,
) -> dict[str, Tensor]:
    """softplus(fake) + softplus(-real) of the critic's logits, and lazily R1 on real images.

    real: images (N, C, R, R); on_real: such images -> logits (N, 1); on_fake: logits (N, 1).
    """
    gamma = r1_gamma(section, real.shape[-1])
    penalised = gamma > 0 and step % section.r1_interval == 0
    real = real.detach().requires_grad_(penalised)
    logits = on_real(real)
    losses = {
        "critic/fake": F.softplus(on_fake()).mean(),
        "critic/real": F.softplus(-logits).mean(),
    }
    if penalised:
        penalty = r1(logits, real).mean()
        losses["critic/r1"] = 0.5 * gamma * section.r1_interval * penalty
    return losses
