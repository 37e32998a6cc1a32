"""The latent spaces: Z, Z+, W, W+, P_N, P_N+, S, and F/x for every x.

Each module of this folder that ends in `register(...)` adds spaces. To add one, write a subclass of
`Space` in a file here; a file elsewhere can call `spaces.register` too, and must be imported first.
"""

import importlib
import pkgutil

from .space import SPACES, Space, parse, register
from .whitening import mean_w, unwhiten, whiten

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SPACES", "Space", "mean_w", "parse", "register", "unwhiten", "whiten"]
