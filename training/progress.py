"""Bars of what follows the steps: sheets and scores."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from facsimile.data.progress import ProgressBar

from .recipe import Distributed

BAR_AFTER = 2.0
"""Seconds after which a bar appears."""


def with_bar(
    parts: Iterable[Tensor], total: int, desc: str, distributed: Distributed
) -> Iterator[Tensor]:
    """The parts (n, ..) of `total` images, with a bar that counts images if they take long."""
    options: dict[str, Any] = {"unit": "img", "delay": BAR_AFTER, "leave": False}
    with ProgressBar(
        total=total, desc=desc, disable=not distributed.shows_progress, **options
    ) as bar:
        for part in parts:
            yield part
            bar.update(len(part))
