"""Tables, files and times of the benchmarks."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import report, timing


def test_a_table_lines_up() -> None:
    text = report.table(("", "MSE"), [("w+", "0.5"), ("f/z+", "0.25")])
    assert text.splitlines() == [
        "|      |  MSE |",
        "| ---- | ---: |",
        "| w+   |  0.5 |",
        "| f/z+ | 0.25 |",
    ]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    report.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [x.name for x in path.parent.iterdir()] == ["a.json"]


def test_the_machine_is_described() -> None:
    described = report.machine("cpu")
    assert described["threads"] == torch.get_num_threads()
    assert described["torch"] == torch.__version__
    assert described["device"]


def test_rivals_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []

    def work(name: str, seconds: float) -> None:
        calls.append(name)
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    pairs = timing.alternate(lambda: work("a", 3.0), lambda: work("b", 1.5), pairs=6, seconds=1e9)
    assert calls == ["a", "b"] * (1 + 6)  # a first round, which is over the warm-up's seconds
    assert pairs.first == [3.0] * 6
    assert pairs.second == [1.5] * 6
    summary = pairs.summary()
    assert summary["ratio"] == summary["ratio_min"] == summary["ratio_max"] == 2.0
    # After the time is over there are still so many pairs that a median means something.
    assert len(timing.alternate(lambda: work("a", 9.0), lambda: None, seconds=1.0).first) == 5


def test_a_ratio_is_of_a_turn() -> None:
    """A machine that slows down slows both: the ratio of medians would be another one."""
    pairs = timing.Pairs([1.0, 10.0, 4.0], [0.5, 5.0, 4.0])
    assert pairs.ratios == [2.0, 2.0, 1.0]
    assert pairs.summary()["ratio"] == 2.0
