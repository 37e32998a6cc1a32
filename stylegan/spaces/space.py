"""What a latent space is, and the table of all spaces.

If the mapping gives every style input its own w (IDInvert), one z of Z is mapped to all of them,
and each z of Z+ to the w of its own input. One code of W or P_N still serves all inputs and is
initialised with the mean over the inputs; W+, P_N+ and S are initialised with the mean of each.

Legend: N images, L style inputs (num_ws), D numbers in a code vector.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..generator import Generator
from ..randomness import keyed_generator
from .whitening import mean_w, whiten


@dataclass(frozen=True)
class Space:
    """A latent space. A subclass sets `kind`, and overrides the methods that differ from W's."""

    plus: bool = False
    """One code per style input, instead of one for all."""

    kind = ""
    """Name of the space, without "+"."""
    default_init = "mean"
    """The `init` of `initial_code` if none is given: "mean" or "random"."""
    needs_label = False
    """Whether `decode` needs the label of a conditional generator."""

    @property
    def name(self) -> str:
        """Name of the space in `SPACES`, in recipes and in files."""
        return self.kind + "+" * self.plus

    @property
    def contains_w_plus(self) -> bool:
        """Whether every code of W+ has one in this space, which `from_w_plus` returns."""
        return self.plus

    def shape(self, generator: Generator) -> tuple[int, ...]:
        """Shape of one image's code."""
        return (generator.num_ws, generator.w_dim) if self.plus else (generator.w_dim,)

    def initial_code(
        self,
        generator: Generator,
        n: int,
        init: str | None = None,
        seed: int = 0,
        label: Tensor | None = None,
    ) -> Tensor:
        """(N, *shape), the code from which refinement starts.

        init: "mean", "random" or None for the default of the space. All images get the same random
        code, so that an image starts from the same code alone and in any batch.
        label: (N, c_dim) for a conditional generator. Raises ValueError for another `init`.
        """
        init = init or self.default_init
        if init == "mean":
            code = self.mean_code(generator, label)
        elif init == "random":
            code = self.random_code(generator, keyed_generator("cpu", seed, "start"), label)
        else:
            raise ValueError(f'a code is initialised with "mean" or "random", got "{init}"')
        shape = self.shape(generator)
        return code.to(generator.mapping.w_avg).expand(n, *shape).clone()

    def decode(
        self, generator: Generator, code: Tensor, label: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """code (N, *shape) -> the input of synthesis: ws (N, L, w_dim), or the styles."""
        return generator.broadcast_ws(code)

    def to_w_plus(self, generator: Generator, code: Tensor, label: Tensor | None = None) -> Tensor:
        """code (N, *shape) -> ws (N, L, w_dim). Raises ValueError for a space of styles."""
        ws = self.decode(generator, code, label)
        if not isinstance(ws, Tensor):
            raise ValueError(
                f'a code of "{self.name}" holds styles, which have no code in W+; use latents of '
                "another space"
            )
        return ws

    def from_w_plus(self, generator: Generator, ws: Tensor) -> Tensor:
        """ws (N, L, w_dim) -> the code (N, *shape) that `decode` turns back into it.

        Raises ValueError if this space does not contain all of W+.
        """
        if not self.contains_w_plus:
            raise ValueError(
                f'"{self.name}" cannot hold a different w for every style input; use one of '
                f"{', '.join(name for name, x in SPACES.items() if x.contains_w_plus)}"
            )
        return ws

    def retract(self, code: Tensor) -> Tensor:
        """The nearest code on the space; the code itself if the space is all of R^D."""
        return code

    def mahalanobis_sq(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) mean square of the whitened coordinates, over the style inputs from `first` on.

        mean(p_N^2), the norm in equation 3 of Improved StyleGAN Embedding. Samples are near 1.
        """
        return self.whitened(generator, code, first).square().flatten(1).mean(1)

    def deviation(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) distance of a code from the generator's samples: the root of `mahalanobis_sq`."""
        return self.mahalanobis_sq(generator, code, first).sqrt()

    def whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        """(N, ...) coordinates with zero mean and unit variance, of the inputs from `first` on."""
        return whiten(generator, code[:, first:] if self.plus else code)

    def mean_code(self, generator: Generator, label: Tensor | None) -> Tensor:
        """(1, *shape) the code of the average image; with labels (N, c_dim) one for each."""
        w = mean_w(generator, label)
        if self.plus:
            return generator.broadcast_ws(w)
        return w if w.ndim == 2 else w.mean(1)

    def random_code(
        self, generator: Generator, rng: torch.Generator, label: Tensor | None
    ) -> Tensor:
        """(1, *shape) on the CPU, from the numbers of rng; in S with labels (N, *shape)."""
        return torch.randn(1, *self.shape(generator), generator=rng)


SPACES: dict[str, Space] = {}
"""All spaces by name."""


def register(*spaces: Space) -> None:
    """Add spaces to `SPACES`. Raises ValueError if a name is taken or not usable."""
    for space in spaces:
        if not space.name or "/" in space.name:
            raise ValueError(f'a space cannot be named "{space.name}"; set `kind` to a short name')
        if SPACES.get(space.name, space) != space:
            raise ValueError(
                f'there are two spaces "{space.name}", {SPACES[space.name]!r} and {space!r}; '
                "rename one of them"
            )
        SPACES[space.name] = space


def parse(name: str) -> tuple[Space, bool]:
    """ "f/z+" -> (Z+, True): the space of the code, and whether a feature goes with it."""
    inner = name.removeprefix("f/")
    if inner not in SPACES:
        raise ValueError(
            f'there is no space "{name}"; choose one of {", ".join(SPACES)}, or f/ and one of these'
        )
    return SPACES[inner], inner != name
