"""Training sets: folders and zips of whatever is in them."""

import hashlib
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.data import load_images
from facsimile.data.dataset_index import DatasetIndex
from facsimile.data.image_files import PackedStrings, list_image_files

CPU = torch.device("cpu")


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def archive(tmp_path, pixels):
    """Three pictures, two broken ones, and what is no picture."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        for index in range(3):
            file.writestr(f"a/{index}.png", png(pixels[index]))
        file.writestr("a/3.png", png(pixels[3])[:100])
        file.writestr("a/4.jpg", b"not a picture")
        file.writestr("a/readme.txt", b"none either")
        file.writestr("__MACOSX/._0.png", b"nor this")
    return path


def test_a_zip_with_broken_images(archive, pixels):
    images = load_images([archive], 16)
    assert torch.equal(images.pixels, torch.from_numpy(pixels[:3]).permute(0, 3, 1, 2))
    assert images.names == ["a/0.png", "a/1.png", "a/2.png"]
    assert len(images.failed) == 2
    assert "a/3.png: got a damaged or incomplete file" in images.failed[0]
    assert images.enlarged == 0
    assert images.summary().startswith("3 images, 2 could not be read (a/3.png: got a damaged")


def test_a_damaged_entry(tmp_path, pixels):
    """Bytes that are not those whose checksum the zip holds."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.png", png(pixels[0]))
        file.writestr("1.png", png(pixels[1]))
    content = path.read_bytes()
    place = content.index(png(pixels[1])) + 60
    path.write_bytes(content[:place] + b"xxxx" + content[place + 4 :])
    images = load_images([path], 16)
    assert len(images) == 1
    assert "1.png in" in images.failed[0]
    assert "damaged entry" in images.failed[0]


def test_several_sources_of_mixed_sizes(tmp_path, archive):
    """The middle square, shrunk by the mean."""
    folder = tmp_path / "folder"
    folder.mkdir()
    wide = np.random.default_rng(1).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(wide).save(folder / "wide.png")
    images = load_images([folder, archive], 16)
    assert len(images) == 4
    middle = wide[:, 8:40].reshape(16, 2, 16, 2, 3).astype(float).mean((1, 3))
    assert np.abs(images.pixels[0].permute(1, 2, 0).numpy() - middle).max() <= 0.5
    assert load_images([archive], 32).enlarged == 3


def test_batch(archive, pixels):
    for memory in (1, 0):
        images = load_images([archive], 16, memory=memory, workers=0)
        batch = images.batch(torch.tensor([2, 0]), torch.device("cpu"), torch.float64)
        assert batch.dtype == torch.float64
        expected = torch.from_numpy(pixels[[2, 0]]).permute(0, 3, 1, 2).double() / 127.5 - 1
        assert torch.equal(batch, expected)
        assert torch.equal(images[1], torch.from_numpy(pixels[1]).permute(2, 0, 1))


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="no image found in .*expected a folder or a zip"):
        load_images([tmp_path], 16)
    for name in ("missing.zip", "missing"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            load_images([tmp_path / name], 16)
    (tmp_path / "torn.zip").write_bytes(b"PK but no more")
    with pytest.raises(ValueError, match=re.escape("torn.zip is no zip, or is damaged")):
        load_images([tmp_path / "torn.zip"], 16)


# Sets that are not in memory ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder and two zips, one of them compressed, with 300 images and two broken ones."""
    folder = tmp_path_factory.mktemp("set")
    images = np.random.default_rng(2).integers(0, 255, (300, 16, 16, 3), dtype=np.uint8)
    plain = zipfile.ZipFile(folder / "plain.zip", "w")
    packed = zipfile.ZipFile(folder / "packed.zip", "w", zipfile.ZIP_DEFLATED)
    (folder / "files").mkdir()
    with plain, packed:
        for index, image in enumerate(images):
            content = png(image) if index not in (5, 106) else png(image)[:60]
            if index < 100:
                (folder / "files" / f"{index}.png").write_bytes(content)
            else:
                (plain if index % 2 else packed).writestr(f"{index}.png", content)
    return [folder / "files", folder / "plain.zip", folder / "packed.zip"]


@pytest.fixture(scope="module")
def in_memory(sources):
    return load_images(sources, 16, workers=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_on_disk_is_the_set_in_memory(sources, in_memory, workers):
    images = load_images(sources, 16, memory=0, workers=workers)
    assert not images.in_memory
    assert images.summary().startswith(f"298 images (decoded by {workers} workers")
    assert images.names == in_memory.names
    assert images.failed == in_memory.failed
    assert len(images.failed) == 2
    assert torch.equal(images.sizes, in_memory.sizes)
    order = torch.randperm(298, generator=torch.Generator().manual_seed(0)).split(50)
    batches = [*images.batches(order, CPU, torch.float32)]
    assert len(batches) == 6
    for batch, indices in zip(batches, order, strict=True):
        assert torch.equal(batch, in_memory.batch(indices, CPU, torch.float32))
    assert images.pixel_hash() == in_memory.pixel_hash()


def test_pixel_hash(in_memory):
    pixels = in_memory.pixels.numpy()
    assert in_memory.pixel_hash() == hashlib.sha256(pixels).hexdigest()[:16]


def test_reading_into_memory_in_parallel(sources, in_memory):
    images = load_images(sources, 16, workers=2)
    assert torch.equal(images.pixels, in_memory.pixels)
    assert images.failed == in_memory.failed


def test_subset(sources, in_memory):
    rows = torch.tensor([200, 3, 120])
    for images in (in_memory, load_images(sources, 16, memory=0, workers=0)):
        subset = images.subset(rows)
        assert len(subset) == 3
        assert subset.names == [in_memory.names[row] for row in rows]
        assert torch.equal(subset.read(torch.tensor([2, 0])), in_memory.read(rows[[2, 0]]))


WORKERS = """
import contextlib, hashlib, itertools, multiprocessing, os, signal, sys, threading, time
import torch
from pathlib import Path
from facsimile.data import load_images

def endless_stream(method, workers):
    # Every image once, and then the first ones again and again.
    multiprocessing.set_start_method(method, force=True)
    images = load_images(sys.argv[2:], 16, memory=0, workers=workers, index=Path(sys.argv[1]))
    parts = torch.arange(len(images)).split(20)
    stream = images.stream(itertools.chain(parts, itertools.repeat(torch.arange(4))))
    pixels = torch.cat([next(stream) for _ in parts])
    print(hashlib.sha256(pixels.numpy()).hexdigest()[:16])
    return stream

if __name__ == "__main__":
    before = torch.get_rng_state()
    stream = endless_stream("fork", 1)
    (worker,) = multiprocessing.active_children()
    killer = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
    killer.start()
    try:
        for _ in stream:
            pass
    except OSError as error:
        # PyTorch raises once more where the signal finds the main thread, if it is late.
        with contextlib.suppress(RuntimeError):
            time.sleep(0.5)
        print(error)
    killer.join()
    # Streams that are still open when Python exits, and that only the garbage collector can end.
    circle = [endless_stream("fork", 2), endless_stream("spawn", 1)]
    circle.append(circle)
    assert torch.equal(torch.get_rng_state(), before)
"""


@pytest.mark.slow
def test_processes_of_workers(sources, in_memory, tmp_path):
    """Workers open zips for themselves and end with their parent; the global random numbers are
    not touched. A worker that dies is a sentence."""
    index, script = tmp_path / "images.npz", tmp_path / "workers.py"
    load_images(sources, 16, memory=0, workers=0, index=index)
    script.write_text(WORKERS)
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(index), *map(str, sources)],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    one, error, *others = ran.stdout.splitlines()
    assert {one, *others} == {in_memory.pixel_hash()}
    assert len(others) == 2
    assert "process that decodes images has died" in error
    assert "use fewer workers" in error


def test_workers_go_on_after_ctrl_c_and_sigterm(sources, in_memory):
    """Their parent finishes its step and saves: it still needs them."""
    images = load_images(sources, 16, memory=0, workers=1)
    others = set(multiprocessing.active_children())  # of other tests
    parts = torch.arange(298).split(10)
    stream = images.stream(parts)
    pixels = [next(stream)]
    (worker,) = set(multiprocessing.active_children()) - others
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    pixels += stream
    assert torch.equal(torch.cat(pixels), in_memory.pixels)
    worker.join(10)
    assert not worker.is_alive()


def test_an_image_that_cannot_be_read_any_more(tmp_path, pixels):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(png(pixels[index]))
    images = load_images([tmp_path], 16, memory=0, workers=0)
    (tmp_path / "1.png").write_bytes(b"no image")
    Image.fromarray(pixels[0].repeat(2, 0)).save(tmp_path / "2.png")
    assert len(images.read(torch.tensor([0, 3]))) == 2
    with pytest.raises(ValueError, match=r"cannot be read any more .*1.png: got .*; restore it"):
        images.read(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="2.png has changed since .* was opened; restore it"):
        next(images.stream([torch.tensor([2])]))


# The index of a run -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, pixels):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(png(pixels[index])[: 60 if index == 1 else None])
    return folder


def test_a_set_with_an_index_is_not_decoded_again(tmp_path, folder, monkeypatch):
    index = tmp_path / "run" / "images.npz"
    first = load_images([folder], 16, memory=0, workers=0, index=index)
    monkeypatch.setattr("facsimile.data.dataset._decode_all", lambda *_: pytest.fail("decoded"))
    again = load_images([folder], 16, memory=0, workers=0, index=index)
    assert again.names == first.names
    assert again.failed == first.failed
    assert "1.png: got a damaged" in first.failed[0]
    assert torch.equal(again.sizes, first.sizes)
    assert [path.name for path in index.parent.iterdir()] == ["images.npz"]


@pytest.mark.parametrize("memory", [0, 1])
def test_a_run_does_not_go_on_with_other_images(tmp_path, folder, pixels, memory):
    index = tmp_path / "images.npz"
    options = {"memory": memory, "workers": 0, "index": index}
    first = load_images([folder], 16, **options)
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[:60])
    with pytest.raises(
        ValueError, match=r"began with: 3 then, 2 now, of which .*1.png: got.*; restore them, or"
    ):
        load_images([folder], 16, **options)
    (folder / "2.png").write_bytes(whole)
    assert load_images([folder], 16, **options).names == first.names  # restored
    (folder / "1.png").write_bytes(png(pixels[1]))
    with pytest.raises(ValueError, match="began with: 3 then, 4 now; restore them"):
        load_images([folder], 16, **options)


def test_an_index_of_the_same_images_elsewhere(tmp_path, folder):
    index = tmp_path / "images.npz"
    load_images([folder], 16, memory=0, workers=0, index=index)
    folder = folder.rename(tmp_path / "moved")
    assert len(load_images([folder], 16, memory=0, workers=0, index=index)) == 3


def test_unreadable_indices(tmp_path, folder):
    index = tmp_path / "images.npz"
    assert DatasetIndex.read(index) is None
    load_images([folder], 16, memory=0, workers=0, index=index)
    content = dict(np.load(index))
    np.savez(index, **content | {"version": np.array(99)})
    with pytest.raises(ValueError, match=r"written by a newer version .*index format 99"):
        DatasetIndex.read(index)
    index.write_bytes(b"PK no index")
    with pytest.raises(ValueError, match="images.npz is damaged .*; delete it, and make sure"):
        DatasetIndex.read(index)


def test_packed_strings():
    strings = ["a", "", "größe/\udcff.png", "b" * 300]
    packed = PackedStrings(strings)
    assert packed == strings
    assert packed[-1] == strings[-1]
    assert packed[1:3] == tuple(strings[1:3])
    assert "a" in packed
    with pytest.raises(IndexError, match="got index 4 into 4 strings"):
        packed[4]
    assert list(PackedStrings([])) == []


def test_entries_that_zipfile_must_read(tmp_path, pixels):
    """Compressed by bzip2; and encrypted, which is no reason to stop."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("0.png", png(pixels[0]))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    assert torch.equal(
        load_images([tmp_path / "a.zip"], 16).pixels[0],
        torch.from_numpy(pixels[0]).permute(2, 0, 1),
    )
    for start in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[start] |= 1  # the flag of encryption, in both headers
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(ValueError, match="no image found in .*b.zip .1 could not be read"):
        load_images([tmp_path / "b.zip"], 16)


def test_a_list_of_files_is_small():
    """200,000 names take a few megabytes, not the hundreds that objects would."""
    files = list_image_files([])
    assert len(files) == 0
    packed = PackedStrings([f"some/folder/{i:08}.jpg" for i in range(1000)])
    assert packed._bytes.numel() + 8 * packed._ends.numel() < 40_000
