"""Penalties on gradients: of the critic's logits, and of the generator's images.

Legend: N images, C channels, HxW pixels, L style inputs, D numbers in w.
"""

import math

import torch
from torch import Tensor


def r1(logits: Tensor, image: Tensor) -> Tensor:
    """(N,) squared gradient of the logits (N, 1) with respect to the images (N, C, H, W).

    "Which Training Methods for GANs do actually Converge?", eq. 9, without gamma / 2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def path_lengths(ws: Tensor, image: Tensor, directions: Tensor) -> Tensor:
    """(N,) |J^T y| of images (N, C, H, W) with respect to ws (N, L, D), root mean square over L.

    directions: y, normal, (N, C, H, W). "Analyzing and Improving the Image Quality of StyleGAN",
    section 3.2 and appendix B.
    """
    directions = directions / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad((image * directions).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
