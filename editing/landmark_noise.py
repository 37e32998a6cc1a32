"""Noise maps of a face that moves: they follow where the landmarks say how, and fade elsewhere.

Noise maps that were refined for a photo hold its finest details, pixel by pixel. Where the codes
move the face and the maps stay, the details of two places lie on one another and contours crackle.

Legend: N faces, K = 68 points, r side of a noise map, S side of the field of motion, R image
resolution. Positions are in units of the image's side.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile.stylegan import Generator, Latents

FIELD = 64
"""S at most: the motion is smooth, and maps may have 1024 pixels."""
REACH = 0.06
"""Standard deviation of the Gaussian by which landmarks share their motion with what is near."""
KNOWN = 0.05
"""Likewise, for where the motion of the skin is known; farther away there is hair or background."""
TOLERATED = 0.01
"""Motion at which maps have faded to 0.6 where it is not known how they should follow."""
STRETCH = 0.25
"""Difference of motion from place to place, per distance, at which maps have faded to 0.6."""
OUTLINE = 17
"""The first points are those of the chin, where the face ends."""


@dataclass(frozen=True)
class Motion:
    """How the faces of N pictures have moved."""

    displacement: Tensor
    """(N, 2, S, S), x then y: where from what is here has come, as a difference of positions."""
    share: Tensor
    """(N, 1, S, S) in [0, 1]: how much of the source's details is left here."""


def motion(source: Tensor, landmarks: Tensor, side: int) -> Motion:
    """From landmarks (N, K, 2) of the source to those of the result, at side x side places.

        u(p) = sum_i a_i(p) u_i,  a = softmax_i(-|p - q_i|^2 / (2 REACH^2))
        share = exp(-(|u| / TOLERATED)^2 / 2 (1 - known)) exp(-(|grad u| / STRETCH)^2 / 2)

    with the displacements u_i of the landmarks q_i, and `known` near those inside the face's
    outline, before and after. Where nothing moves, the share is 1.
    """
    u_of_points = landmarks - source
    weights = (-_squares(landmarks, side) / (2 * REACH**2)).softmax(2)  # (N, S * S, K)
    u = (weights @ u_of_points).mT.unflatten(2, (side, side))  # (N, 2, S, S)
    stretch = sum(d.square().sum(1, keepdim=True) for d in _slopes(u))
    known = torch.minimum(*(_known(points[:, OUTLINE:], side) for points in (source, landmarks)))
    distance = u.square().sum(1, keepdim=True) / TOLERATED**2
    return Motion(u, (-0.5 * (distance * (1 - known) + stretch / STRETCH**2)).exp())


def move_noise(
    generator: Generator, latents: Latents, source: Tensor, landmarks: Tensor
) -> Latents:
    """Latents whose noise maps follow the face, and give way to the generator's noise where it
    moves in a way that landmarks do not tell. Latents without maps stay as they are.

    source, landmarks: (1 or N, K, 2) and (N, K, 2), before and after, in pixels of R.
    """
    if latents.noise is None:
        return latents
    landmarks = landmarks.to(latents.code) / generator.resolution
    source = (source.to(latents.code) / generator.resolution).expand_as(landmarks)
    moved = motion(source, landmarks, min(FIELD, generator.resolution))
    still = (landmarks == source).flatten(1).all(1)[:, None, None, None]
    maps = []
    for noise, constant in zip(latents.noise, generator.noise_maps(1), strict=True):
        size = noise.shape[2:]
        u, share = (
            F.interpolate(x, size, mode="bilinear", align_corners=False)
            for x in (moved.displacement, moved.share)
        )
        places = _places(size[0], size[1], u) - u.permute(0, 2, 3, 1)
        own = F.grid_sample(
            noise - constant, 2 * places - 1, padding_mode="border", align_corners=False
        )
        maps.append(torch.where(still, noise, constant + share * own))
    tensors = {f"noise.{i}": x for i, x in enumerate(maps)}
    return latents.with_tensors(latents.tensors() | tensors)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """Positions of the centres of pixels, (height, width, 2), x then y."""
    y, x = ((torch.arange(n).to(like) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _squares(points: Tensor, side: int) -> Tensor:
    """Squares of the distances of all places from points (N, P, 2): (N, S * S, P)."""
    places = _places(side, side, points).view(1, -1, 1, 2)
    return (places - points[:, None]).square().sum(3)


def _known(points: Tensor, side: int) -> Tensor:
    """(N, 1, S, S), 1 amid points (N, P, 2) and 0 far away from them."""
    near = (-_squares(points, side) / (2 * KNOWN**2)).exp().sum(2)
    return (1 - (-near).exp()).view(-1, 1, side, side)


def _slopes(u: Tensor) -> tuple[Tensor, Tensor]:
    """Change of u (N, 2, S, S) per distance, from each place to the next in x and in y."""
    side = u.shape[-1]
    along_x = u.diff(dim=3, append=u[:, :, :, -1:]) * side
    along_y = u.diff(dim=2, append=u[:, :, -1:]) * side
    return along_x, along_y
