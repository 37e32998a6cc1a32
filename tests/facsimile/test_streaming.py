"""Folders that stream through an encoder: the same folders as ever, whatever happens on the way."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import facsimile
from facsimile import encoders
from facsimile.inversion import Inverter
from facsimile.jobs import Job
from facsimile.resume import BatchCallback
from facsimile.stylegan import Latents
from facsimile.targets import TargetReader

COUNT, BATCH = 17, 4


@pytest.fixture(scope="module")
def studio(network, runs):
    return facsimile.load(network, perceptual="none", encoders=[runs / "base"], device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    return sorted(folder.iterdir())


def run(studio, photos, out, steps=0):
    plan = studio.plan("f/z+", steps=steps, align=False)
    job = Job(studio.inverter(plan), studio.target_reader, photos, out, BATCH)
    job.run(quiet=True)
    return job


def test_every_folder_holds_the_encoders_guess(studio, photos, tmp_path):
    made = run(studio, photos, tmp_path)
    assert made.done == [photo.stem for photo in photos]
    network = studio.encoders.get("base").network
    for photo in photos[::5]:
        folder = tmp_path / photo.stem
        assert sorted(path.name for path in folder.iterdir()) == [
            "latents.safetensors",
            "reconstruction.png",
            "scores.json",
            "target.png",
        ]
        latents = Latents.load(folder / "latents.safetensors", studio.generator)
        target = studio.targets(photo, align=False)
        guess = encoders.encode(network, studio.generator, target, "f/z+")
        torch.testing.assert_close(latents.feature, guess.feature, atol=1e-5, rtol=1e-4)
        record = json.loads((folder / "scores.json").read_text())
        image = latents.synthesize(studio.generator).clamp(-1, 1)
        expected = (image - target).square().mean().item()
        assert record["scores"]["mse"] == pytest.approx(expected, rel=1e-3)
        assert (record["status"], record["steps"]) == ("done", 0)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["done"] == COUNT
    assert [record["name"] for record in summary["photos"]] == made.done
    assert (tmp_path / "overview.png").is_file()
    assert not (tmp_path / ".resume").exists()


def test_bad_files_among_good_ones(studio, photos, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    mixed = [*photos[:5], tmp_path / "bad.png", *photos[5:], tmp_path / "absent.png"]
    made = run(studio, mixed, tmp_path / "out")
    assert made.done == [photo.stem for photo in photos]
    assert [os.path.basename(name) for name in made.failed] == ["bad.png", "absent.png"]
    again = run(studio, mixed, tmp_path / "out")
    assert (again.done, len(again.skipped), len(again.failed)) == ([], COUNT, 2)


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_stopped_and_run_again_equals_never_stopped(studio, photos, tmp_path, monkeypatch):
    run(studio, photos, tmp_path / "whole")
    invert, batches = Inverter.invert, []

    def stopping(self, targets, names, **options):
        batches.append(names)
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return invert(self, targets, names, **options)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(Inverter, "invert", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(studio, photos, out)
    # What was computed is written, and nothing was begun after.
    assert json.loads((out / "summary.json").read_text())["done"] == 2 * BATCH
    assert not any(path.name.endswith(".part") for path in out.iterdir())
    made = run(studio, photos, out)
    assert len(made.skipped) == 2 * BATCH
    assert len(made.done) == COUNT - 2 * BATCH
    for photo in photos:
        whole, cut = (
            Latents.load(tmp_path / name / photo.stem / "latents.safetensors").tensors()
            for name in ("whole", "cut")
        )
        for key, x in whole.items():
            torch.testing.assert_close(cut[key], x, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
def test_what_one_encoder_began_it_goes_on_with_and_another_does_not(
    network, runs, photos, tmp_path, monkeypatch, make_encoder
):
    one = facsimile.load(network, perceptual="none", encoders=[runs / "base"], device="cpu")
    torch.manual_seed(9)
    encoders.save(make_encoder("base", one.generator), tmp_path / "two.safetensors")
    named = [tmp_path / "two.safetensors"]
    two = facsimile.load(network, perceptual="none", encoders=named, device="cpu")
    callback = BatchCallback.__call__

    def stopping(self, step):
        steps.append(step.done)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        callback(self, step)

    for studio, taken in ((one, 4), (two, 7)):
        steps, out = [], tmp_path / f"cut{taken}"
        with monkeypatch.context() as patch:
            patch.setattr(BatchCallback, "__call__", stopping)
            with pytest.raises(KeyboardInterrupt):
                run(one, photos[:2], out, steps=6)
            assert len(list((out / ".resume").iterdir())) == 1
            run(studio, photos[:2], out, steps=6)
        assert len(steps) - 3 == taken
        fresh = tmp_path / f"whole{taken}"
        run(studio, photos[:2], fresh, steps=6)
        for photo in photos[:2]:
            paths = (x / photo.stem / "latents.safetensors" for x in (out, fresh))
            a, b = (Latents.load(path).tensors() for path in paths)
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_files_are_read_and_written_while_a_batch_is_computed(
    studio, photos, tmp_path, monkeypatch
):
    """Ahead, but never far: what is in memory does not grow with the folder."""
    lock, read, computed, ahead = threading.Lock(), [], [], []
    read_crops, invert = TargetReader.read_crops, Inverter.invert

    def reading(self, photo, **options):
        with lock:
            read.append(photo)
            ahead.append(len(read) - len(computed))
        return read_crops(self, photo, **options)

    def computing(self, targets, names, **options):
        until = time.monotonic() + 5
        # The next photos come, and the results of the batch before last go, while this one waits.
        wanted = min(COUNT, len(computed) + BATCH + 1)
        last = tmp_path / f"{len(computed) - BATCH - 1:02}" / "scores.json"
        while len(read) < wanted or not (len(computed) <= BATCH or last.is_file()):
            assert time.monotonic() < until
            time.sleep(0.001)
        result = invert(self, targets, names, **options)
        with lock:
            computed.extend(names)
        return result

    monkeypatch.setattr(TargetReader, "read_crops", reading)
    monkeypatch.setattr(Inverter, "invert", computing)
    assert len(run(studio, photos, tmp_path).done) == COUNT
    assert max(ahead) <= 3 * BATCH


def test_a_guess_that_is_not_finite_is_reported(studio, photos, tmp_path, monkeypatch):
    read = TargetReader.read_crops

    def spoiled(self, photo, **options):
        targets, crops = read(self, photo, **options)
        return targets * torch.nan if photo == photos[1] else targets, crops

    monkeypatch.setattr(TargetReader, "read_crops", spoiled)
    made = run(studio, photos[:BATCH], tmp_path)
    assert [os.path.basename(name) for name in made.failed] == [photos[1].name]
    assert len(made.done) == BATCH
    monkeypatch.undo()
    assert run(studio, photos[:BATCH], tmp_path).done == [photos[1].stem]
