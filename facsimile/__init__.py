"""StyleGAN inversion: `load` gives a `Studio`, which inverts, edits and reenacts photos."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import InversionPlan
    from .result import Result
    from .studio import Studio, load

__version__ = "0.2.0"
__all__ = ["InversionPlan", "Result", "Studio", "load"]

_HOMES = {"InversionPlan": "plan", "Result": "result", "Studio": "studio", "load": "studio"}


def __getattr__(name: str) -> Any:
    """The façade, imported when it is asked for: a room alone stays light to import."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
