"""Progress bars. Oracle: what a file and a terminal hold afterwards."""

import io

import pytest

from facsimile.data import progress
from facsimile.data.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(file, seconds, monkeypatch, **options):
    """What is written while 100 photos take so many seconds each."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = ProgressBar(total=100, file=file, unit="photo", **options)
    monkeypatch.setattr(bar, "_time", lambda: bar.start_t + now[0], raising=False)
    for _ in range(100):
        now[0] += seconds
        bar.update()
        bar.set_description("at work")
    with bar:
        bar.write("a sentence", file=file)
    return file.getvalue()


@pytest.mark.parametrize(("seconds", "lines"), [(1.0, 4), (10.0, 34), (0.01, 0)])
def test_a_file_gets_a_line_every_30_seconds(monkeypatch, seconds, lines):
    written = shown(io.StringIO(), seconds, monkeypatch)
    assert "\r" not in written
    assert written.endswith("\n")
    *progress_lines, last = [line for line in written.split("\n")[:-1] if line != "a sentence"] or [
        ""
    ]
    assert len(progress_lines) + bool(last) == lines
    if lines:
        assert "100/100" in last


def test_a_terminal_gets_a_bar(monkeypatch):
    written = shown(Terminal(), 1.0, monkeypatch)
    assert "\r" in written
    assert "100/100" in written


def test_a_disabled_bar_writes_nothing(monkeypatch):
    assert shown(io.StringIO(), 10.0, monkeypatch, disable=True) == "a sentence\n"
