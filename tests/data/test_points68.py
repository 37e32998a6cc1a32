"""The order of the 68 points, and their mirror image."""

import pytest
import torch

from facsimile.data.points68 import GROUPS, MIRRORED, NUM_POINTS, check_landmarks, mirror


def test_mirror_is_an_involution():
    assert sorted(MIRRORED) == list(range(NUM_POINTS))
    assert [MIRRORED[i] for i in MIRRORED] == list(range(NUM_POINTS))
    faces = torch.rand(3, NUM_POINTS, 2) * 100
    assert torch.allclose(mirror(mirror(faces, 128), 128), faces, atol=1e-5)


def test_left_becomes_right():
    """Groups are mapped onto themselves or their twin; the middle of the face stays."""
    ranges = [(0, 17, 0), (17, 22, 22), (27, 31, 27), (31, 36, 31), (36, 42, 42), (48, 60, 48)]
    for first, last, other in [*ranges, (60, 68, 60)]:
        assert {MIRRORED[i] for i in range(first, last)} == set(range(other, other + last - first))
    middle = [i for i in range(NUM_POINTS) if MIRRORED[i] == i]
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    # Lines stay lines: neighbours are mapped to neighbours.
    edges = {
        frozenset(pair)
        for group in GROUPS.values()
        for line in group.lines
        for pair in zip(line, line[1:], strict=False)
    }
    assert {frozenset(MIRRORED[i] for i in edge) for edge in edges} == edges


def test_mirror_takes_pixels_from_the_outer_corner():
    """The point on the middle of pixel i comes to lie on the middle of pixel side - 1 - i."""
    face = torch.zeros(1, NUM_POINTS, 2)
    face[0, 36] = torch.tensor([10.5, 3.0])
    assert mirror(face, 64)[0, 45].tolist() == [53.5, 3.0]


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (torch.zeros(68, 2), r"shape \(68, 2\).*landmarks\[None\]"),
        (torch.zeros(1, 5, 2), r"expected \(N, 68, 2\)"),
        (torch.zeros(1, 68, 2, dtype=torch.long), r"landmarks\.float"),
    ],
)
def test_refusals(landmarks, message):
    with pytest.raises(ValueError, match=message):
        check_landmarks(landmarks)
