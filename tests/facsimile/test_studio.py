"""The Python door: photos in, a Result out."""

import json
import math

import pytest
import torch
from PIL import Image

import facsimile
from facsimile import data, metrics
from facsimile.devices import pick_device
from facsimile.pictures import LABEL
from facsimile.stylegan import Latents
from facsimile.targets import match_channels


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="discriminator", device="cpu")


def test_result_is_what_its_latents_draw(studio, squares):
    result = studio.invert(sorted(squares.iterdir()), recipe="w+", steps=5, align=False)
    assert result.names == ["0", "1", "2"]
    drawn = result.latents.synthesize(studio.generator).clamp(-1, 1)
    torch.testing.assert_close(result.images, drawn)
    photo = data.fit_square(data.read_photo(squares / "1.png"), 32)
    assert torch.equal(result.targets[1], data.to_tensor(photo))
    expected = metrics.mse(result.images, result.targets).tolist()
    assert result.scores["mse"] == pytest.approx(expected, rel=1e-5)
    assert result.scores.keys() == result.metric_descriptions.keys()
    losses = result.history["code/pixel"] + result.history["code/perceptual"]
    assert losses.shape == (6, 3)
    assert (losses.min(0).values < losses[0]).all()


def test_batches_do_not_change_the_result(studio, squares):
    photos = sorted(squares.iterdir())
    options = {"recipe": "f/z+ +noise", "steps": 6, "align": False, "seed": 3}
    whole = studio.invert(photos, batch=3, **options)
    parts = studio.invert(photos, batch=2, **options)
    assert parts.names == whole.names
    assert parts.history.keys() == whole.history.keys()
    torch.testing.assert_close(parts.images, whole.images, atol=1e-4, rtol=0)
    assert len(parts.latents) == 3
    assert parts.latents.noise[0].shape == (3, 1, 4, 4)


def test_a_seed_decides_random_starts(studio, squares):
    options = {"recipe": "z", "steps": 1, "align": False}
    codes = [
        studio.invert(squares / "0.png", seed=seed, **options).latents.code for seed in (1, 1, 2)
    ]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_saves_a_folder_per_photo(studio, squares, tmp_path):
    result = studio.invert(squares / "0.png", recipe="w", steps=2, align=False)
    (folder,) = result.save(tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.png",
        "latents.safetensors",
        "loss.png",
        "reconstruction.png",
        "scores.json",
        "target.png",
    ]
    latents = Latents.load(folder / "latents.safetensors", studio.generator)
    with Image.open(folder / "reconstruction.png") as picture:
        seen = data.to_tensor(picture.convert("RGB"))
    drawn = latents.synthesize(studio.generator)[0].clamp(-1, 1)
    torch.testing.assert_close(seen, drawn, atol=1 / 127, rtol=0)
    record = json.loads((folder / "scores.json").read_text())
    assert record["scores"]["mse"] == result.scores["mse"][0]
    assert record["plan"]["perceptual"] == "discriminator"
    assert record["plan"]["fingerprint"] == studio.generator.fingerprint
    assert set(record["scores"]) == set(record["metric_descriptions"])
    with Image.open(folder / "comparison.png") as picture:
        assert picture.width > 3 * 256


def test_saving_again_replaces_and_a_failed_write_keeps_the_old(
    studio, squares, tmp_path, monkeypatch
):
    result = studio.invert(squares / "0.png", recipe="w", steps=0, align=False)
    (folder,) = result.save(tmp_path)
    before = (folder / "scores.json").read_text()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Latents, "save", full)
        with pytest.raises(OSError, match="No space"):
            result.save(tmp_path)
    assert (folder / "scores.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path != squares] == ["0"]
    result.save(tmp_path)
    assert (folder / "scores.json").read_text() == before


def test_pil_images_and_tensors_are_photos_too(studio, squares):
    with Image.open(squares / "0.png") as picture:
        by_image = studio.invert(picture, recipe="w", steps=1, align=False)
    by_path = studio.invert(squares / "0.png", recipe="w", steps=1, align=False)
    by_tensor = studio.invert(by_path.targets, recipe="w", steps=1)
    assert torch.equal(by_image.images, by_path.images)
    assert torch.equal(by_tensor.images, by_path.images)


def test_photos_of_one_name_have_folders_of_their_own(studio, squares, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((squares / "1.png").read_bytes())
    photos = [squares / "0.png", other / "0.png"]
    result = studio.invert(photos, recipe="w", steps=0, align=False)
    folders = result.save(tmp_path / "out")
    assert [folder.name for folder in folders] == ["0", "0-2"]


def test_finds_the_face_of_a_photo(studio, photo, tmp_path):
    photo.save(tmp_path / "astronaut.png")
    from_file = studio.targets(tmp_path / "astronaut.png")
    assert from_file.shape == (1, 3, 32, 32)
    # Her face is in the upper half of the photo, and fills the aligned picture.
    whole = data.to_tensor(data.fit_square(photo, 32))
    assert (from_file[0] - whole).abs().mean() > 0.1
    assert torch.equal(studio.targets(photo), from_file)


def test_names_of_folders(studio, squares):
    photos, options = sorted(squares.iterdir())[:2], {"recipe": "w", "steps": 0, "align": False}
    assert studio.invert(photos, names=["a", "b"], **options).names == ["a", "b"]
    for names, hint in (["a"], "a"), (["a", "A"], "a, A-2"), (["a/b", "nul"], "a_b, _nul"):
        with pytest.raises(ValueError, match=rf"for 2 images; expected .* such as {hint}$"):
            studio.invert(photos, names=names, **options)


def test_no_perceptual_term_leaves_it_out(network, squares):
    studio = facsimile.load(network, perceptual="none", device="cpu")
    options = {"steps": 1, "align": False, "identity": "off"}
    result = studio.invert(squares / "0.png", recipe="w", **options)
    assert list(result.history) == ["code/pixel"]
    assert result.plan.perceptual == "none"


def test_match_channels():
    images = torch.rand(2, 3, 4, 4) * 2 - 1
    grey = match_channels(images, 1)
    assert grey.shape == (2, 1, 4, 4)
    white = match_channels(torch.ones(1, 3, 2, 2), 1)
    assert white.mean().item() == pytest.approx(1, abs=1e-6)
    assert match_channels(images, 4)[:, 3].eq(1).all()
    with pytest.raises(ValueError, match="5 channels"):
        match_channels(images, 5)


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="choose auto, cpu"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='has no "cuda"'):
            pick_device("cuda")


def test_errors_say_what_to_do(studio, squares):
    with pytest.raises(ValueError, match="there is no photo"):
        studio.invert([])
    with pytest.raises(ValueError, match='no recipe "f/q"'):
        studio.invert(squares / "0.png", recipe="f/q", align=False)
    with pytest.raises(FileNotFoundError, match="no such file"):
        studio.invert(squares / "absent.png")
    with pytest.raises(data.PhotoError, match="no-align"):
        studio.invert(squares / "0.png", steps=1)


def test_an_exact_reconstruction_scores_infinity(studio, tmp_path):
    mean = studio.invert(torch.zeros(1, 3, 32, 32), recipe="w", steps=0).images
    result = studio.invert(mean, recipe="w", steps=0)
    assert math.isinf(result.scores["psnr"][0])
    (folder,) = result.save(tmp_path)
    assert json.loads((folder / "scores.json").read_text())["scores"]["psnr"] == "inf"


KINDS = {
    "grey": {"img_channels": 1},
    "RGBA": {"img_channels": 4},
    "stylegan1": {"architecture": "stylegan1"},
    "stylegan1, a w per layer": {"architecture": "stylegan1", "w_per_layer": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator(make_generator, make_discriminator, squares, tmp_path, kind):
    generator = make_generator(32, 4, 8, **KINDS[kind])
    discriminator = make_discriminator(
        32,
        4,
        img_channels=generator.img_channels,
        architecture=generator.config["architecture"],
    )
    perceptual = metrics.discriminator_features(discriminator)
    studio = facsimile.Studio(generator, perceptual=perceptual)
    result = studio.invert(squares / "0.png", recipe="f/w+ +noise", steps=2, align=False)
    channels = generator.img_channels
    assert result.targets.shape == result.images.shape == (1, channels, 32, 32)
    (folder,) = result.save(tmp_path / "out")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    for name in ("target", "reconstruction"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.mode == mode
    with Image.open(folder / "comparison.png") as picture:
        # The three panels side by side show the photo first, whatever the channels.
        panel = picture.crop((0, LABEL, 256, 256 + LABEL)).resize((32, 32), Image.NEAREST)
        shown = data.to_tensor(panel)
    expected = result.targets[0, :3].expand(3, -1, -1)
    torch.testing.assert_close(shown, expected, atol=1 / 127, rtol=0)


def test_labels(make_generator, make_discriminator, squares):
    perceptual = metrics.discriminator_features(make_discriminator(32, 4))
    studio = facsimile.Studio(make_generator(32, 4, 8, c_dim=3), perceptual=perceptual)
    options = {"steps": 2, "align": False}
    results = [studio.invert(squares / "0.png", recipe="z", label=c, **options) for c in (0, 2)]
    for result, label in zip(results, (0, 2), strict=True):
        assert result.latents.label.tolist() == [[float(i == label) for i in range(3)]]
        assert result.plan.label == label
    assert (results[0].images - results[1].images).abs().max() > 1e-3
    assert studio.invert(squares / "0.png", recipe="w+", **options).latents.label is None
    with pytest.raises(ValueError, match="draws 3 classes.*pass its label, 0 to 2"):
        studio.invert(squares / "0.png", recipe="f/z+", **options)
    with pytest.raises(ValueError, match="got the label 3; this generator takes one from 0 to 2"):
        studio.invert(squares / "0.png", recipe="w", label=3, **options)
    plain = facsimile.Studio(make_generator(32, 4, 8), perceptual=perceptual)
    with pytest.raises(ValueError, match="got the label 0; this generator takes none"):
        plain.invert(squares / "0.png", recipe="w", label=0, **options)


def test_what_objects_say_of_themselves(studio, targets):
    """One line, and no tensors."""
    result = studio.invert(targets, studio.plan("f/z+ +noise", steps=1))
    edited = studio.edit(result.latents[:2], "morph", frames=2)
    for thing, words in (
        (studio, "32 px, on cpu"),
        (result.plan, '"f/z+ +noise'),
        (result, "4 images: image0, image1, image2, .. by"),
        (result.latents, '4 images in "f/z+", code (4, 8, 32), feature of'),
        (edited, "2 images"),
    ):
        assert words in repr(thing)
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 150
