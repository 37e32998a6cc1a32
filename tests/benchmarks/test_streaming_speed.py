"""The streaming benchmark compares two rates, and exits with status 1 if files are too slow."""

from pathlib import Path

import pytest

from benchmarks import streaming
from facsimile.jobs import Job


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files take 4 seconds; encoder and generator alone take 1 second for half of them."""
    now = [0.0]
    run = Job.run

    def slow_run(job: Job) -> None:
        run(job, quiet=True)
        now[0] += 4.0

    monkeypatch.setattr(Job, "run", slow_run)
    monkeypatch.setattr(streaming.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(streaming, "bare", lambda *_: 1.0)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("least", "code"), [(0.5, None), (0.51, 1)])
def test_rates_are_compared(least: float, code: int | None, clock: None, capsys) -> None:
    options = streaming.Options(files=4, batch=2, least=least)
    if code is None:
        streaming.main(options)
    else:
        with pytest.raises(SystemExit, match=str(code)):
            streaming.main(options)
    printed = capsys.readouterr().out
    assert "| bare  |      2.0 |" in printed
    assert "| files |      1.0 |" in printed
    assert f"files / bare: 0.50, expected at least {least:g}" in printed


def test_files_are_read_as_what_is_in_memory(tmp_path: Path) -> None:
    options = streaming.Options(files=2, batch=2)
    studio = streaming.load(options, tmp_path)
    photos, images = streaming.write_photos(studio.generator, options, tmp_path)
    read = [studio.targets(photo, align=False)[0] for photo in photos]
    assert all((a == b).all() for a, b in zip(read, images, strict=True))
    inverter = studio.inverter(studio.plan("f/z+", steps=0, init="encoder", align=False))
    assert streaming.bare(inverter, images, options) > 0
