"""P_N and P_N+: w with its last activation undone, then whitened, so that its density is known.

"Improved StyleGAN Embedding: Where are the Good Latents?", section 3.
"""

from torch import Tensor

from ..generator import Generator
from .space import Space, register
from .whitening import unwhiten, whiten


class PN(Space):
    """One code for all style inputs, or with `plus` one for each."""

    kind = "p_n"

    def decode(self, generator: Generator, code: Tensor, label: Tensor | None = None) -> Tensor:
        return generator.broadcast_ws(unwhiten(generator, code))

    def from_w_plus(self, generator: Generator, ws: Tensor) -> Tensor:
        return whiten(generator, super().from_w_plus(generator, ws))

    def whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        return code[:, first:] if self.plus else code

    def mean_code(self, generator: Generator, label: Tensor | None) -> Tensor:
        return whiten(generator, super().mean_code(generator, label))


register(PN(), PN(plus=True))
