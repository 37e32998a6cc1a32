"""The streaming benchmark runs, and fails where files are too slow."""

import pytest

from benchmarks.streaming import Options, main


def test_prints_both_rates_and_exits_when_too_slow(capsys):
    main(Options(files=4, batch=2, least=0.0))
    said = capsys.readouterr().out
    assert "bare" in said
    assert "files / bare: " in said
    with pytest.raises(SystemExit) as left:
        main(Options(files=2, batch=2, least=1e9))
    assert left.value.code == 1
