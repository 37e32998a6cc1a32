"""The studies of Image2StyleGAN and Image2StyleGAN++: what they change, measure and conclude."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import (
    attributes,
    classes,
    damage,
    embeddings,
    evidence,
    expression,
    faces,
    inpainting,
    local_edits,
    noise_orders,
    path_length,
    scribbles,
    settling,
    starts,
)
from benchmarks.bench import Bench
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.rows import MissingRow, Row
from facsimile import data, encoders, metrics, stylegan
from facsimile.data.points68 import NUM_POINTS
from facsimile.editing import local_edit
from facsimile.refine import Recipe

pytestmark = pytest.mark.usefixtures("small_identity")

TINY = {"resolution": 32, "channel_base": 256, "channel_max": 16}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, make_encoder) -> dict:
    """Options of every page: two photos, a tiny generator, and a shared folder of rows."""
    folder = tmp_path_factory.mktemp("studies")
    photos, networks = folder / "photos", folder / "networks"
    photos.mkdir(), networks.mkdir()
    source = torch.Generator().manual_seed(0)
    for name in ("a.png", "b.png"):
        data.to_pil(torch.rand(3, 32, 32, generator=source) * 2 - 1).save(photos / name)
    generator = random_generator(**TINY, latent=24, mapping_layers=2)
    stylegan.save(generator, networks / "generator.safetensors")
    stylegan.save(random_discriminator(**TINY), networks / "discriminator.safetensors")
    encoders.save(make_encoder("difference", generator), networks / "difference.safetensors")
    return {
        "faces": photos,
        "count": 2,
        "batch": 2,
        "steps": 1,
        "generator": str(networks),
        "rows": folder / "rows",
        "out": folder / "out",
        "statistics_samples": 1000,
    }


@pytest.fixture(scope="module")
def bench(given: dict) -> Bench:
    return Bench.load(damage.Options(**given))


@pytest.fixture(autouse=True)
def sheets(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, torch.Tensor]]:
    """The pictures that pages would draw: file name -> rows."""
    drawn = {}

    def keep(path: Path, rows: dict[str, torch.Tensor]) -> None:
        assert all(x.ndim == 4 and x.shape[1:] == (3, 32, 32) for x in rows.values())
        drawn[path.name] = rows

    monkeypatch.setattr(faces, "save_picture", keep)
    monkeypatch.setattr(settling, "PICTURES", {"rocket": "a rocket"})
    return drawn


def test_losses(given: dict, bench: Bench, sheets: dict, capsys) -> None:
    """Without the pixel term the loss is the perceptual term alone, and of one layer its part."""
    starts.main(starts.Options(**given, studies=("losses",)))
    assert "| faces, pixels and one layer " in capsys.readouterr().out
    assert sheets["others.png"].keys() == {"target", *starts.LOSSES}
    drawn, photos = bench.faces.images.flip(0), bench.faces.images
    layers = bench.studio.perceptual.features(drawn)
    single = starts.one_layer(bench).studio.perceptual
    chosen = layers[len(layers) // 2]
    assert torch.equal(single.features(drawn)[0], chosen)
    assert (single(drawn, photos) < bench.studio.perceptual(drawn, photos)).all()


def test_random_weights(bench: Bench) -> None:
    """The same generator each time, and not the trained one; its mean w is its samples'."""
    one, other = (starts.untrained(bench.generator, 0) for _ in range(2))
    assert one.fingerprint == other.fingerprint != bench.generator.fingerprint
    w = one.map(torch.randn(20_000, one.z_dim))[:, 0]
    assert (w.mean(0) - one.mapping.w_avg).norm() < 0.2 * w.std(0).norm()


def test_distance_and_loss_of_a_row(bench: Bench) -> None:
    row = bench.run(embeddings.RECIPE, steps=1)
    shifted = row.latents.code + 2
    moved = dataclasses.replace(row, latents=dataclasses.replace(row.latents, code=shifted))
    at_mean = dataclasses.replace(
        row.latents, code=bench.generator.mapping.w_avg.expand_as(row.latents.code) + 2
    )
    distance = embeddings.distance_to_mean(bench, dataclasses.replace(row, latents=at_mean))
    assert distance.tolist() == pytest.approx([2 * shifted[0].numel() ** 0.5] * 2, rel=1e-4)
    assert embeddings.distance_to_mean(bench, moved).shape == (2,)
    scores = row.record["mean"]
    weighted = scores["mse"] + 10 * scores["perceptual"]
    assert embeddings.loss(row) == pytest.approx(weighted, rel=0.05)
    with pytest.raises(ValueError, match="has no latents here; bring its .safetensors beside"):
        embeddings.latents(Row("w+", None, {}))


def test_transforms_and_defects() -> None:
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    pixels = torch.from_numpy(np.array(picture))

    def under(change: damage.Change) -> torch.Tensor:
        return torch.from_numpy(np.array(change(picture)))

    right = under(damage.TRANSFORMS["140 of 1024 to the right"])
    assert torch.equal(right[:, 9:], pixels[:, :-9])
    assert not right[:, :9].any()
    left = under(damage.TRANSFORMS["160 of 1024 to the left"])
    assert torch.equal(left[:, :-10], pixels[:, 10:])
    small = under(damage.zoom_out)
    assert small[16:48, 16:48].any(2).all()
    assert not small[:16].any()
    assert torch.equal(under(damage.TRANSFORMS["by 180 degrees"]), pixels.flip(0, 1))
    eyes, both = (under(damage.DEFECTS[name]) for name in ("eyes", "eyes and mouth"))
    assert not both[44:52, 21:43].any()
    assert torch.equal(eyes[36:], pixels[36:])
    assert torch.equal(both[:25], pixels[:25])
    assert damage.PAPER.keys() == {*damage.TRANSFORMS, *damage.DEFECTS, damage.CONTROL}


def test_farther_than_the_control(bench: Bench) -> None:
    row = bench.run(embeddings.RECIPE, steps=1)
    w_avg = bench.generator.mapping.w_avg
    lengths = {damage.CONTROL: (1.0, 1.0), "eyes": (2.0, 3.0), "nose": (2.0, 0.5)}
    rows = {}
    for name, (first, second) in lengths.items():
        code = w_avg + torch.tensor([first, second]).view(2, 1, 1) * torch.ones_like(
            row.latents.code
        )
        rows[name] = dataclasses.replace(row, latents=dataclasses.replace(row.latents, code=code))
    said = damage.table(bench, rows)[2:]
    assert said == [
        "holds: eyes: farther than the face as it is, 2 of 2",
        "FAILS: nose: farther than the face as it is, 1 of 2",
    ]


def test_rounds_are_found_again(given: dict, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Their inputs are outputs, whose last bits another device changes."""
    options = damage.Options(**given, rounds=2, studies=("rounds",))
    damage.main(options)
    first = capsys.readouterr().out
    assert "| round 2 " in first
    synthesize = Bench.synthesize
    monkeypatch.setattr(Bench, "synthesize", lambda *x: synthesize(*x) + 1e-6)
    damage.main(dataclasses.replace(options, stored=True))
    assert "| round 2 " in capsys.readouterr().out
    with pytest.raises(MissingRow, match="no row of image2stylegan with 3 steps"):
        Bench.load(dataclasses.replace(options, stored=True, steps=3)).run(embeddings.RECIPE)


def test_classes(given: dict, sheets: dict, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "FRAMES", 3)
    monkeypatch.setattr(metrics, "build_style", metrics.discriminator_features)
    classes.main(classes.Options(**given, style_steps=1))
    assert "| a rocket " in capsys.readouterr().out
    assert (given["out"] / "distances.png").is_file()
    assert {name: list(rows) for name, rows in sheets.items()} == {
        "morphs.png": ["a face to a face", "a face to a rocket"],
        "crossovers.png": ["late codes of", "content 1", "content 2"],
        "styles.png": ["", "style 1"],
    }


def test_distances_of_classes() -> None:
    codes = torch.tensor([0.0, 3.0, 10.0, 11.0]).view(4, 1, 1).expand(4, 2, 2)
    distances = classes.pairwise(codes)
    names = [classes.FACE, classes.FACE, "a cat", "a cat"]
    assert distances[0].tolist() == [0, 6, 20, 22]
    assert classes.mean_between(distances, names, classes.FACE, "a cat") == 18
    assert classes.mean_between(distances, names, "a cat", "a cat") == 2
    assert classes.table(distances, names)[-1].startswith("holds: faces are nearer")
    far = classes.table(distances, ["a cat", classes.FACE, "a cat", classes.FACE])
    assert far[-1].startswith("FAILS: ")


def test_orders_of_code_and_noise(given: dict, capsys) -> None:
    orders = ("w", "w and n, pixels only for n", "w, n", "w, n, w, n")
    noise_orders.main(noise_orders.Options(**given, orders=orders))
    assert "n again does not bring it back (w, n: " in capsys.readouterr().out
    recipe = noise_orders.recipe("w and n, pixels only for n")
    (phase,) = recipe.phases
    sees = {term.name: term.variables for term in phase.terms}
    assert sees == {"pixel": None, "perceptual": ("code",)}
    assert [x.steps for x in noise_orders.recipe("w, n, w, n").phases] == [5000, 3000] * 2


def test_what_is_said_of_orders() -> None:
    psnr = {"w": 19.0, "w, n": 38.0, "w, n, w": 30.0, "w, n, w, n": 37.5}
    rows = {name: Row(name, None, {"mean": {"psnr": x}}) for name, x in psnr.items()}
    said = [line.split(":")[0] for line in noise_orders.findings(rows) if "dB)" in line]
    assert said == ["FAILS", "holds", "FAILS"]


@pytest.fixture(scope="module")
def lengths(given: dict) -> path_length.Options:
    names = ("generator", "batch", "out")
    return path_length.Options(**{k: given[k] for k in names}, samples=4, layer="b8.conv1")


def test_paths(lengths: path_length.Options, bench: Bench, capsys) -> None:
    """Whole ends are the samples' own; the masked path under a full mask has the donor's
    activation, and outside of the mask that of the base at every t."""
    path_length.main(lengths)
    assert "shorter than whole" in capsys.readouterr().out
    t = torch.tensor([0.0, 1.0])
    path = path_length.path_of(bench.generator, lengths, path_length.WHOLE, [3, 3])
    for key, image in zip(("a", "b"), path(t), strict=True):
        w = path_length.codes(bench.generator, lengths, key, [3])
        wanted = path_length.latents(bench.generator, w).synthesize(bench.generator)
        torch.testing.assert_close(image[None], wanted)
    # The whole batch is drawn by the sample's number, not by its place.
    alone = path_length.codes(bench.generator, lengths, "a", [3])
    torch.testing.assert_close(path_length.codes(bench.generator, lengths, "a", [1, 3])[1:], alone)
    masked = path_length.path_of(bench.generator, lengths, "right eye", [0, 0])(t)
    assert (masked[0] - masked[1]).abs().max() > 0


def test_outliers_are_left_out() -> None:
    values = torch.arange(101.0)[None]
    values[0, 100] = 1e9
    assert path_length.trimmed_mean(values).item() == 50


def test_local_edits_are_found_again(given: dict, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    refine = local_edit.refine
    monkeypatch.setattr(local_edit, "refine", lambda *x, **y: refine(*x[:3], one(x[3]), **y))

    def one(recipe: Recipe) -> Recipe:
        return recipe.with_steps(1)

    options = local_edits.Options(**given, edits=("eyes", "moustache"))
    local_edits.main(options)
    first = capsys.readouterr().out
    assert "holds: moustache: " in first or "FAILS: moustache: " in first
    monkeypatch.setattr(local_edit, "refine", None)
    local_edits.main(dataclasses.replace(options, stored=True, batch=1))
    assert capsys.readouterr().out == first
    bench = Bench.load(dataclasses.replace(options, stored=True))
    start = bench.run("w+ +noise", init="mean")
    with pytest.raises(MissingRow, match="no row of crossover left half with latents"):
        local_edits.cross(bench, start, "left half")


def test_a_seam_and_what_is_outside(bench: Bench) -> None:
    ramp = torch.linspace(-0.1, 0.1, 32).expand(2, 3, 32, 32)
    photos = ramp + ramp.mT
    bench = embeddings.of_pictures(bench, faces.Faces(["a", "b"], photos))
    inside, acts = local_edits.masks_of(bench, "eyes")
    row = bench.run(embeddings.RECIPE, steps=1)
    edits = {"eyes": local_edits.Edited(row, inside, acts)}
    changed = photos + inside * 0.9
    said = local_edits.table(bench, photos, edits, {"eyes": changed}, None)
    # Nothing changes where the mask is 0, and everything at the seam.
    assert said[-2].startswith("FAILS: eyes: seam, at most 1.5")
    assert said[-1].startswith("holds: eyes: outside in dB, at least 37")
    assert (inpainting.across_seam(changed, inside) > 0.5).all()


def test_scribbles_have_the_colour_of_the_skin() -> None:
    images = torch.full((2, 3, 64, 64), -1.0)
    left, top, right, bottom = (round(64 * x) for x in scribbles.CHEEKS)
    images[1, :, top:bottom, left:right] = 0.5
    colours, opacity = scribbles.drawn(images, "bald")
    assert colours.flatten(1).tolist() == [[-1] * 3, [0.5] * 3]
    assert opacity.shape == (1, 1, 64, 64)
    assert opacity[0, 0, 8, 32] == 1
    assert not opacity[0, 0, 30:].any()


def test_attributes_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright faces are old, and the network says so of faces that it has not seen."""
    monkeypatch.setattr(attributes, "BATCH", 8)
    monkeypatch.setattr(attributes, "HELD_OUT", 8)
    photos, labels = tmp_path / "photos", {}
    photos.mkdir()
    bright = torch.linspace(-0.9, 0.9, 20)[torch.randperm(20)]
    for number, value in enumerate(bright.tolist()):
        data.to_pil(torch.full((3, 16, 16), value)).save(photos / f"{number:03}.png")
        labels[f"{number:03}"] = {"age": 50 + 50 * value, "bald": 0, "beard": 0, "moustache": 0}
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels))
    told = (tmp_path / "rows", path, photos, 12, 12, "cpu")
    first, again = attributes.load_or_train(*told), attributes.load_or_train(*told)
    assert first.correlation[0] > 0.8
    images = torch.full((1, 3, 16, 16), 0.3)
    assert torch.equal(first(images), again(images))
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_share_of_a_smile() -> None:
    """Half of the way, sideways; the judge sees the same person."""
    wanted = torch.zeros(2, NUM_POINTS, 2)
    wanted[..., 0] = 4

    def look(images: torch.Tensor) -> torch.Tensor:
        points = torch.zeros(2, NUM_POINTS, 2)
        points[..., 1] = images[:, 0, 0, 0, None]
        return points

    unedited = torch.zeros(2, 3, 8, 8)
    length, share, cosine = expression.measure(
        unedited + 2, unedited, wanted, look, lambda images: torch.ones(2, 4)
    )
    assert (length, share, cosine) == pytest.approx((0.5, 0, 1))
    said = expression.table({(1.0, 0.1): (length, share, float("nan"))})[2:]
    assert [line.split(":")[0] for line in said] == ["holds", "not shown"]


def test_expressions_are_transferred(given: dict, capsys, tmp_path: Path) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text(
        "import numpy as np\n"
        "def identity(image):\n    return np.array([0.6, 0.8])\n"
        "def landmarks68(image):\n    return np.stack([image.reshape(-1, 3).mean(0)[:2]] * 68)\n"
    )
    options = expression.Options(**given, identity=judge, strengths=(1.0,), thresholds=(0.0, 9.0))
    expression.main(options)
    said = capsys.readouterr().out
    # Beyond the threshold nothing is left of the difference.
    assert "FAILS: threshold 9: landmarks move at least 0.5 (0.000)" in said


def test_a_page_without_faces(given: dict, tmp_path: Path) -> None:
    """Its command names none, and evidence gives it none."""
    told = evidence.Options(faces=given["faces"], out=tmp_path, tiny=True)
    settings = evidence.page_options("path-length", told)
    line = evidence.command(path_length, settings)
    assert line == "python -m benchmarks.path_length --samples 4 --batch 2"
