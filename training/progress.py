"""Bars of what follows the steps: sheets and scores."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from facsimile.data.progress import ProgressBar

BAR_AFTER = 2.0
"""Seconds after which a bar appears."""


def with_bar(parts: Iterable[Tensor], total: int, desc: str) -> Iterator[Tensor]:
    """The parts (n, ..) of `total` images, with a bar that counts images if they take long."""
    bar = ProgressBar(total=total, desc=desc, unit="img", delay=BAR_AFTER, leave=False)
    with bar:
        for part in parts:
            yield part
            bar.update(len(part))
