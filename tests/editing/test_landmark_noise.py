"""Noise maps of a face that moves. Oracles: what stands still, and what is shifted as a whole."""

import pytest
import torch

from facsimile import stylegan
from facsimile.editing.landmark_noise import motion, move_noise

R = 32


@pytest.fixture
def face():
    """(1, 68, 2) in pixels: points all over a disc, those of the outline on its edge."""
    index = torch.arange(68.0)
    outline = index < 17
    angle = torch.where(outline, index / 17 * 2 * torch.pi, index * 2.4)  # the golden angle
    radius = torch.where(outline, 1.0, ((index - 17) / 51).clamp_min(0).sqrt())
    points = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None] * R / 4
    return (points + R / 2)[None]


@pytest.fixture
def latents(generator):
    """In W+, with noise maps."""
    plain = stylegan.init_latents(generator, "w+", 1)
    maps = generator.noise_maps(1)
    rng = torch.Generator().manual_seed(2)
    tensors = {f"noise.{i}": torch.randn(x.shape, generator=rng) for i, x in enumerate(maps)}
    return plain.with_tensors(plain.tensors() | tensors)


def test_nothing_moves_and_nothing_changes(generator, latents, face):
    still = move_noise(generator, latents, face, face)
    assert all(torch.equal(x, y) for x, y in zip(still.noise, latents.noise, strict=True))
    assert torch.equal(motion(face / R, face / R, 16).share, torch.ones(1, 1, 16, 16))
    plain = stylegan.init_latents(generator, "w+", 1)
    assert move_noise(generator, plain, face, face + 3) is plain


def test_maps_go_with_the_face_and_fade_around_it(generator, latents, face):
    """All landmarks go 2 pixels to the right: so do the details amid the face; far from it there
    is the generator's own noise."""
    shift = torch.tensor([2.0, 0.0])
    moved = move_noise(generator, latents, face, face + shift)
    before, after, constant = (x[-1] for x in (latents.noise, moved.noise, generator.noise_maps(1)))
    assert before.shape[-1] == R
    amid = slice(R // 2 - 2, R // 2 + 2)
    own = (before - constant)[0, 0, amid, R // 2 - 2 : R // 2 + 2]
    found = (after - constant)[0, 0, amid, R // 2 : R // 2 + 4]
    share = motion(face / R, (face + shift) / R, R).share[0, 0, amid, R // 2 : R // 2 + 4]
    assert share.min() > 0.5
    torch.testing.assert_close(found, own * share, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after[..., 0], constant[..., 0], atol=1e-6, rtol=0)


def test_what_is_torn_apart_fades(face):
    """The right half of the face goes up, and the left half down."""
    torn = face.clone()
    torn[..., 1] += torch.where(face[..., 0] > R / 2, -2.0, 2.0)
    share = motion(face / R, torn / R, R).share[0, 0]
    assert share[R // 2, R // 2] < 0.1
    assert share[R // 2, R // 2 - 5] > 0.5


def test_a_batch_is_as_single_faces(generator, latents, face):
    others = torch.cat([face, face + 1, face * 1.1])
    batch = move_noise(generator, latents[[0] * 3], face, others)
    for i in range(3):
        one = move_noise(generator, latents, face, others[i : i + 1])
        for x, y in zip(batch.noise, one.noise, strict=True):
            torch.testing.assert_close(x[i : i + 1], y, atol=1e-5, rtol=1e-5)
