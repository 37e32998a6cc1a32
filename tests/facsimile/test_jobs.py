"""Folders as jobs: resuming, bad input in the middle of good, and nothing lost."""

import io
import json
import os
import signal
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import facsimile
from facsimile.inversion import Inverter
from facsimile.jobs import Job
from facsimile.pictures import GAP
from facsimile.resume import BatchCallback
from facsimile.stylegan import Latents


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="discriminator", device="cpu")


def run(
    studio, photos, out, steps=4, recipe="f/z+", batch=2, align=False, replace=False, **options
):
    plan = studio.plan(recipe, steps=steps, align=align, **options)
    job = Job(studio.inverter(plan), studio.target_reader, photos, out, batch, replace)
    job.run(quiet=True)
    return job


def code_of(out, name):
    return Latents.load(out / name / "latents.safetensors").code


def test_writes_every_photo_and_a_summary(studio, squares, tmp_path):
    made = run(studio, sorted(squares.iterdir()), tmp_path / "out")
    assert made.done == ["0", "1", "2"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["done"] == 3
    assert summary["failed"] == {}
    values = [record["scores"]["mse"] for record in summary["photos"]]
    (settings,) = summary["settings"].values()
    assert settings["done"] == 3
    assert settings["mean_scores"]["mse"] == pytest.approx(sum(values) / 3)
    with Image.open(tmp_path / "out" / "overview.png") as picture:
        assert picture.width > 3 * 128
    assert not (tmp_path / "out" / ".resume").exists()


def test_run_again_skips_what_is_done(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    run(studio, photos[:2], out)
    stamp = (out / "0" / "scores.json").stat().st_mtime_ns
    made = run(studio, photos, out)
    assert (made.skipped, made.done) == (["0", "1"], ["2"])
    assert (out / "0" / "scores.json").stat().st_mtime_ns == stamp
    assert json.loads((out / "summary.json").read_text())["done"] == 3


def test_out_of_memory_halves_the_batch(studio, squares, tmp_path, monkeypatch, capsys):
    """And gives what smaller batches give."""
    invert = Inverter.invert

    def one_alone(self, targets, *args, **options):
        if len(targets) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return invert(self, targets, *args, **options)

    photos = sorted(squares.iterdir())
    run(studio, photos, tmp_path / "expected", batch=1)
    monkeypatch.setattr(Inverter, "invert", one_alone)
    made = run(studio, photos, tmp_path / "out", batch=3)
    assert (made.done, made.failed) == (["0", "1", "2"], {})
    assert capsys.readouterr().err.count("out of memory: from now on 1 photo at once") == 1
    for name in made.done:
        assert torch.equal(code_of(tmp_path / "out", name), code_of(tmp_path / "expected", name))


def contents(folder):
    """Everything in the folders of results: path -> bytes."""
    files = sorted(path for path in folder.glob("[!.]*/*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def test_other_settings_are_written_beside_what_is_there(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    run(studio, photos, out)
    first = contents(out)
    made = run(studio, photos[:2], out, steps=5)
    assert made.done == ["0-2", "1-2"]
    assert made.beside == {"0-2": "0", "1-2": "1"}
    assert contents(out).items() >= first.items()
    # The summary is of the folder: both settings, each with its own means.
    summary = summary_of(out)
    assert [record["name"] for record in summary["photos"]] == ["0", "0-2", "1", "1-2", "2"]
    assert sorted(one["done"] for one in summary["settings"].values()) == [2, 3]
    for digest, one in summary["settings"].items():
        values = [x["scores"]["mse"] for x in summary["photos"] if x["settings"] == digest]
        assert one["mean_scores"]["mse"] == pytest.approx(sum(values) / len(values))
    # Each of the commands finds its own again.
    assert run(studio, photos, out).skipped == ["0", "1", "2"]
    assert run(studio, photos, out, steps=5).skipped == ["0-2", "1-2"]
    assert run(studio, photos, out, steps=6).done == ["0-3", "1-3", "2-3"]


def test_replace_puts_the_new_result_in_the_place_of_the_old_one(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    run(studio, photos, out)
    others = {k: v for k, v in contents(out).items() if not k.startswith("0/")}
    made = run(studio, photos[:1], out, steps=5, replace=True)
    assert (made.done, made.beside) == (["0"], {})
    assert json.loads((out / "0" / "scores.json").read_text())["steps"] == 5
    assert {k: v for k, v in contents(out).items() if not k.startswith("0/")} == others
    assert summary_of(out)["done"] == 3


def test_other_photos_and_a_subset_leave_the_summary_whole(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    run(studio, photos[:2], out)
    first = contents(out)
    assert run(studio, photos[2:], out).done == ["2"]
    assert run(studio, photos[1:2], out).skipped == ["1"]
    assert contents(out).items() >= first.items()
    assert [record["name"] for record in summary_of(out)["photos"]] == ["0", "1", "2"]
    with Image.open(out / "overview.png") as picture:
        assert picture.width == 3 * (128 + GAP) - GAP


def test_a_photo_that_has_changed_is_another_photo(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    run(studio, photos, out)
    first = contents(out)
    photos[0].write_bytes(photos[1].read_bytes())
    made = run(studio, photos, out)
    assert (made.skipped, made.done) == (["1", "2"], ["0-2"])
    assert contents(out).items() >= first.items()


def test_what_failed_stays_in_the_summary_until_it_is_tried_again(studio, squares, tmp_path):
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    good = photos[0].read_bytes()
    photos[0].write_text("no picture")
    run(studio, photos[:1], out)
    run(studio, photos[1:], out)
    assert list(summary_of(out)["failed"]) == [str(photos[0])]
    photos[0].write_bytes(good)
    run(studio, photos[:1], out)
    assert summary_of(out)["failed"] == {}
    assert summary_of(out)["done"] == 3


@pytest.mark.parametrize("recipe", ["f/z+", pytest.param("w+", marks=pytest.mark.exhaustive)])
def test_more_of_the_same_goes_on_from_what_is_there(studio, squares, tmp_path, recipe):
    """Oracle: all at once. From the encoder's prediction, and from the end of the first phase."""
    photos, out = sorted(squares.iterdir())[:2], tmp_path / "out"
    noisy = f"{recipe} +noise"
    made = [run(studio, photos, out, recipe=x, steps=n) for x, n in ((recipe, 0), (recipe, 5))]
    assert made[1].started_from == {"0-2": "0", "1-2": "1"}
    last = run(studio, photos, out, recipe=noisy, steps=5)
    assert last.started_from == {"0-3": "0-2", "1-3": "1-2"}
    fresh = tmp_path / "fresh"
    run(studio, photos, fresh, recipe=noisy, steps=5)
    for name in ("0", "1"):
        a = Latents.load(out / f"{name}-3" / "latents.safetensors").tensors()
        b = Latents.load(fresh / name / "latents.safetensors").tensors()
        assert a.keys() == b.keys()
        for key, x in a.items():
            torch.testing.assert_close(x, b[key], atol=1e-5, rtol=1e-4)
    records = [json.loads((x / "scores.json").read_text()) for x in (out / "0-3", fresh / "0")]
    assert records[0]["steps"] == records[1]["steps"] == 8
    # Other settings share no beginning.
    assert run(studio, photos, out, recipe=noisy, steps=6).started_from == {"0-4": "0", "1-4": "1"}
    assert run(studio, photos, out, recipe=recipe, steps=5, seed=1).started_from == {}


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)]
)
def test_interrupted_half_way_and_run_again_equals_uninterrupted(
    studio, squares, tmp_path, monkeypatch, number
):
    photos = sorted(squares.iterdir())
    run(studio, photos, tmp_path / "whole", steps=20, recipe="f/z+ +noise")
    calls = []
    callback = BatchCallback.__call__

    def counting(self, step):
        calls.append(step.done)
        # In the second batch, in the phase of the noise.
        if len(calls) == 32 + 2 + 25:
            os.kill(os.getpid(), number)
        callback(self, step)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(BatchCallback, "__call__", counting)
        with pytest.raises(KeyboardInterrupt):
            run(studio, photos, out, steps=20, recipe="f/z+ +noise")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert json.loads((out / "summary.json").read_text())["done"] == 2
    done = len(calls)
    with monkeypatch.context() as patch:
        patch.setattr(BatchCallback, "__call__", counting)
        made = run(studio, photos, out, steps=20, recipe="f/z+ +noise")
    assert (made.skipped, made.done) == (["0", "1"], ["2"])
    assert len(calls) - done < 12  # it went on, it did not begin anew
    for name in ("0", "1", "2"):
        whole = Latents.load(tmp_path / "whole" / name / "latents.safetensors").tensors()
        cut = Latents.load(out / name / "latents.safetensors").tensors()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert not (out / ".resume").exists()


@pytest.mark.usefixtures("heard")
def test_after_ctrl_c_another_call_loses_nothing(studio, squares, tmp_path, monkeypatch):
    """Other photos and other settings first, then the interrupted command: it goes on."""
    photos, out, calls = sorted(squares.iterdir()), tmp_path / "out", []
    callback = BatchCallback.__call__

    def counting(self, step):
        calls.append(step.done)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        callback(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchCallback, "__call__", counting)
        with pytest.raises(KeyboardInterrupt):
            run(studio, photos[:2], out, steps=10)
    assert summary_of(out)["done"] == 0
    assert run(studio, photos[2:], out, steps=10).done == ["2"]
    assert run(studio, photos[:1], out, steps=3).done == ["0"]
    before, done = contents(out), len(calls)
    with monkeypatch.context() as patch:
        patch.setattr(BatchCallback, "__call__", counting)
        made = run(studio, photos[:2], out, steps=10)
    assert len(calls) - done < 5
    assert made.done == ["0-2", "1"]
    assert contents(out).items() >= before.items()
    assert [record["name"] for record in summary_of(out)["photos"]] == ["0", "0-2", "1", "2"]


def test_stems_of_two_folders_do_not_collide_and_keep_their_names(studio, squares, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((squares / "2.png").read_bytes())
    out = tmp_path / "out"
    assert run(studio, [squares / "0.png"], out).done == ["0"]
    first = code_of(out, "0")
    made = run(studio, [other / "0.png", squares / "0.png"], out)
    assert (made.skipped, made.done) == (["0"], ["0-2"])
    assert torch.equal(code_of(out, "0"), first)
    again = run(studio, [other / "0.png", squares / "0.png"], out)
    assert sorted(again.skipped) == ["0", "0-2"]


def test_a_folder_of_someone_else_is_left_alone(studio, squares, tmp_path):
    out = tmp_path / "out"
    (out / "0").mkdir(parents=True)
    (out / "0" / "diary.txt").write_text("mine")
    assert run(studio, [squares / "0.png"], out).done == ["0-2"]
    assert [path.name for path in (out / "0").iterdir()] == ["diary.txt"]


def bomb():
    """A PNG of 20,000x20,000 zeros, in a few hundred bytes of header and little data."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(20_001) * 200)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_bad_photos_are_listed_and_the_good_ones_done(studio, photo, tmp_path, monkeypatch):
    folder, out = tmp_path / "mixed", tmp_path / "out"
    folder.mkdir()
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG")
    photo.save(folder / "a-good.png")
    (folder / "b-empty.jpg").write_bytes(b"")
    (folder / "c-truncated.jpg").write_bytes(jpeg.getvalue()[:20_000])
    (folder / "d-text.png").write_text("this is no picture")
    Image.new("RGB", (1, 1)).save(folder / "e-tiny.png")
    (folder / "f-bomb.png").write_bytes(bomb())
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(folder / "g-faceless.png")
    photo.crop((180, 20, 512, 512)).save(folder / "h-border.png")
    photo.save(folder / "i-forbidden.png")
    (folder / "j-good.jpg").write_bytes(jpeg.getvalue())
    read_bytes = type(folder).read_bytes

    def guarded(path):  # the tests may run as root, who may read everything
        if path.name == "i-forbidden.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(type(folder), "read_bytes", guarded)
    made = run(studio, sorted(folder.iterdir()), out, steps=2, align=True)
    assert made.done == ["a-good", "h-border", "j-good"]
    reasons = {os.path.basename(name): reason for name, reason in made.failed.items()}
    assert sorted(reasons) == [
        "b-empty.jpg",
        "c-truncated.jpg",
        "d-text.png",
        "e-tiny.png",
        "f-bomb.png",
        "g-faceless.png",
        "i-forbidden.png",
    ]
    for name, reason in reasons.items():
        assert name in reason
        assert len(reason) > 60
    assert "without a face" in reasons["g-faceless.png"]
    assert "permission" in reasons["i-forbidden.png"].lower()
    assert "1x1" in reasons["e-tiny.png"].replace(" ", "")
    assert json.loads((out / "summary.json").read_text())["failed"] == made.failed


def test_every_face_of_a_photo(studio, photo, tmp_path):
    pair = Image.new("RGB", (1024, 512), "white")
    pair.paste(photo, (0, 0))
    pair.paste(photo.resize((400, 400)), (560, 60))
    pair.save(tmp_path / "pair.png")
    out = tmp_path / "out"
    # The name of a photo is not taken for that of a face.
    photo.save(tmp_path / "pair-face2.png")
    photos = [tmp_path / "pair.png", tmp_path / "pair-face2.png"]
    made = run(studio, photos, out, steps=1, align=True, face="all")
    assert made.done == ["pair", "pair-face2", "pair-face2-photo"]
    again = run(studio, [tmp_path / "pair.png"], out, steps=1, align=True, face="all")
    assert again.skipped == ["pair", "pair-face2"]
    assert again.done == []


def test_a_full_disk_fails_the_photo_it_hits_and_keeps_the_others(
    studio, squares, tmp_path, monkeypatch
):
    save = Latents.save

    def nearly_full(latents, path, **about):
        if about["name"] == "1":
            raise OSError(28, "No space left on device")
        save(latents, path, **about)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Latents, "save", nearly_full)
        made = run(studio, sorted(squares.iterdir()), out)
    assert made.done == ["0", "2"]
    (reason,) = made.failed.values()
    assert "No space left" in reason
    assert "make room" in reason
    assert sorted(path.name for path in out.iterdir()) == [
        "0",
        "2",
        "overview.png",
        "summary.json",
    ]
    assert run(studio, sorted(squares.iterdir()), out).done == ["1"]


def test_an_out_that_cannot_be_written(studio, squares, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(studio, sorted(squares.iterdir()), tmp_path / "file" / "out")


def test_a_photo_whose_loss_is_not_finite_is_kept_and_reported(
    studio, squares, tmp_path, monkeypatch
):
    read = studio.target_reader.read_crops

    def read_with_nan(photo, **options):
        targets, crops = read(photo, **options)
        return (targets * torch.nan if photo.name == "1.png" else targets), crops

    monkeypatch.setattr(studio.target_reader, "read_crops", read_with_nan)
    out = tmp_path / "out"
    made = run(studio, sorted(squares.iterdir()), out, batch=3)
    assert made.done == ["0", "1", "2"]
    assert [os.path.basename(name) for name in made.failed] == ["1.png"]
    assert json.loads((out / "1" / "scores.json").read_text())["status"] == "not finite"
    assert code_of(out, "1").isfinite().all()
    monkeypatch.undo()
    assert run(studio, sorted(squares.iterdir()), out, batch=3).done == ["1"]
