"""Hand-made motions: what they must leave alone, and what they must bring about."""

import pytest
import torch

from facsimile.data.points68 import MIRRORED, NUM_POINTS, mirror
from facsimile.editing import MOTIONS, mouth, smile, yaw
from facsimile.editing.landmark_edits import _DEPTHS, OPEN

SIDE = 100
LIPS = list(range(48, 68))
JAW = list(range(4, 13))
INNER = [(61, 67), (62, 66), (63, 65)]


@pytest.fixture
def faces():
    """(3, 68, 2), float64: eyes level, tilted and far apart, all other points anywhere."""
    points = (
        SIDE * torch.rand(3, NUM_POINTS, 2, generator=torch.Generator().manual_seed(5)).double()
    )
    points[:, 36] = torch.tensor([[30.0, 40.0], [25.0, 50.0], [10.0, 40.0]])
    points[:, 45] = torch.tensor([[70.0, 40.0], [60.0, 30.0], [95.0, 41.0]])
    return points


def moves(before, after):
    """Numbers of the points that moved in any face."""
    return set((before != after).any(2).any(0).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("name", MOTIONS)
def test_nothing_asked_nothing_changed(faces, name):
    assert torch.equal(MOTIONS[name](faces, 0), faces)


@pytest.mark.parametrize(("name", "amount"), [("yaw", 20), ("mouth", 0.7), ("smile", 1)])
def test_a_mirrored_face_moves_as_its_mirror_image(faces, name, amount):
    """A turn to the right is one to the left there."""
    there = -amount if name == "yaw" else amount
    mirrored = MOTIONS[name](mirror(faces, SIDE), there)
    torch.testing.assert_close(mirror(MOTIONS[name](faces, amount), SIDE), mirrored)


@pytest.mark.parametrize(("name", "amount"), [("yaw", -30), ("mouth", 1), ("smile", -0.5)])
def test_motions_turn_and_grow_with_the_face(faces, name, amount):
    cos, sin = 2.5 * torch.tensor(0.6).cos().item(), 2.5 * torch.tensor(0.6).sin().item()
    turn = faces.new_tensor([[cos, sin], [-sin, cos]])
    there = MOTIONS[name](faces @ turn + 7, amount)
    torch.testing.assert_close(there, MOTIONS[name](faces, amount) @ turn + 7)


@pytest.mark.parametrize(("name", "amount"), [("yaw", 15), ("mouth", -1), ("smile", 1)])
def test_faces_do_not_influence_one_another(faces, name, amount):
    alone = torch.cat([MOTIONS[name](face[None], amount) for face in faces])
    torch.testing.assert_close(MOTIONS[name](faces, amount), alone)


def test_a_turn_is_that_of_the_lifted_face(faces):
    """Turned as points of space about the middle of the eyes, and looked at from the front again;
    of a face that is not tilted nothing goes up or down."""
    angle = torch.tensor(20.0).double().deg2rad()
    level = faces[:1]
    middle = (level[0, 36] + level[0, 45]) / 2
    depths = torch.tensor(_DEPTHS).double() * 40
    space = torch.stack([level[0, :, 0] - middle[0], level[0, :, 1] - middle[1], depths])
    about = space.new_tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(
        (yaw(level, 20)[0] - middle).T, (about @ space)[:2], atol=1e-5, rtol=0
    )


def test_the_tip_of_the_nose_goes_furthest():
    """Of a face that is all in one column, the nose is furthest to the right, the temples left."""
    face = torch.full((1, NUM_POINTS, 2), 50.0)
    face[0, 36, 0], face[0, 45, 0] = 30.0, 70.0
    turned = yaw(face, 20)[0, :, 0]
    others = [i for i in range(NUM_POINTS) if i not in (36, 45)]
    assert others[int(turned[others].argmax())] == 30
    assert others[int(turned[others].argmin())] in (0, 16)


def test_depths_are_alike_left_and_right():
    assert [_DEPTHS[i] for i in MIRRORED] == list(_DEPTHS)


def test_a_closed_mouth_is_closed(faces):
    """Half-way the gap is half."""
    closed, half = mouth(faces, -1), mouth(faces, -0.5)
    for upper, lower in INNER:
        torch.testing.assert_close(closed[:, upper], closed[:, lower])
        gap = faces[:, lower] - faces[:, upper]
        torch.testing.assert_close(half[:, lower] - half[:, upper], gap / 2)
    torch.testing.assert_close(mouth(closed, -1), closed)


def test_an_open_mouth_is_open(faces):
    """By so much of the distance of the eyes, across their line; the chin goes less far."""
    sizes = (faces[:, 45] - faces[:, 36]).norm(dim=1)
    for point, share in ((66, 1), (57, 1), (8, 0.8)):
        gone = mouth(faces, 1)[:, point] - faces[:, point]
        torch.testing.assert_close(gone.norm(dim=1), share * OPEN * sizes)
        across = (gone * (faces[:, 45] - faces[:, 36])).sum(1)
        torch.testing.assert_close(across, torch.zeros_like(across), atol=1e-9, rtol=0)
    assert (mouth(faces, 1)[0, 66] - faces[0, 66])[1] > 0


def test_a_smile_lifts_and_widens(faces):
    wide = smile(faces, 1)
    level = wide[0] - faces[0]
    assert level[54, 0] > 0 > level[48, 0]
    torch.testing.assert_close(level[54, 0], -level[48, 0])
    assert level[48, 1] == level[54, 1] < 0
    # Lips that touch go on touching.
    closed = mouth(faces, -1)
    for upper, lower in INNER:
        smiling = smile(closed, 1)
        torch.testing.assert_close(smiling[:, upper], smiling[:, lower])


def test_eyes_brows_and_nose_stay(faces):
    """Whatever the mouth does; the smile leaves the chin as well, the mouth the upper lip."""
    for amount in (1, -1, 0.3):
        assert moves(faces, smile(faces, amount)) <= set(LIPS)
        lowered = moves(faces, mouth(faces, amount))
        assert lowered <= set(LIPS + JAW) - {48, 54, 60, 64, *range(49, 54), 61, 62, 63}
        assert {8, 57, 65, 66, 67} <= lowered


@pytest.mark.parametrize(("name", "amount"), [("yaw", 50), ("mouth", 1.1), ("smile", float("nan"))])
def test_no_such_motion(faces, name, amount):
    with pytest.raises(ValueError, match=f"got .* {amount:g}.*; expected -"):
        MOTIONS[name](faces, amount)
    with pytest.raises(ValueError, match="add a batch axis"):
        MOTIONS[name](faces[0], 0)
    with pytest.raises(ValueError, match="eyes are one point"):
        MOTIONS[name](torch.zeros(1, NUM_POINTS, 2), 0)
