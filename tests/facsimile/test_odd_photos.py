"""The command line on odd photos: what is said, in one line each, and what is done."""

import io
import os
import sys
import warnings

import pytest
from PIL import Image

from facsimile.cli import main
from facsimile.data.photos import read_photo


def command(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


def test_prepare_data_lists_what_is_odd_and_does_the_rest(squares, tmp_path, capsys):
    content = (squares / "0.png").read_bytes()
    for name in (b"caf\xe9.png", b"two\nlines.png", b"bad\xe9\nname.png"):
        (squares / os.fsdecode(name)).write_bytes(content[:60] if b"bad" in name else content)
    (squares / "gone.jpg").symlink_to("nowhere")
    options = ("--no-align", "--resolution", 16, "--processes", 1, "--out", tmp_path / "x.zip")
    assert command("prepare-data", squares, *options) == 1
    said = capsys.readouterr()
    # Equal contents are one photo for a training set.
    assert "3 faces, 2 photos failed" in said.out
    listed = [line for line in said.err.splitlines() if line.startswith("  /")]
    assert len(listed) == 2
    assert "bad\\udce9\\nname.png: got" in said.err
    assert "gone.jpg: is a broken symbolic link" in said.err


def test_a_cut_photo_is_said_in_one_sentence(tmp_path, capsys):
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / "two\nlines.jpg", quality=90)
    path = tmp_path / "two\nlines.jpg"
    path.write_bytes(path.read_bytes()[:-4])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert command("--version") == 0
        read_photo(path)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path}/two\\nlines.jpg: is cut short at its end, and ")
    assert said.endswith("if you can\n")


def test_output_of_any_encoding_holds_every_name(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert command("--version") == 0
    print("Zoë", os.fsdecode(b"caf\xe9"))
    sys.stdout.flush()
    assert written.getvalue().endswith(b"Zo\\xeb caf\\udce9\n")
