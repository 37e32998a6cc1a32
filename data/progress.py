"""Progress of long work: a bar in a terminal, and where there is none a line now and then."""

import sys
import time
from typing import Any

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two lines in a file or a pipe."""


class ProgressBar(tqdm):
    """tqdm's bar, in a terminal. Where its file is none, it prints a whole line every 30 seconds,
    and work that takes less prints nothing: no carriage return reaches a file."""

    disable: bool

    def __init__(self, *args: Any, **options: Any):
        self._by_line = not (options.get("file") or sys.stderr).isatty()
        self._shown_at, self._shown_n = time.monotonic(), -1.0
        if self._by_line:
            options |= {"miniters": 1, "mininterval": LINE_EVERY, "maxinterval": 2 * LINE_EVERY}
            options |= {"leave": False, "dynamic_ncols": False, "ncols": 100}
        super().__init__(*args, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar as it is; as a line only if the last one is old enough."""
        if not self._by_line:
            super().display(msg, pos)
        elif msg is None and time.monotonic() - self._shown_at >= LINE_EVERY:
            self._shown_at, self._shown_n = time.monotonic(), self.n
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, *args: Any, **options: Any) -> None:
        """Make room for other output; lines stay."""
        if not self._by_line:
            super().clear(*args, **options)

    def close(self) -> None:
        """The work is over; without a terminal its last line is printed if there were others."""
        if self._by_line and not self.disable:
            self._decr_instances(self)
            self.disable = True
            if self.last_print_t > self.start_t and self._shown_n != self.n:
                self.fp.write(f"{self}\n")
        elif not self._by_line:
            super().close()
