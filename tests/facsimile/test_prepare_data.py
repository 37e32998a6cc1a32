"""A training set out of photos: parallel, resumable, whole or not at all."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from facsimile import data
from facsimile.cli import main
from facsimile.commands import prepare_data as module
from facsimile.commands.prepare_data import prepare


def contents(path):
    with zipfile.ZipFile(path) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def photos_of(folder):
    return data.find_photos([folder])


def stops_after_two(faces):
    seen = []

    def stops(job, **options):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(job)
        return faces(job, **options)

    return stops


def test_squares(squares, tmp_path):
    out = tmp_path / "faces.zip"
    done = prepare(photos_of(squares), out, 16, align=False)
    assert (done.faces, done.skipped, done.failed) == (3, 0, ())
    assert not list(tmp_path.glob("faces.zip.*"))
    wanted = [np.asarray(Image.open(squares / f"{i}.png").reduce(3)) for i in range(3)]
    found = [np.asarray(Image.open(io.BytesIO(x))) for x in contents(out).values()]
    for picture in wanted:
        assert any(np.array_equal(picture, other) for other in found)
    # And it is what train.py reads.
    assert len(data.load_images([out], 16)) == 3


@pytest.mark.exhaustive
def test_processes_change_nothing(squares, tmp_path):
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    prepare(photos_of(squares), one, 16, align=False)
    prepare(photos_of(squares), two, 16, align=False, processes=2)
    assert contents(one) == contents(two)


def test_a_stopped_run_goes_on(squares, tmp_path, monkeypatch):
    out, whole = tmp_path / "faces.zip", tmp_path / "whole.zip"
    prepare(photos_of(squares), whole, 16, align=False)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_faces", stops_after_two(module._faces))
        with pytest.raises(KeyboardInterrupt):
            prepare(photos_of(squares), out, 16, align=False)
    assert not out.exists()
    done = prepare(photos_of(squares), out, 16, align=False)
    assert (done.faces, done.skipped) == (3, 2)
    assert contents(out) == contents(whole)


def test_a_zip_among_its_photos(squares, tmp_path, monkeypatch):
    """The faces of a stopped run are no photos."""
    folder, faces = tmp_path / "photos", module._faces
    shutil.copytree(squares, folder)
    out = folder / "faces.zip"
    told = ["prepare-data", str(folder), "--out", str(out), "--resolution", "16", "--no-align"]

    monkeypatch.setattr(module, "_faces", stops_after_two(faces))
    for code in (130, 0):
        with pytest.raises(SystemExit) as left:
            main([*told, "--processes", "1"])
        assert left.value.code == code
        monkeypatch.setattr(module, "_faces", faces)
    assert len(contents(out)) == 3


def test_more_photos_are_added(squares, tmp_path):
    out = tmp_path / "faces.zip"
    first = photos_of(squares)[:1]
    prepare(first, out, 16, align=False)
    before = contents(out)
    done = prepare(photos_of(squares), out, 16, align=False)
    assert (done.faces, done.skipped) == (3, 1)
    assert contents(out).items() > before.items()
    assert prepare(photos_of(squares), out, 16, align=False).skipped == 3


def test_other_settings(squares, tmp_path):
    out = tmp_path / "faces.zip"
    prepare(photos_of(squares), out, 16, align=False)
    with pytest.raises(ValueError, match="was made with other settings .*16 px.*32 px"):
        prepare(photos_of(squares), out, 32, align=False)
    out.write_bytes(b"something else")
    with pytest.raises(ValueError, match="exists and is not a zip"):
        prepare(photos_of(squares), out, 16, align=False)


def test_the_command(squares, photo, tmp_path, capsys):
    """A face is found and aligned; a photo without one is listed, and the exit status says so."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.save(folder / "astronaut.png")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    (folder / "broken.jpg").write_bytes(b"broken")
    out = tmp_path / "faces.zip"
    told = ["prepare-data", str(folder), "--resolution", "32", "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*told, "--processes", "1"])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert "1 faces, 2 photos failed" in said.out
    assert "black.png" in said.err
    assert "broken.jpg" in said.err
    (face,) = data.align_faces(photo, 32, data.FaceDetector())
    (content,) = contents(out).values()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(face.image))
