"""The recipe of the region network: labels from meshes and masks, it learns, it goes on exactly."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.commands import train
from facsimile.data.region_network import CLASSES, load
from facsimile.training import BatchSlice, Distributed, landmark_augment
from facsimile.training.region_labels import (
    CHIN,
    FACE_OVAL,
    FOREHEAD,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EDGE,
    LEFT_EYE,
    MESH_POINTS,
    NOSE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EDGE,
    RIGHT_EYE,
    UNKNOWN,
    draw_polygons,
    label_map,
)
from facsimile.training.region_settings import RegionDataSettings, RegionSettings, RegionSizes
from facsimile.training.regions import RegionRecipe, warp_labels

SIDE = 32
SKIN, HAIR, CLOTHES, WALL = (220, 170, 140), (60, 40, 20), (20, 40, 160), (90, 160, 90)


def ellipse(count, x, y, width, height):
    """`count` points, in sides of the picture, clockwise from the top."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + width * np.sin(angle), y - height * np.cos(angle)], 1)


def mesh():
    """(478, 2) in sides: a face of ellipses, in the middle of the picture."""
    points = np.full((MESH_POINTS, 2), 0.5)
    for indices, shape in (
        (FACE_OVAL, (0.5, 0.55, 0.22, 0.28)),
        (LEFT_EYE, (0.6, 0.5, 0.06, 0.04)),
        (RIGHT_EYE, (0.4, 0.5, 0.06, 0.04)),
        (LEFT_BROW, (0.6, 0.42, 0.07, 0.02)),
        (RIGHT_BROW, (0.4, 0.42, 0.07, 0.02)),
        (NOSE, (0.5, 0.6, 0.04, 0.08)),
        (OUTER_LIPS, (0.5, 0.74, 0.1, 0.06)),
        (INNER_LIPS, (0.5, 0.74, 0.06, 0.03)),
    ):
        points[list(indices)] = ellipse(len(indices), *shape)
    assert points[CHIN, 1] > 0.8 > 0.3 > points[FOREHEAD, 1]
    assert points[RIGHT_EDGE, 0] < 0.3 < 0.7 < points[LEFT_EDGE, 0]
    return points


def photo(side=128):
    """(side, side, 3): hair to the chin around a face, neck and clothes, before a wall."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = WALL
    person = (((x - 0.5) / 0.34) ** 2 + ((y - 0.5) / 0.42) ** 2 < 1) & (y < 0.85)
    picture[person] = HAIR
    picture[(y > 0.9) & (abs(x - 0.5) < 0.45)] = CLOTHES
    neck = (y > 0.8) & (y <= 0.9) & (abs(x - 0.5) < 0.12)
    face = ((x - 0.5) / 0.22) ** 2 + ((y - 0.55) / 0.28) ** 2 < 1
    picture[neck | face] = SKIN
    noise = np.random.default_rng(0).integers(-4, 5, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8), (picture != WALL).any(-1)


def test_labels_are_what_was_drawn():
    """Parts of the face by the mesh; hair, neck and clothes apart by their colours."""
    picture, person = photo()
    labels = label_map(picture, 128 * mesh(), person)

    def at(x, y):
        return CLASSES[labels[int(128 * y), int(128 * x)]]

    assert (at(0.5, 0.74), at(0.5, 0.79), at(0.42, 0.74)) == ("teeth", "lips", "lips")
    assert (at(0.4, 0.5), at(0.6, 0.5), at(0.6, 0.42)) == ("eyes", "eyes", "brows")
    assert (at(0.5, 0.6), at(0.5, 0.45), at(0.35, 0.62)) == ("nose", "skin", "skin")
    assert (at(0.5, 0.15), at(0.2, 0.5), at(0.8, 0.5)) == ("hair", "hair", "hair")
    assert (at(0.5, 0.95), at(0.1, 0.95), at(0.5, 0.86)) == ("body", "body", "body")
    assert (at(0.05, 0.1), at(0.95, 0.7)) == ("background", "background")
    assert ((labels == CLASSES.index("background")) == ~person).all()
    assert (labels == UNKNOWN).mean() < 0.02


def test_a_bald_head_has_no_hair():
    """Of one colour with the face, what is above it is the forehead or unknown, up to the crown."""
    picture, person = photo()
    picture[(picture[..., 0] < 80) & (picture[..., 2] < 80)] = SKIN
    labels = label_map(picture, 128 * mesh(), person)
    beside = labels[64:100, 20:108]
    assert (beside == CLASSES.index("hair")).mean() < 0.05


def test_polygons_cover_their_ellipses():
    face = draw_polygons(256 * mesh(), 256)
    area = np.pi * 256**2
    assert (face > 0).sum() == pytest.approx(0.22 * 0.28 * area, rel=0.02)
    assert (face == CLASSES.index("eyes")).sum() == pytest.approx(2 * 0.06 * 0.04 * area, rel=0.06)
    assert (face == CLASSES.index("teeth")).sum() == pytest.approx(0.06 * 0.03 * area, rel=0.06)


def test_labels_follow_their_pixels():
    """An image of the labels, warped as photos are, agrees with the warped labels."""
    labels = torch.zeros(8, SIDE, SIDE, dtype=torch.uint8)
    labels[:, 8:20, 10:24] = 3
    poses, _ = landmark_augment.face_pose(torch.rand(8, landmark_augment.UNIFORMS))
    moved = warp_labels(labels, poses)
    image = landmark_augment.warp(labels[:, None].expand(-1, 3, -1, -1).float(), poses, SIDE)[:, 0]
    sure = (image - 1.5).abs() > 1.4
    assert sure.float().mean() > 0.7
    assert torch.equal(moved[sure], image[sure].round().long())


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """(photos, meshes, masks): 9 photos of 32 px, of which the last has no mesh."""
    folder = tmp_path_factory.mktemp("faces")
    picture, person = (Image.fromarray(x).resize((SIDE, SIDE)) for x in photo())
    names = [f"{index:02}" for index in range(9)]
    paths = folder / "faces.zip", folder / "mesh.npz", folder / "person.zip"
    with zipfile.ZipFile(paths[0], "w") as photos, zipfile.ZipFile(paths[2], "w") as people:
        for index, name in enumerate(names):
            for archive, image in ((photos, picture), (people, person)):
                file = io.BytesIO()
                image.rotate(index, fillcolor=WALL if archive is photos else 0).save(file, "PNG")
                archive.writestr(f"{name}.png", file.getvalue())
    points = np.repeat(SIDE * mesh()[None], 9, 0).astype(np.float16)
    points[8] = np.nan
    np.savez(paths[1], names=np.array([f"{name}.jpg" for name in names]), landmarks=points)
    return paths


def flags(out, faces, **changes):
    values = {
        **{"data": faces[0], "mesh": faces[1], "person": faces[2], "held_out": "00|05"},
        **{"side": SIDE, "width": 2, "depth": 1, "batch": 4, "images": 24, "device": "cpu"},
        **{"save_every": 8, "num_samples": 2, "out": out},
    } | changes
    pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in values.items()]
    return ["regions", *sum(pairs, [])]


def make_recipe(out, faces, **sizes):
    settings = RegionSettings(
        out=out,
        batch=4,
        dataset=RegionDataSettings(
            data=(str(faces[0]),), mesh=(faces[1],), person=(faces[2],), held_out="00|05"
        ),
        network=RegionSizes(side=SIDE, **sizes),
    )
    return RegionRecipe(settings, Distributed(device=torch.device("cpu"), load_networks=None))


def test_it_learns(tmp_path, faces):
    """The loss on one batch falls to a half; held-out photos are never trained on."""
    recipe = make_recipe(tmp_path, faces, width=4, depth=1)
    assert recipe.setup_data() == "6 photos, 2 held out, 1 without mesh or mask left out"
    assert tuple(recipe.eval_photos.names) == ("00.png", "05.png")
    first = recipe.train_labels
    assert make_recipe(tmp_path, faces).setup_data()  # labels from their file
    (trainable,) = recipe.trainables
    batch, values = BatchSlice(0, 0, 4), []
    for step in range(40):
        trainable.optimizer.zero_grad()
        loss = sum(recipe.losses("regions", batch, recipe.forward(batch)).values())
        loss.backward()
        if step == 3:  # at first the second layers of blocks are 0, and so is the first's gradient
            for name, weight in trainable.module.named_parameters():
                assert weight.grad.abs().sum() > 0, name
        trainable.optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < values[0] / 2
    assert torch.equal(recipe.train_labels, first)
    scores = recipe.evaluate()
    assert {"iou mouth %", "iou hair %", "faces detected %"} <= scores.keys()
    assert all(0 <= value <= 100 for value in scores.values())


def test_labels_as_predictions_score_full_marks(tmp_path, faces):
    recipe = make_recipe(tmp_path, faces, width=2)
    recipe.setup_data()
    labels = recipe.eval_labels.masked_fill(recipe.eval_labels == UNKNOWN, 0).long()
    perfect = 50 * torch.nn.functional.one_hot(labels, len(CLASSES)).movedim(3, 1).float()
    recipe.average.predict = lambda photos: (perfect, torch.ones(2))
    assert set(recipe.evaluate().values()) == {100}


def state(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]


def test_a_stopped_run_is_the_same_run(tmp_path, faces):
    """Bit for bit; and what it leaves is a network and a sheet."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train.main(flags(whole, faces)) == 0
    assert train.main(flags(stopped, faces, images=8)) == 0
    assert train.main(flags(stopped, faces)) == 0
    a, b = state(whole), state(stopped)
    assert a["step"] == b["step"] == 6
    one, two = a["modules"]["regions"], b["modules"]["regions"]
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "samples-000000024.png").exists()
    assert load(whole).config.side == SIDE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": "nowhere.npz"}, "nowhere.npz: no such file; expected an .npz"),
        ({"held_out": "x"}, "describes 0 of 8 photos"),
        ({"side": 20}, "multiple of 16"),
        ({"init_from": "nowhere"}, "expected a region network's file"),
    ],
)
def test_wrong_use(tmp_path, faces, capsys, changes, message):
    assert train.main(flags(tmp_path / "run", faces, **changes)) == train.WRONG_USE
    assert message in capsys.readouterr().err


def test_a_pattern_that_is_none():
    with pytest.raises(ValueError, match="--held-out is no regular expression"):
        RegionDataSettings(data=("a",), mesh=(), person=(), held_out="(")


def test_files_of_other_photos(tmp_path, faces, capsys):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("77.png", b"")
    assert train.main(flags(tmp_path / "run", faces, person=tmp_path / "other.zip")) == 2
    assert "none of 9 photos, such as 00.png, has a mesh" in capsys.readouterr().err
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    assert train.main(flags(tmp_path / "run", faces, person=tmp_path / "broken.zip")) == 2
    assert "broken.zip is no zip" in capsys.readouterr().err
