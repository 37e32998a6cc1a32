"""The inverse of a generator's mapping: from codes of W+ to codes of Z+.

Legend: N images, L style inputs (num_ws), D numbers in w, H hidden features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import spaces
from facsimile.stylegan.mapping import check_label


class InverseMapping(nn.Module):
    """Normalized codes (N, L, D) of W+, and labels (N, c_dim) -> codes (N, L, z_dim) of Z+.

    Most codes of W+ have none in Z+: the result's is close. One network serves all style inputs,
    but for a bias (L, H), as some generators map z differently for each.
    """

    def __init__(self, num_ws: int, w_dim: int, z_dim: int, c_dim: int, hidden: int):
        super().__init__()
        self.c_dim = c_dim
        self.first = nn.Linear(w_dim + c_dim, hidden)
        self.input_bias = nn.Parameter(torch.zeros(num_ws, hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, z_dim)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """ValueError for a missing label, or one of another length."""
        if self.c_dim:
            label = check_label(label, self.c_dim).to(x)
            x = torch.cat([x, label[:, None].expand(-1, x.shape[1], -1)], 2)
        y = F.silu(self.first(x) + self.input_bias)
        y = y + F.silu(self.middle(self.norms[0](y)))
        return spaces.SPACES["z+"].retract(self.last(self.norms[1](y)))
