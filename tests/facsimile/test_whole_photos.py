"""Oracles: whole photos keep every bit that is not the face's, and other photos are refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import facsimile
from facsimile import data, stylegan
from facsimile.cli import main
from facsimile.paste_back import PasteOptions, Paster, open_whole
from facsimile.stylegan import Latents, PhotoCrop

QUAD = ((10.0, 4.0), (4.0, 60.0), (60.0, 66.0), (66.0, 10.0))


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="none", device="cpu")


@pytest.fixture
def picture():
    """A smooth picture of 90x70 pixels."""
    coarse = np.random.default_rng(1).integers(30, 220, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC)


def crop_of_file(path):
    size = data.read_photo(path).size
    return PhotoCrop(photo=str(path), digest=data.photo_digest(path), size=size, quad=QUAD)


def paste(path, image, **options):
    return Paster(crop_of_file(path), 32, PasteOptions(**options))(image)


def opened(path):
    with Image.open(path) as picture:
        return picture.copy()


def run(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


@pytest.fixture
def command(network):
    """command("invert", ..) -> exit status, quickly."""

    def call(*args):
        fixed = ("--generator", network, "--device", "cpu", "--perceptual", "discriminator")
        return run(*args, *fixed)

    return call


def test_latents_keep_their_places(generator, tmp_path):
    latents = stylegan.init_latents(generator, "w+", 3, init="random")
    crops = tuple(
        PhotoCrop(photo=f"/{i}.jpg", digest=str(i), size=(9, 8), quad=QUAD) for i in range(3)
    )
    latents = replace(latents, crops=crops)
    latents.save(tmp_path / "l.safetensors")
    assert Latents.load(tmp_path / "l.safetensors", generator).crops == crops
    assert latents[1].crops == crops[1:2]
    assert latents[[2, 0]].crops == (crops[2], crops[0])
    assert latents[torch.tensor([False, True, True])].crops == crops[1:]
    assert latents.to(dtype=torch.float64).detach().crops == crops
    # Frames made of one face belong to its place; of several faces to none.
    frames = latents[0].with_tensors(latents.tensors())
    assert frames.crops == crops[:1] * 3
    assert latents.with_tensors(latents[:2].tensors()).crops == ()
    assert Latents.concatenate([latents[2], latents[:2]]).crops == (crops[2], *crops[:2])
    with pytest.raises(ValueError, match="got 2 crops for 3 images"):
        replace(latents, crops=crops[:2])


def test_a_place_that_is_no_place(generator, tmp_path):
    path = tmp_path / "l.safetensors"
    crop = PhotoCrop(photo="", digest="", size=(9, 8), quad=QUAD[:3])
    replace(stylegan.init_latents(generator, "w", 1), crops=(crop,)).save(path)
    with pytest.raises(ValueError, match="is damaged: .*got a crop of 3 corners, expected 4"):
        Latents.load(path)


def test_transparent_grey_and_rotated_photos(picture, tmp_path):
    image = torch.zeros(3, 32, 32)
    plain = tmp_path / "plain.png"
    picture.save(plain)
    expected = np.asarray(paste(plain, image))
    y, x = np.indices((70, 90))
    outside = (x - 35) ** 2 + (y - 35) ** 2 > 31**2
    assert np.array_equal(expected[outside], np.asarray(picture)[outside])
    assert (expected != np.asarray(picture))[~outside].mean() > 0.4
    assert 0.2 < outside.mean() < 0.9
    # Rotated by EXIF: the whole photo is upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(paste(tmp_path / "turned.png", image)), expected)
    # Grey stays grey, and what is outside stays as it was.
    picture.convert("L").save(tmp_path / "grey.png")
    tinted = torch.tensor([0.3, 0.0, -0.3]).view(3, 1, 1).expand(3, 32, 32)
    grey = paste(tmp_path / "grey.png", tinted)
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey)[outside], np.asarray(picture.convert("L"))[outside])


def test_transparency_stays(picture, tmp_path):
    alpha = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
    transparent = picture.copy()
    transparent.putalpha(Image.fromarray(alpha))
    transparent.save(tmp_path / "a.png")
    whole = paste(tmp_path / "a.png", torch.full((3, 32, 32), 0.2))
    assert whole.mode == "RGBA"
    assert np.array_equal(np.asarray(whole)[..., 3], alpha)
    touched = (np.asarray(whole) != np.asarray(transparent)).any(2)
    assert 0.1 < touched.mean() < 0.8
    # Over white it is what is pasted into the photo over white.
    photo = data.read_photo(tmp_path / "a.png")
    photo.save(tmp_path / "white.png")
    expected = np.asarray(paste(tmp_path / "white.png", torch.full((3, 32, 32), 0.2)), float)
    shown = np.asarray(data.to_rgb(whole), float)
    assert np.abs(shown - expected)[alpha > 64].max() <= 2


def test_another_photo_is_refused(picture, tmp_path):
    path, other = tmp_path / "me.png", tmp_path / "other.png"
    picture.save(path)
    crop = crop_of_file(path)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    with pytest.raises(data.PhotoError, match=r"other.png: got a photo with the digest \w+, expec"):
        open_whole(crop, other)
    path.rename(tmp_path / "moved.png")
    with pytest.raises(FileNotFoundError, match="no such photo.*--photo me.jpg"):
        open_whole(crop)
    assert open_whole(crop, tmp_path / "moved.png").photo.size == (90, 70)
    assert open_whole(crop, picture).photo.size == (90, 70)
    with pytest.raises(data.PhotoError, match="got a photo of 45x35, expected 90x70"):
        open_whole(crop, picture.resize((45, 35)))
    with pytest.raises(data.PhotoError, match="came from no file"):
        open_whole(replace(crop, photo="", digest=""))


def test_python(studio, photo, tmp_path):
    result = studio.invert(photo, recipe="w+", steps=0)
    (path,) = result.paste_back(tmp_path / "whole.jpg", photo=photo)
    assert opened(path).size == photo.size
    (path,) = result.paste_back(tmp_path, photo=photo, residual=True)
    assert path.name == "whole.png"
    assert np.array_equal(np.asarray(opened(path)), np.asarray(photo))
    moved = studio.edit(result, "direction", direction="pca:1", strength=1.0)
    assert moved.latents.crops == result.latents.crops
    (path,) = moved.paste_back(tmp_path / "moved.png", photo=photo)
    differs = (np.asarray(opened(path)) != np.asarray(photo)).any(2)
    assert 0.02 < differs.mean() < 0.12  # the face is a small part of the photo
    frames = studio.edit((result, result), "morph", frames=3)
    assert [p.name for p in frames.paste_back(tmp_path / "f", photo=photo)] == [
        f"{i:06d}.png" for i in (1, 2, 3)
    ]
    with pytest.raises(ValueError, match="the name of one picture, a.png, for 3 results"):
        frames.paste_back("a.png", photo=photo)
    sample = studio.edit(stylegan.init_latents(studio.generator, "w", 1), "direction")
    with pytest.raises(data.PhotoError, match="do not know their place in a photo"):
        sample.paste_back(tmp_path / "no.png")


def test_invert_writes_whole_photos(command, picture, tmp_path, capsys):
    picture.crop((0, 0, 70, 70)).save(tmp_path / "me.png")
    args = ("invert", tmp_path / "me.png", "--out", tmp_path / "out", "--no-align", "--recipe")
    args += ("w+", "--steps", 0)
    folder = tmp_path / "out" / "me"
    assert command(*args) == 0
    assert not (folder / "whole.png").exists()
    assert command(*args, "--paste-back") == 0
    assert "1 done before" in capsys.readouterr().out
    plain = (folder / "whole.png").read_bytes()
    assert command(*args, "--paste-back", "--residual") == 0
    assert "70 pixels wide in the photo and 32 in the generator's" in capsys.readouterr().out
    assert (folder / "whole.png").read_bytes() != plain
    kept = np.asarray(opened(folder / "whole.png"))
    assert np.array_equal(kept, np.asarray(opened(tmp_path / "me.png")))
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["pasted_back"] == {"residual": True, "region": "face"}
    (crop,) = Latents.load(folder / "latents.safetensors").crops
    assert (crop.size, crop.quad[2]) == ((70, 70), (70.0, 70.0))


def test_edits_stack_and_are_replayed(command, picture, tmp_path, capsys):
    picture.crop((0, 0, 70, 70)).save(tmp_path / "me.png")
    first, second, again = (tmp_path / name for name in ("first", "second", "again"))
    small = ("--recipe", "w+", "--steps", 1, "--no-align")
    photo = tmp_path / "me.png"
    move = ("direction", "--direction", "pca:1", "--strength")
    assert command("edit", *move, 1, photo, "--out", first, *small) == 0
    assert command("edit", *move, -2, first, "--out", second, "--paste-back") == 0
    entry = json.loads((second / "history.json").read_text())
    assert entry["inputs"][0]["inputs"] == [
        {"photo": str(photo.resolve()), "digest": data.photo_digest(photo)}
    ]
    assert entry["pasted_back"] == {"residual": False, "region": "face"}
    assert (second / "whole.png").is_file()
    assert command("edit", "replay", second, "--out", again, "--paste-back") == 0
    codes = [Latents.load(x / "latents.safetensors").code for x in (second, again)]
    torch.testing.assert_close(codes[0], codes[1])
    # A photo that has changed meanwhile, and other photos.
    picture.crop((5, 0, 75, 70)).save(photo)
    assert command("edit", "replay", second, "--out", tmp_path / "third") == 2
    assert "as when it was edited" in capsys.readouterr().err
    assert command("edit", *move, 3, first, "--out", tmp_path / "fourth", "--paste-back") == 2
    assert re.search(r"got a photo with the digest \w+, expected", capsys.readouterr().err)
    assert not (tmp_path / "fourth").exists()
    assert command("edit", "replay", photo, "--out", again) == 2


def test_a_morph_as_a_film(command, picture, tmp_path):
    picture.crop((0, 0, 70, 70)).save(tmp_path / "me.png")
    picture.crop((5, 0, 75, 70)).save(tmp_path / "you.png")
    out = tmp_path / "out"
    photos = (tmp_path / "me.png", tmp_path / "you.png")
    args = ("--frames", 3, "--video", "mp4", "--paste-back", "--no-align", "--recipe", "w")
    assert command("edit", "morph", *photos, "--out", out, *args, "--steps", 0) == 0
    assert len(list((out / "whole").iterdir())) == 3
    assert (out / "whole.mp4").stat().st_size > 0
