"""What an edit is told beside latents: declared values with bounds and words."""

import math
from dataclasses import dataclass, replace

Value = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of an edit."""

    name: str
    """A Python identifier; the flag is --name, with hyphens."""
    default: Value
    """Its type is the parameter's type: float, int, str or bool."""
    help: str
    """One sentence with the unit and what the default does."""
    minimum: float = -math.inf
    """Least value of a number."""
    maximum: float = math.inf
    """Greatest value of a number."""

    def describe(self, help: str) -> "Parameter":
        """The same parameter with other help."""
        return replace(self, help=help)

    def check(self, value: Value) -> Value:
        """The value in the parameter's type; ValueError if it is out of range."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(
                f"{self.name}: got {value!r}, expected a value of the type {kind.__name__}"
            )
        number = value if isinstance(value, int | float) else None
        if number is not None and not self.minimum <= number <= self.maximum:
            raise ValueError(
                f"{self.name}: got {number:g}, expected {self.minimum:g} to {self.maximum:g}"
            )
        return value
