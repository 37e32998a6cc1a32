"""Augmentation: nothing at p = 0, known pictures for known matrices, and gradients."""

import math

import pytest
import torch

from facsimile.training import augment


@pytest.fixture
def image():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def numbers(n):
    source = torch.Generator().manual_seed(1)
    uniform = torch.rand(n, augment.UNIFORMS, generator=source)
    return uniform, torch.randn(n, augment.NORMALS, generator=source)


def test_p_0_is_the_identity(image):
    assert torch.equal(augment.augment(image, 0.0, *numbers(2)), image)
    # And so is every part of it.
    positions = augment.geometry(0.0, *numbers(2), 8)
    assert torch.equal(positions, torch.eye(3).expand(2, 3, 3))
    assert torch.equal(augment.colour(0.0, *numbers(2)), torch.eye(4).expand(2, 4, 4))


def test_known_moves(image):
    one, two = torch.ones(2), torch.full((2,), 2 / 8)
    cases = {
        "mirrored": (augment.scaling(-one, one), image.flip(3)),
        "quarter turn": (augment.rotation(one * math.pi / 2), image.rot90(1, (2, 3))),
        "half turn": (augment.rotation(one * math.pi), image.flip(2, 3)),
    }
    for name, (matrix, expected) in cases.items():
        torch.testing.assert_close(
            augment.warp(image, matrix),
            expected,
            rtol=0,
            atol=2e-5,
            msg=lambda text, n=name: n + text,
        )
    # One pixel to the left; the border is mirrored.
    warped = augment.warp(image, augment.shift(two, 0 * two))
    torch.testing.assert_close(warped[..., :-1], image[..., 1:], rtol=0, atol=2e-5)
    torch.testing.assert_close(warped[..., -1], image[..., -1], rtol=0, atol=2e-5)


def only(index, value=None):
    """Uniform numbers by which only transformation `index` happens."""
    uniform = torch.ones(2, augment.UNIFORMS)
    uniform[:, index] = 0
    if value is not None:
        uniform[:, 8 + index if index < 8 else index] = value
    return uniform


def test_known_colours(image):
    normal = torch.zeros(2, augment.NORMALS)
    normal[:, 4], normal[:, 5], normal[:, 6] = 1.0, 2.0, 0.0
    brighter = augment.colour(0.5, only(16), normal)
    torch.testing.assert_close(augment.recolour(image, brighter), image + 0.2)
    harder = augment.colour(0.5, only(17), normal)
    torch.testing.assert_close(augment.recolour(image, harder), image * 2)
    flipped = only(18)
    flipped[:, 6] = 0.9
    turned = augment.recolour(image, augment.colour(0.5, flipped, normal))
    torch.testing.assert_close(turned.mean(1), -image.mean(1))
    torch.testing.assert_close(turned - turned.mean(1, True), image - image.mean(1, True))
    # A third of a turn about the grey axis moves red to green to blue.
    hue = only(19)
    hue[:, 14] = 0.5 + 1 / 3
    turned = augment.recolour(image, augment.colour(0.5, hue, normal))
    torch.testing.assert_close(turned, image.roll(1, 1), rtol=0, atol=1e-5)
    normal[:, 6], hue[:, 14] = 1.0, 0.5
    richer = augment.recolour(image, augment.colour(0.5, hue, normal))
    grey = image.mean(1, True)
    torch.testing.assert_close(richer, grey + 2 * (image - grey))


def test_how_often():
    """At p every transformation happens to a share p, and one of the two rotations does."""
    n, p = 20_000, 0.3
    uniform, normal = numbers(n)
    matrices = augment.geometry(p, uniform, normal, 64)
    colours = augment.colour(p, uniform, normal)
    turning = 1 - math.sqrt(1 - p)
    untouched = [p / 2, 0.75 * p, p, p, turning, p, turning, p]
    expected = math.prod(1 - chance for chance in untouched)
    share = float((matrices - torch.eye(3)).abs().amax((1, 2)).lt(1e-6).float().mean())
    assert abs(share - expected) < 0.01
    share = float((colours - torch.eye(4)).abs().amax((1, 2)).lt(1e-6).float().mean())
    assert abs(share - (1 - p) ** 3 * (1 - p / 2)) < 0.01


def test_gradients(image):
    image = image.double()
    uniform, normal = (x.double() for x in numbers(2))
    assert torch.autograd.gradcheck(
        lambda x: augment.augment(x, 0.9, uniform, normal), image.requires_grad_()
    )
