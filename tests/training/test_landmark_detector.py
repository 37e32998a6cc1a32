"""The recipe of the landmark network: points follow their pixels, it learns, it goes on exactly."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.commands import train
from facsimile.data.landmark_network import load
from facsimile.training import BatchSlice, Distributed, landmark_augment
from facsimile.training.face_network_recipe import cosine_decay
from facsimile.training.landmark_detector import LandmarkDetectorRecipe, wing
from facsimile.training.landmark_settings import (
    DetectorSettings,
    LandmarkDataSettings,
    LandmarkDetectorSettings,
    ObjectiveSettings,
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """(zip, labels): 15 pictures of 32 px, and random points."""
    folder = tmp_path_factory.mktemp("faces")
    random = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "faces.zip", "w") as file:
        for index in range(15):
            coarse = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((32, 32)).save(folder / "one.png")
            file.write(folder / "one.png", f"{index:02}.png")
    points = (16 + 6 * random.standard_normal((14, 68, 2))).astype(np.float16)
    names = np.array([f"{index:02}.png" for index in range(14)])
    np.savez(folder / "labels.npz", names=names, landmarks=points)
    return folder / "faces.zip", folder / "labels.npz"


@pytest.fixture(scope="module")
def arguments(faces):
    def make(out, **changes):
        flags = {
            "data": faces[0],
            "landmark_file": faces[1],
            "side": 16,
            "width": 4,
            "depth": 1,
            "batch": 4,
            "images": 40,
            "device": "cpu",
            "save_every": 8,
            "num_samples": 2,
            "out": out,
        } | changes
        pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in flags.items()]
        return ["landmarks", *sum(pairs, [])]

    return make


def test_points_follow_their_pixels():
    """A bright dot at a point is still there after every movement, mirrored ones too."""
    count, side = 64, 32
    uniform = torch.rand(count, landmark_augment.UNIFORMS)
    poses, mirrored = landmark_augment.face_pose(uniform)
    assert 0 < mirrored.sum() < count
    dots = torch.full((count, 68, 2), 0.5)
    dots[:, 36] = torch.tensor([0.4, 0.45])
    photos = torch.zeros(count, 3, 2 * side, 2 * side)
    x, y = (0.4 * 2 * side, 0.45 * 2 * side)
    axis = torch.arange(2 * side) + 0.5
    photos += torch.exp(-0.02 * ((axis - x).square() + (axis[:, None] - y).square()))
    warped = landmark_augment.warp(photos, poses, side)[:, 0]
    points = landmark_augment.warp_points(dots, poses, mirrored) * side
    axis = torch.arange(side) + 0.5
    mass = warped.clamp(min=0.3) - 0.3
    centre = torch.stack([(mass.sum(i) * axis).sum(1) / mass.sum((1, 2)) for i in (1, 2)], 1)
    # Left and right are exchanged where the face is mirrored.
    expected = torch.where(mirrored[:, None], points[:, 45], points[:, 36])
    assert (centre - expected).norm(dim=1).max() < 0.5


def test_no_movement_is_the_photo_shrunk():
    photos = torch.rand(2, 3, 32, 32)
    still = torch.eye(3).expand(2, 3, 3)
    small = torch.nn.functional.avg_pool2d(photos, 2)
    assert (landmark_augment.warp(photos, still, 16) - small).abs().max() < 1e-5


def test_degraded_images_keep_their_range_and_do_not_depend_on_the_batch():
    images = torch.rand(32, 3, 16, 16) * 2 - 1
    uniform, normal = torch.rand(32, landmark_augment.UNIFORMS), torch.randn(32, 3, 16, 16)
    degraded = landmark_augment.degrade(images, uniform, normal)
    assert degraded.isfinite().all()
    assert degraded.abs().max() <= 1
    alone = torch.cat([landmark_augment.degrade(*(x[i : i + 1] for x in (images, uniform, normal)))
                       for i in range(32)])  # fmt: skip
    assert torch.allclose(degraded, alone, atol=1e-5)
    order = torch.rand(32, 16).argsort(1)
    kind = torch.arange(32) % 4
    negatives = landmark_augment.make_negative(images, kind, order, normal)
    assert torch.equal(negatives[kind < 2], images[kind < 2])
    shuffled = negatives[kind == 2].flatten(2).sort(2).values
    assert torch.equal(shuffled, images[kind == 2].flatten(2).sort(2).values)
    assert not torch.equal(negatives[kind == 2], images[kind == 2])


def test_wing_loss():
    """Its two branches meet at omega; near 0 it is steep, far away its slope is 1."""
    x = torch.tensor([0.0, 10 - 1e-4, 10 + 1e-4, 20.0, -20.0], dtype=torch.float64)
    zero, below, above, far, other = wing(x).tolist()
    assert zero == 0
    assert above - below == pytest.approx(0, abs=1e-3)
    assert far == other == pytest.approx(10 + 10 * np.log(6))
    assert [cosine_decay(0), cosine_decay(1), cosine_decay(2)] == pytest.approx([1, 0.01, 0.01])


def make_recipe(out, faces, negative_fraction=0.15, presence_weight=0.5, **sizes):
    settings = LandmarkDetectorSettings(
        out=out,
        dataset=LandmarkDataSettings(data=(str(faces[0]),), landmark_file=faces[1]),
        network=DetectorSettings(side=16, **sizes),
        objective=ObjectiveSettings(
            negative_fraction=negative_fraction, presence_weight=presence_weight
        ),
    )
    distributed = Distributed(device=torch.device("cpu"), load_networks=None)
    return LandmarkDetectorRecipe(settings, distributed)


def test_one_batch_is_learned(tmp_path, faces):
    """The error on one batch falls to a quarter; every weight gets a gradient."""
    recipe = make_recipe(
        tmp_path, faces, negative_fraction=0.25, presence_weight=1.0, width=8, depth=1
    )
    assert recipe.setup_data() == "12 photos, 2 held out, 1 without landmarks left out"
    (trainable,) = recipe.trainables
    batch, values = BatchSlice(0, 0, 8), []
    for step in range(120):
        trainable.optimizer.zero_grad()
        loss = sum(recipe.losses("landmarks", batch, recipe.forward(batch)).values())
        loss.backward()
        if step == 3:  # at first the second layers of blocks are 0, and so is the first's gradient
            for name, weight in trainable.module.named_parameters():
                assert weight.grad.abs().sum() > 0, name
        trainable.optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < values[0] / 4


def test_held_out_photos_are_not_trained_on(tmp_path, faces):
    recipe = make_recipe(tmp_path, faces, width=4)
    recipe.setup_data()
    assert tuple(recipe.eval_photos.names) == ("00.png", "13.png")
    assert not set(recipe.eval_photos.names) & set(recipe.train_photos.names)
    assert recipe.train_points.shape == (12, 68, 2)
    scores = recipe.evaluate()
    assert scores.keys() == {
        *("nme plain %", "nme degraded %", "false positives %"),
        *("faces detected plain %", "faces detected degraded %"),
    }
    assert recipe.evaluate() == scores


def test_the_schedule_is_half_a_cosine(tmp_path, faces):
    """Its middle is half of the way; the rate does not depend on --images."""
    rates = make_recipe(tmp_path, faces, width=4).learning_rates
    assert rates(0) == {"landmarks": 2e-3}
    assert rates(200_000)["landmarks"] == pytest.approx(2e-3 * 0.505)
    assert rates(400_000)["landmarks"] == rates(10**9)["landmarks"] == pytest.approx(2e-5)


def state(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]


def test_a_stopped_run_is_the_same_run(tmp_path, arguments):
    """Bit for bit; and what it leaves is a network and a sheet."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train.main(arguments(whole)) == 0
    assert train.main(arguments(stopped, images=16)) == 0
    assert train.main(arguments(stopped)) == 0
    a, b = state(whole), state(stopped)
    assert a["step"] == b["step"] == 10
    for one, two in (
        (a["modules"]["landmarks"], b["modules"]["landmarks"]),
        (a["recipe"]["average"], b["recipe"]["average"]),
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "samples-000000040.png").exists()
    assert load(whole).config.side == 16


def test_a_run_goes_on_from_a_network(tmp_path, arguments):
    """Its file says the sizes; a rate of nearly 0 leaves it as it was, but for float16."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert train.main(arguments(first)) == 0
    assert train.main(arguments(second, **{"init_from": first, "width": 9, "lr": 1e-12})) == 0
    one, two = load(first), load(second)
    assert one.config == two.config
    two = two.state_dict()
    assert all(torch.allclose(x, two[name], atol=1e-3) for name, x in one.state_dict().items())


def test_micro_steps_change_nothing(tmp_path, arguments):
    assert train.main(arguments(tmp_path / "one", precision="fp64")) == 0
    assert train.main(arguments(tmp_path / "two", precision="fp64", accumulate=2)) == 0
    one, two = (state(tmp_path / name)["modules"]["landmarks"] for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmark_file": "nowhere.npz"}, "nowhere.npz: no such file; expected an .npz"),
        ({"side": 20}, "multiple of 8"),
        ({"init_from": "nowhere"}, "nowhere does not exist; expected a landmark network's file"),
    ],
)
def test_wrong_use(tmp_path, arguments, capsys, changes, message):
    assert train.main(arguments(tmp_path / "run", **changes)) == train.WRONG_USE
    assert message in capsys.readouterr().err
