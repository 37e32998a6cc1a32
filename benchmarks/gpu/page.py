"""The page that a run on a GPU prints: checks that pass or fail, and numbers; also as JSON."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report


@dataclass
class Page:
    """Collects the lines of all parts. What fails is said, and the next part runs."""

    device: str
    minutes: float
    checks: list[dict] = field(default_factory=list)
    numbers: list[dict] = field(default_factory=list)
    share: float = 1.0
    """Of the minutes, that may be over when the present part ends."""
    began: float = field(default_factory=time.monotonic)

    @property
    def time_is_over(self) -> bool:
        return time.monotonic() - self.began > 60 * self.minutes * self.share

    def check(self, what: str, work: Callable[[], float], tolerance: float) -> None:
        """work() -> an error that must be at most the tolerance."""
        if self.time_is_over:
            self._add(what, "SKIP", "no time was left")
            return
        try:
            error = work()
        except Exception as reason:
            self._add(what, "FAIL", f"{type(reason).__name__}: {reason}", traceback.format_exc())
            return
        good = error <= tolerance  # NaN is not
        self._add(what, "PASS" if good else "FAIL", f"{error:.2g} (at most {tolerance:.2g})")

    def measure(self, what: str, unit: str, work: Callable[[], dict[str, float]]) -> None:
        """work() -> numbers by name, which make a row of the table of this unit."""
        if self.time_is_over:
            self._add(what, "SKIP", "no time was left")
            return
        try:
            row = {"what": what, "unit": unit, "values": work()}
        except Exception as reason:
            self._add(what, "FAIL", f"{type(reason).__name__}: {reason}", traceback.format_exc())
            return
        self.numbers.append(row)
        values = ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
        print(f"      {what}: {values} ({unit})", flush=True)

    def _add(self, what: str, outcome: str, text: str, trace: str = "") -> None:
        first_line = text.partition("\n")[0]
        self.checks.append({"what": what, "outcome": outcome, "text": text, "trace": trace})
        print(f"{outcome}  {what}: {first_line}", flush=True)

    @property
    def failed(self) -> list[str]:
        return [x["what"] for x in self.checks if x["outcome"] == "FAIL"]

    def text(self) -> str:
        """The page, in markdown."""
        outcomes = [x["outcome"] for x in self.checks]
        lines = [
            f"{report.describe(report.machine(self.device))}; "
            f"{(time.monotonic() - self.began) / 60:.1f} min; "
            + ", ".join(f"{outcomes.count(x)} {x}" for x in ("PASS", "FAIL", "SKIP")),
            *(f"{x['outcome']}  {x['what']}: {x['text']}" for x in self.checks if x["trace"]),
        ]
        for unit in dict.fromkeys(row["unit"] for row in self.numbers):
            rows = [row for row in self.numbers if row["unit"] == unit]
            head = list(dict.fromkeys(name for row in rows for name in row["values"]))
            cells = [
                (row["what"], *(_cell(row["values"].get(name)) for name in head)) for row in rows
            ]
            lines += ["", report.table((unit, *head), cells)]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        values = {"machine": report.machine(self.device), "checks": self.checks}
        report.write_json(path, values | {"numbers": self.numbers})


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
