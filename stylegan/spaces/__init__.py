"""The latent spaces: Z, Z+, W, W+, P_N, P_N+, S, and F/x for every x.

To add a space, put a page into this folder that defines a subclass of `Space` and ends in
`register(...)`.
"""

import pkgutil
from importlib import import_module

from .space import SPACES, Space, parse, register
from .whitening import mean_w, unwhiten, whiten

__all__ = ["SPACES", "Space", "load_pages", "mean_w", "parse", "register", "unwhiten", "whiten"]


def load_pages() -> None:
    """Import every page in this package's folders, `__path__`; a folder may be appended to it."""
    for page in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{page.name}")


load_pages()
