"""What a result misses, in words."""

import math

import pytest
import torch

from facsimile import misses
from facsimile.misses import landmark_miss, person_distances, person_miss


class Network:
    """A person is the mean colour."""

    title, threshold = "a colour", 0.5

    def embed(self, images):
        return images.mean((2, 3))


def test_landmarks():
    bound = misses.LANDMARK_BOUND
    assert landmark_miss([0.0, bound]) == ""
    assert landmark_miss([bound * 1.01]).startswith("in the frame the landmarks miss those asked")
    said = landmark_miss([0.0, 2 * bound, math.nan])
    assert said.startswith("in 2 of 3 frames the landmarks miss those asked for by more than 0.1")


def test_persons():
    images = torch.zeros(3, 3, 4, 4)
    images[1, 0], images[2, 0] = 0.4, 0.7
    distances = person_distances(Network(), images, Network().embed(images[:1]))
    assert distances == pytest.approx([0, 0.4, 0.7])
    assert person_miss(distances[:2], Network()) == ""
    said = person_miss(distances, Network(), "result")
    assert said == (
        "1 of 3 results compared shows another person than before, by a colour: a distance of "
        "0.70, and 0.5 is the bound"
    )
