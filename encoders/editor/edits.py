"""Random edits of codes, with which the feature editor is trained.

Legend: N images, L style inputs, D numbers in w, K principal components.
"""

import torch
from torch import Tensor

from .settings import MIN_STRENGTH, EditSettings

PART_OF_THE_WAY = (0.2, 0.7)
"""Of the edits towards another sample."""
ALL_INPUTS_SHARE = 0.75
"""Share of the edits that move all style inputs; the others move a range of them."""
NUMBERS = 8
"""Random numbers that an edit depends on."""


def random_changes(
    settings: EditSettings, directions: Tensor, ws: Tensor, other: Tensor, uniform: Tensor
) -> Tensor:
    """Changes (N, L, D) of codes ws (N, L, D): along a component, or towards another sample.

    directions: principal components of w (K, D), each one standard deviation long. other: codes
    (N, L, D) of other samples. uniform: (N, NUMBERS), random numbers in [0, 1).
    """
    kind, component, sign, strength, part, is_range, *ends = uniform.unbind(1)
    size = MIN_STRENGTH + (settings.max_strength - MIN_STRENGTH) * strength
    size = torch.where(sign < 0.5, -size, size)
    step = size[:, None] * directions[(component * len(directions)).long()]  # (N, D)
    least, most = PART_OF_THE_WAY
    towards = (least + (most - least) * part)[:, None, None] * (other - ws)
    is_step = (kind < settings.direction_share)[:, None, None]
    change = torch.where(is_step, step[:, None], towards)
    inputs = torch.arange(ws.shape[1], device=ws.device)
    first, last = (torch.stack(ends) * ws.shape[1]).floor().sort(0).values[:, :, None]
    moved = (is_range < ALL_INPUTS_SHARE)[:, None] | ((inputs >= first) & (inputs <= last))
    return change * moved[:, :, None]
