"""Which face is chosen, and that one person is followed. Faces are squares, people colours."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.data import Face, Landmarks, PhotoError, align
from facsimile.data.face_choice import read_choice, read_one
from facsimile.data.followed_person import CHANGED, EVERY, FollowedPerson
from facsimile.data.tracking import FaceTracker

RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
FIVE = np.array([[-0.5, -0.4], [0.5, -0.4], [0, 0], [-0.35, 0.5], [0.35, 0.5]])


@pytest.fixture(autouse=True)
def coarse_crops(monkeypatch):
    """Quicker, and good enough for squares."""
    monkeypatch.setattr(align, "SUPERSAMPLE", 1)


def face(x0, y0, side=40):
    middle = np.array([x0, y0]) + side / 2
    return Face(box=(x0, y0, x0 + side, y0 + side), probability=1.0, points=middle + side * FIVE)


FACES = [face(200, 80, 60), face(300, 100, 50), face(20, 60, 40)]
"""The largest first."""
CHOICES = {"largest": 0, "1": 0, "2": 1, "3": 2, "left": 2, "right": 1, "225,100": 0, "30.5,70": 2}


@pytest.mark.parametrize("text", CHOICES)
def test_one_face_is_chosen(text):
    assert read_one(text).pick(FACES) == [FACES[CHOICES[text]]]


def test_all_and_wrong_choices():
    assert read_choice("all").pick(FACES) == FACES
    with pytest.raises(ValueError, match="got face 'all', expected one face"):
        read_one("all")
    for text in ("best", "0", "-1", "1.5", "1,2,3", "nan,1", "", "left,right"):
        with pytest.raises(ValueError, match="expected largest, left, right, all, a number"):
            read_choice(text)
    for text, said in (
        ("4", "a picture with 3 faces, expected at least 4"),
        ("150,10", "without a face at 150,10, expected one there; the faces are at 230,110"),
    ):
        with pytest.raises(PhotoError, match=said):
            read_choice(text).pick(FACES)
    with pytest.raises(PhotoError, match="no face was found"):
        read_choice("left").pick([])


class Colours(torch.nn.Module):
    """A person's embedding is the colour in the middle of the crop."""

    threshold = 0.6

    def __init__(self):
        super().__init__()
        self.looks = 0

    def embed(self, images):
        self.looks += len(images)
        third = images.shape[-1] // 3
        return images[:, :, third:-third, third:-third].mean((2, 3))


class Squares:
    """Landmarks around what is coloured in (N, 3, S, S), as far as it is in the middle."""

    name = note = "squares"

    def __call__(self, images):
        found = []
        for image in images:
            coloured = (image.amax(0) - image.amin(0) > 1).double()
            area = coloured.sum().clamp_min(1)
            grid = torch.arange(image.shape[-1]) + 0.5
            centre = torch.stack([(coloured.sum(axis) * grid).sum() / area for axis in (0, 1)])
            points = 0.1 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0)).double()
            points[36:42], points[42:48], points[48], points[54] = (
                torch.tensor(FIVE[index]) for index in (0, 1, 3, 4)
            )
            found.append((centre + area.sqrt() * points, area > 200))
        points = torch.stack([points for points, _ in found])
        is_face = torch.stack([face for _, face in found])
        return Landmarks(points, is_face.double(), is_face)


class Detector:
    def __init__(self):
        self.calls = 0

    def detect(self, photo):
        self.calls += 1
        pixels, faces = np.asarray(photo).astype(int), []
        for colour in (RED, GREEN, BLUE):
            rows, columns = np.nonzero(np.abs(pixels - colour).max(2) < 30)
            if len(rows):
                faces.append(face(columns.min(), rows.min(), round(len(rows) ** 0.5)))
        return sorted(faces, key=lambda one: one.box[0] - one.box[2])


def photo(**squares):
    """Named by their colours: (x, y, side)."""
    picture = Image.new("RGB", (500, 300), (90, 90, 90))
    for name, (x, y, side) in squares.items():
        picture.paste(globals()[name.upper()], (x, y, x + side, y + side))
    return picture


def middle(tracked):
    return None if tracked.points is None else tuple(tracked.quad.mean(0).round())


def tracker(choice="largest", identity=True):
    network = Colours() if identity else None
    return FaceTracker(Squares(), Detector(), "cpu", read_one(choice), network)


BOTH = {"red": (60, 60, 60), "green": (360, 100, 40)}


def at(**squares):
    """The colour of what is followed."""
    return lambda tracked: (
        tracked.points is not None
        and all(x - 20 < tracked.quad.mean(0)[0] < x + side + 20 for x, _, side in squares.values())
    )


@pytest.mark.parametrize(
    ("choice", "colour"), [("largest", "red"), ("right", "green"), ("2", "green")]
)
def test_the_chosen_one_is_followed(choice, colour):
    """Through another size, a jump, and what the others do."""
    follow, x = tracker(choice), BOTH[colour][0]
    other = "green" if colour == "red" else "red"
    places = {colour: BOTH[colour], other: BOTH[other]}
    follow(photo(**BOTH))
    for step in range(3):
        places[colour] = (x + 5 * step, 80, 50)
        places[other] = (BOTH[other][0], 150, 40 + 20 * step)
        assert at(c=places[colour])(follow(photo(**places)))
    assert follow.detections == 1
    swapped = {colour: places[other], other: places[colour]}
    assert at(c=swapped[colour])(follow(photo(**swapped)))


def test_another_person_is_no_stand_in():
    """In the place of the first, elsewhere, or larger; until the first comes back."""
    follow = tracker()
    assert at(c=BOTH["red"])(follow(photo(**BOTH)))
    for without in (
        {"green": BOTH["green"]},
        {"green": BOTH["red"]},
        {"green": (200, 50, 150), "blue": (20, 20, 30)},
    ):
        lost = follow(photo(**without))
        assert (lost.points, lost.other) == (None, True)
        assert f"{len(without)} other face" in lost.error
        assert lost.quad is not None
    nobody = follow(photo())
    assert (nobody.points, nobody.other, nobody.error) == (None, False, "no face was found")
    assert at(c=(400, 200, 50))(follow(photo(red=(400, 200, 50), green=(100, 40, 120))))


def test_the_person_may_come_later():
    """Frames before have no face; nobody else is taken."""
    follow = tracker("2")
    early = follow(photo(red=BOTH["red"]))
    assert early.points is None
    assert "expected at least 2" in early.error
    assert at(c=BOTH["green"])(follow(photo(**BOTH)))
    point = tracker("380,120")
    assert "without a face at 380,120" in point(photo(red=BOTH["red"])).error
    assert at(c=BOTH["green"])(point(photo(**BOTH)))


def test_without_a_network_the_nearest_face_is_followed():
    follow = tracker(identity=False)
    follow(photo(**BOTH))
    near = {"red": (300, 200, 60), "green": (60, 60, 60)}
    follow(photo())
    assert at(c=near["green"])(follow(photo(**near)))


def test_a_tracker_begins_again():
    follow = tracker()
    follow(photo(**BOTH))
    assert at(c=BOTH["green"])(follow.again(read_choice("right"))(photo(**BOTH)))
    assert at(c=BOTH["green"])(follow.again()(photo(green=BOTH["green"])))


def crop(colour, noise=0.0):
    return torch.tensor(colour)[:, None, None].expand(3, 64, 64) + noise


def test_how_often_a_face_is_looked_at():
    """Every tenth frame, and when the crop has changed since."""
    network = Colours()
    person = FollowedPerson(network, "cpu")
    assert person.is_in(crop((0.5, 0.0, 0.0)))
    looks = []
    for _ in range(2 * EVERY):
        assert person.stays(crop((0.5, 0.0, 0.0)))
        looks.append(network.looks)
    assert looks[-1] == 3
    assert person.stays(crop((0.5, 0.0, 0.0), noise=0.9 * CHANGED))
    assert network.looks == 3
    assert person.stays(crop((0.5, 0.0, 0.0), noise=1.1 * CHANGED))
    assert network.looks == 4
    assert not person.stays(crop((-0.5, 0.5, 0.0)))


def test_one_who_changes_slowly_is_another_in_the_end():
    """As in a dissolve: near to the last look, and far from the first."""
    person, stayed = FollowedPerson(Colours(), "cpu"), []
    for step in range(30):
        stayed.append(person.is_in(crop((0.05 * step, 0.0, 0.0))))
    assert stayed == [0.05 * step < 0.75 for step in range(30)]
