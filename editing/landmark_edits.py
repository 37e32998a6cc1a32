"""Scripted motions: landmarks of a face -> landmarks of the same face turned, speaking or smiling.

Legend: N faces, K = 68 points of iBUG 300-W, E distance of the outer corners of the eyes. Landmarks
are (N, K, 2), x then y, in pixels of any frame. Left and right are those of the picture. "Down" is
perpendicular to the line of the eyes, so that a tilted face moves along its own axes.
"""

import math

import torch
from torch import Tensor

EYES = (36, 45)
"""Outer corners, left and right."""
OPEN = 0.25
"""In E: displacement of the lower lip at amount 1. More moves the chin out of FFHQ's frame."""
SMILE = (0.09, 0.06)
"""In E: displacement of the corners of the mouth at amount 1, outwards and up."""

_JAW = {8: 0.8, 7: 0.8, 9: 0.8, 6: 0.7, 10: 0.7, 5: 0.5, 11: 0.5, 4: 0.25, 12: 0.25}
_LOWER_LIP = {66: 1.0, 65: 0.85, 67: 0.85, 57: 1.0, 56: 0.9, 58: 0.9, 55: 0.5, 59: 0.5}
_LOWERED = _JAW | _LOWER_LIP
"""Point -> its share of the displacement; all others stay."""
_LIPS = ((67, 61), (66, 62), (65, 63))
"""Inner points of the lower lip, and the points of the upper lip that they meet."""
_SMILING = {48: 1.0, 60: 1.0, 49: 0.55, 59: 0.55, 61: 0.4, 67: 0.4, 50: 0.25, 58: 0.25}
"""Point of the left half -> its share of the corner's displacement; the right half mirrors it."""
_RIGHT = {48: 54, 60: 64, 49: 53, 59: 55, 61: 63, 67: 65, 50: 52, 58: 56}

_DEPTHS = (
    # chin, from the temple down to its middle and up again
    *(-0.50, -0.49, -0.47, -0.44, -0.37, -0.25, -0.09, 0.06, 0.12),
    *(0.06, -0.09, -0.25, -0.37, -0.44, -0.47, -0.49, -0.50),
    *(-0.06, 0.09, 0.17, 0.21, 0.22, 0.22, 0.21, 0.17, 0.09, -0.06),  # brows
    *(0.20, 0.32, 0.44, 0.55, 0.26, 0.33, 0.37, 0.33, 0.26),  # bridge and tip; nostrils
    *(0.00, 0.09, 0.11, 0.08, 0.10, 0.08),  # left eye, from its outer corner
    *(0.08, 0.11, 0.09, 0.00, 0.08, 0.10),  # right eye, from its inner corner
    *(0.16, 0.26, 0.32, 0.33, 0.32, 0.26, 0.16, 0.24, 0.29, 0.30, 0.29, 0.24),  # outer lips
    *(0.18, 0.28, 0.30, 0.28, 0.18, 0.27, 0.28, 0.27),  # inner lips
)
"""In E: how much nearer to the viewer than the outer corners of the eyes each point is."""


def yaw(landmarks: Tensor, degrees: float) -> Tensor:
    """Turn the head about its vertical axis; above 0 the nose goes to the right of the picture.

    s' = s cos(a) + z sin(a), with the position s along the line of the eyes from their centre and a
    depth z for each point. The depths are set by hand and relative to E; they are neither a
    person's nor a measured mean. There is no perspective, and the face is assumed to be frontal:
    the result is less accurate for a turned face and for large angles. Points of the chin follow
    the skin, whereas a landmark network follows the outline. Raises ValueError beyond 45 degrees.
    """
    _check(landmarks)
    if not abs(degrees) <= 45:
        raise ValueError(f"got a turn of {degrees:g} degrees; expected -45 to 45")
    along, _, size = _axes(landmarks)
    angle = math.radians(degrees)
    left, right = (landmarks[:, i] for i in EYES)
    s = ((landmarks - (left + right)[:, None] / 2) * along).sum(2, keepdim=True)  # (N, K, 1)
    z = landmarks.new_tensor(_DEPTHS)[:, None] * size
    # Not s cos(a) - s: at 0 degrees the landmarks must not change at all.
    return landmarks + (s * (math.cos(angle) - 1) + z * math.sin(angle)) * along


def mouth(landmarks: Tensor, amount: float) -> Tensor:
    """Open the mouth (amount up to 1) or close it (down to -1, where the inner lips meet).

    The lower lip moves, and the chin with it; the upper lip, the corners and the eyes stay. Raises
    ValueError for other amounts.
    """
    _check(landmarks)
    _check_amount(amount, "closed", "wide open")
    _, down, size = _axes(landmarks)
    result = landmarks.clone()
    if amount >= 0:
        displacement = amount * OPEN * size * down  # (N, 1, 2)
    else:
        gap = ((landmarks[:, [66]] - landmarks[:, [62]]) * down).sum(2, keepdim=True)
        displacement = amount * gap * down
    points = list(_LOWERED)
    share = landmarks.new_tensor(list(_LOWERED.values()))[:, None]
    result[:, points] = landmarks[:, points] + share * displacement
    if amount < 0:
        lower, upper = (list(points) for points in zip(*_LIPS, strict=True))
        result[:, lower] = torch.lerp(landmarks[:, lower], landmarks[:, upper], -amount)
    return result


def smile(landmarks: Tensor, amount: float) -> Tensor:
    """Move the corners of the mouth outwards and up (amount up to 1), or the opposite (to -1).

    The lips follow, less towards their centre; nothing else moves. Raises ValueError for other
    amounts.
    """
    _check(landmarks)
    _check_amount(amount, "corners down", "a smile")
    along, down, size = _axes(landmarks)
    outwards, up = SMILE
    result = landmarks.clone()
    for left, share in _SMILING.items():
        for point, side in ((left, -1), (_RIGHT[left], 1)):
            displacement = side * outwards * along - up * down  # (N, 1, 2)
            result[:, point] = landmarks[:, point] + (amount * share * size * displacement)[:, 0]
    return result


MOTIONS = {"yaw": yaw, "mouth": mouth, "smile": smile}
"""Name -> function of landmarks and an amount; 0 changes nothing."""


def _axes(landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors along the eyes and down, (N, 1, 2) each, and E (N, 1, 1)."""
    left, right = (landmarks[:, i] for i in EYES)
    size = torch.linalg.vector_norm(right - left, dim=1)[:, None, None]
    if not bool((size > 0).all()):
        raise ValueError("got a face whose eyes are one point; expected landmarks of a face")
    along = (right - left)[:, None] / size
    return along, torch.stack([-along[..., 1], along[..., 0]], -1), size


def _check(landmarks: Tensor) -> None:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (len(_DEPTHS), 2):
        raise ValueError(
            f"got landmarks of shape {tuple(landmarks.shape)}, expected (N, {len(_DEPTHS)}, 2): x "
            "and y of the 68 points of iBUG 300-W; add a batch axis with landmarks[None]"
        )


def _check_amount(amount: float, least: str, most: str) -> None:
    if not -1 <= amount <= 1:
        raise ValueError(f"got an amount of {amount:g}; expected -1 ({least}) to 1 ({most})")
