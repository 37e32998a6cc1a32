"""Every command of the command line, its exit status, and what it says."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch
from PIL import Image

from facsimile import __version__
from facsimile.cli import COMMANDS, main
from facsimile.inversion import Inverter
from facsimile.pictures import GAP
from facsimile.stylegan import Latents


def command(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


def invert(network, *args):
    options = ("--generator", network, "--perceptual", "discriminator", "--device", "cpu")
    return command("invert", *args, *options, "--steps", 2, "--no-align")


def test_invert_writes_and_says_so(network, squares, tmp_path, capsys):
    assert invert(network, squares, "--out", tmp_path / "out", "--recipe", "w+ +noise") == 0
    printed = capsys.readouterr().out
    assert "perceptual distance: discriminator" in printed
    assert "3 inverted, 0 failed" in printed
    record = json.loads((tmp_path / "out" / "1" / "scores.json").read_text())
    assert record["plan"]["recipe"]["name"] == "w+ +noise +identity"
    assert [phase["steps"] for phase in record["plan"]["recipe"]["phases"]] == [2, 1]


def test_exit_status_1_when_some_photo_failed(network, squares, tmp_path, capsys):
    (squares / "bad.png").write_text("no picture")
    assert invert(network, squares, "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "3 inverted, 1 failed" in captured.out
    assert "bad.png" in captured.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--recipe", "f/y"], 'no recipe "f/y"; choose one of '),
        (["--lr", "0"], "lr is 0.0; it must be above 0"),
        (["--batch", "0"], "batch is 0; it must be at least 1"),
        (["--layer", "b99.conv0"], 'no layer "b99.conv0"; choose one of b4.conv1'),
        (["--generator", "nobody"], 'no generator "nobody"'),
        (["--device", "abacus"], '"abacus" is not a device'),
        (["--init", "mean", "--recipe", "z"], "a sphere has no mean"),
        (["--init", "encoder"], "no feature encoder (looked for "),
        (["--recipe", "in-domain"], "train in-domain --generator"),
        (["--encoder", "nowhere"], "nowhere does not exist; expected an encoder's file"),
        (["--label", "0"], "got the label 0; this generator takes none, as it has no classes"),
    ],
)
def test_wrong_use_is_status_2_with_a_sentence(network, squares, tmp_path, capsys, args, message):
    base = ["invert", squares, "--out", tmp_path / "out", "--no-align", "--steps", 1]
    if "--generator" not in args:
        base += ["--generator", network]
    assert command(*base, "--perceptual", "discriminator", *args) == 2
    assert message in capsys.readouterr().err


def test_an_encoder_alone(network, runs, squares, tmp_path, capsys):
    options = ("--generator", network, "--no-align", "--device", "cpu")
    named = ("--steps", 0, "--encoder", runs / "base", "--encoder", runs / "in-domain")
    assert command("invert", "--out", tmp_path, *options, *named, squares) == 0
    printed = capsys.readouterr().out
    assert f"init: the base encoder {runs / 'base'}" in printed
    # At 0 steps nothing is judged but the pixels: no perceptual network is loaded.
    assert "perceptual" not in printed
    assert "3 inverted, 0 failed" in printed
    record = json.loads((tmp_path / "1" / "scores.json").read_text())
    assert record["plan"]["init"] == "encoder"
    assert record["plan"]["encoder"]["kind"] == "base"
    assert command("invert", squares, "--out", tmp_path, *options, *named) == 0
    assert "0 inverted, 3 done before" in capsys.readouterr().out
    asked = ("--perceptual", "discriminator", "--recipe", "w+")
    assert command("invert", squares, "--out", tmp_path, *options, *named, *asked) == 0
    printed = capsys.readouterr().out
    assert "init: the in-domain encoder" in printed
    assert "results that other settings have made stay: 0-2 beside 0, 1-2 beside 1" in printed
    record = json.loads((tmp_path / "1-2" / "scores.json").read_text())
    assert "discriminator" in record["scores"]


def test_fast_then_the_default_then_exact(network, runs, squares, tmp_path, capsys):
    """Each goes on from the one before, beside it; the same command again skips all."""
    options = ("--generator", network, "--no-align", "--device", "cpu", "--identity", "off")
    options += ("--perceptual", "discriminator", "--encoder", runs / "base", "--out", tmp_path)
    photo = squares / "0.png"

    def inverted(*flags):
        assert command("invert", photo, *options, *flags) == 0
        return capsys.readouterr().out

    assert "(no refinement)" in inverted("--fast")
    printed = inverted("--steps", 12)
    assert "0-2: refined from 0\n" in printed
    assert "0-2 beside 0 (--replace puts" in printed
    printed = inverted("--steps", 12, "--exact")
    assert "0-3: refined from 0-2\n" in printed
    assert "1 reached 40 dB" in printed or "stopped at its cap, " in printed
    records = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("0-2", "0-3")]
    assert [record["started_from"] for record in records] == ["0", "0-2"]
    assert records[1]["steps"] > records[0]["steps"]
    assert records[1]["scores"]["psnr"] > records[0]["scores"]["psnr"]
    for flags in (["--fast"], ["--steps", 12], ["--steps", 12, "--exact"]):
        assert "0 inverted, 1 done before, 0 failed" in inverted(*flags)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [record["name"] for record in summary["photos"]] == ["0", "0-2", "0-3"]


def test_fast_is_the_encoder_alone(network, squares, tmp_path, capsys):
    base = ("invert", squares, "--out", tmp_path, "--generator", network, "--no-align", "--fast")
    for flags, message in (
        ((), "no feature encoder (looked for "),
        (("--steps", 3), "--fast is the encoder alone, and --steps 3 asks for something else"),
        (("--exact",), "--fast is the encoder alone, and --exact asks for something else"),
        (("--init", "mean"), "--fast is the encoder alone, and --init asks for something else"),
    ):
        assert command(*base, *flags) == 2
        assert message in capsys.readouterr().err


def test_a_zip_of_photos(network, squares, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in squares.iterdir():
            archive.write(path, f"holiday/{path.name}")
        archive.writestr("__MACOSX/holiday/._0.png", "no picture")
        archive.writestr("read.me", "no picture")
    out = tmp_path / "out"
    assert invert(network, tmp_path / "photos.zip", "--out", out) == 0
    assert "3 inverted, 0 failed" in capsys.readouterr().out
    assert invert(network, squares / "1.png", "--out", out) == 0
    a, b = (out / name / "target.png" for name in ("1", "1-2"))
    assert a.read_bytes() == b.read_bytes()
    assert invert(network, tmp_path / "photos.zip", "--out", out) == 0
    assert "0 inverted, 3 done before" in capsys.readouterr().out
    (tmp_path / "bad.zip").write_text("no zip")
    assert invert(network, tmp_path / "bad.zip", "--out", out) == 1
    assert "bad.zip: is no zip, or is damaged" in capsys.readouterr().err


def test_no_steps_without_an_encoder(network, squares, tmp_path, capsys):
    """The start itself, and it is printed why it is no encoder's."""
    options = ("--generator", network, "--no-align", "--device", "cpu", "--steps", 0)
    assert command("invert", squares, "--out", tmp_path, *options, "--recipe", "f/w+") == 0
    assert "init: mean, as this generator has no feature encoder" in capsys.readouterr().out
    codes = [Latents.load(tmp_path / name / "latents.safetensors").tensors() for name in ("0", "1")]
    assert all(torch.equal(codes[0][key], x) for key, x in codes[1].items())


@pytest.mark.parametrize("fault", ["foreign", "damaged"])
def test_a_bad_encoder_is_status_2_with_a_sentence(network, runs, squares, tmp_path, capsys, fault):
    path = runs / "foreign"
    if fault == "damaged":
        path = tmp_path / "damaged.safetensors"
        path.write_bytes((runs / "base" / "encoder.safetensors").read_bytes()[:900])
    assert invert(network, squares, "--out", tmp_path / "out", "--encoder", path) == 2
    printed = capsys.readouterr().err
    assert str(path) in printed
    assert ("was trained for the generator" if fault == "foreign" else "damaged") in printed


def test_out_that_cannot_be_written_and_no_photos_are_status_2(network, squares, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert invert(network, squares, "--out", tmp_path / "file") == 2
    assert "file" in capsys.readouterr().err
    (tmp_path / "nothing").mkdir()
    assert invert(network, tmp_path / "nothing", "--out", tmp_path / "out") == 2
    assert "no photo found" in capsys.readouterr().err
    assert command("invert", "--out", tmp_path) == 2


def test_ctrl_c_is_status_130(network, squares, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Inverter, "invert", interrupted)
    assert invert(network, squares, "--out", tmp_path / "out") == 130
    assert "to go on: facsimile invert " in capsys.readouterr().err


def test_align_writes_crops_and_lists_failures(photo, squares, tmp_path, capsys):
    (tmp_path / "twice").mkdir()
    for path in (tmp_path / "me.png", tmp_path / "twice" / "me.png"):
        photo.save(path)
    photos = [tmp_path / "me.png", tmp_path / "twice", squares / "0.png"]
    assert command("align", *photos, "--out", tmp_path / "out", "--size", 64) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["me-2.png", "me.png"]
    assert "0.png" in capsys.readouterr().out


def test_results_beside_photos(photo, tmp_path, capsys):
    """No photo is written over; a folder of photos is none of results."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.save(folder / "me.png")
    before = (folder / "me.png").read_bytes()
    told = ("--out", folder, "--size", 64)
    assert command("align", folder / "me.png", *told) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["me-2.png", "me.png"]
    assert (folder / "me.png").read_bytes() == before
    capsys.readouterr()
    for name in ("align", "invert", "landmarks"):
        assert command(name, folder, "--out", folder) == 2
        assert "would take for photos; choose another --out" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2


def test_info_of_a_generator_and_of_latents(network, squares, tmp_path, capsys):
    assert command("info", network) == 0
    printed = capsys.readouterr().out
    assert "32 px, 3 channels" in printed
    assert "8 style inputs" in printed
    assert "discriminator" in printed
    assert invert(network, squares / "0.png", "--out", tmp_path) == 0
    capsys.readouterr()
    assert command("info", tmp_path / "0" / "latents.safetensors") == 0
    assert "f/z+" in capsys.readouterr().out
    assert command("info", squares / "0.png") == 2
    assert "0.png" in capsys.readouterr().err
    assert command("info", "faces") == 0
    assert "128 px" in capsys.readouterr().out


def test_samples_are_the_same_in_any_count(network, tmp_path):
    for count in (2, 9):
        out = tmp_path / f"{count}.png"
        assert command("sample", "--generator", network, "--count", count, "--out", out) == 0
    with Image.open(tmp_path / "2.png") as few, Image.open(tmp_path / "9.png") as many:
        assert few.size == (2 * 32 + GAP, 32)
        assert many.size == (8 * (32 + GAP) - GAP, 2 * 32 + GAP)
        assert few.tobytes() == many.crop((0, 0, *few.size)).tobytes()
    told = ("sample", "--generator", network, "--count", 2, "--out", tmp_path / "each")
    assert command(*told) == 0
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == [
        "000000.png",
        "000001.png",
    ]
    with (
        Image.open(tmp_path / "2.png") as both,
        Image.open(tmp_path / "each" / "000001.png") as one,
    ):
        assert one.tobytes() == both.crop((32 + GAP, 0, 2 * 32 + GAP, 32)).tobytes()
    assert command("sample", "--count", 0, "--out", tmp_path / "none.png") == 2


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_help_teaches(name, capsys):
    assert command(name, "--help") == 0
    assert "usage" in capsys.readouterr().out


def test_the_module_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "facsimile", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"facsimile {__version__}\n"
