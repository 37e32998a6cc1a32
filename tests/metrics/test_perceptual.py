"""The shared distance, the resizing before it and the class around a network, on a small fake."""

import pytest
import torch
from torch import nn

from facsimile.metrics import Perceptual, distance
from facsimile.metrics.perceptual import normalize_features


class Fake(nn.Module):
    """Two layers of random convolutions."""

    def __init__(self, channels=3):
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, 4, 3, 1, 1), nn.Conv2d(4, 6, 3, 2, 1)]
        )
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.3, generator=generator)

    def forward(self, image):
        self.seen = image
        first = self.convolutions[0](image).relu()
        return [first, self.convolutions[1](first)]


def fake(max_size=None, **options):
    return Perceptual(
        "fake", Fake(options.get("channels", 3)), "a card", max_size=max_size, **options
    )


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distance_is_its_definition():
    a = [images(2, 4, 8, 8), images(2, 6, 4, 4)]
    b = [images(2, 4, 8, 8, seed=1), images(2, 6, 4, 4, seed=1)]
    expected = sum(((x - y) ** 2).sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True))
    torch.testing.assert_close(distance(a, b), expected)
    torch.testing.assert_close(distance(b, a), expected)
    assert distance(a, a).tolist() == [0, 0]


@pytest.mark.parametrize("normalise", ["mask", "image"])
def test_mask_of_ones_is_no_mask(normalise):
    a, b = [images(2, 4, 9, 7)], [images(2, 4, 9, 7, seed=1)]
    for ones in (torch.ones(2, 1, 32, 32), torch.ones(1, 1, 9, 7)):
        torch.testing.assert_close(distance(a, b, ones, normalise), distance(a, b))


def test_mask_is_averaged_down_and_weighs():
    a, b = images(1, 4, 4, 4), images(1, 4, 4, 4, seed=1)
    mask = images(1, 1, 8, 8, seed=2).abs()
    small = mask.view(1, 1, 4, 2, 4, 2).mean((3, 5))
    error = (a - b) ** 2
    expected = (small * error).sum() / small.sum()
    assert distance([a], [b], mask, "mask").item() == pytest.approx(expected.item(), rel=1e-5)
    # Image2StyleGAN++: the mask multiplies the difference, the whole image divides.
    expected = ((small * (a - b)) ** 2).sum() / 16
    assert distance([a], [b], mask, "image").item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("normalise", ["mask", "image"])
def test_masked_out_pixels_have_no_influence_and_no_gradient(normalise):
    target = fake().features(images(1, 3, 16, 16, seed=1))
    a = images(1, 3, 16, 16).requires_grad_()
    mask = torch.ones(1, 1, 16, 16)
    mask[..., 8:] = 0
    value = distance(fake().features(a), target, mask, normalise)
    value.sum().backward()
    # Features left of column 8 see at most 2 pixels further.
    assert (a.grad[..., 10:] == 0).all()
    assert (a.grad[..., :8] != 0).all()
    changed = torch.cat([a.detach()[..., :10], torch.zeros(1, 3, 16, 6)], dim=3)
    torch.testing.assert_close(
        distance(fake().features(changed), target, mask, normalise), value.detach()
    )


def test_cached_target_gives_the_value_and_gradient_of_the_plain_call():
    perceptual, a, b = fake(), images(2, 3, 12, 12), images(2, 3, 12, 12, seed=1)
    target = perceptual.features(b)
    a.requires_grad_()
    cached = distance(perceptual.features(a), target)
    plain = perceptual(a, b)
    torch.testing.assert_close(cached, plain)
    gradients = [torch.autograd.grad(x.sum(), a)[0] for x in (cached, plain)]
    torch.testing.assert_close(*gradients)


def test_gradients_are_those_of_finite_differences():
    perceptual = fake().double()
    a = images(1, 3, 6, 6).double().requires_grad_()
    target = perceptual.features(images(1, 3, 6, 6, seed=1).double())
    mask = images(1, 1, 6, 6, seed=2).abs().double()
    assert torch.autograd.gradcheck(
        lambda x: distance(perceptual.features(x), target, mask, "mask"), a
    )


def test_batch_is_its_singles():
    a, b = images(3, 3, 12, 12), images(3, 3, 12, 12, seed=1)
    singles = torch.cat([fake()(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(fake()(a, b), singles)


def test_frozen_and_in_eval_mode():
    perceptual = fake()
    assert not perceptual.training
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_autocast_and_dtypes_leave_the_network_in_full_precision():
    perceptual, a, b = fake(), images(1, 3, 12, 12), images(1, 3, 12, 12, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert perceptual.features(a)[1].dtype == torch.float32
    for dtype in (torch.bfloat16, torch.float64):
        assert perceptual(a.to(dtype), b.to(dtype)).dtype == dtype


def test_grey_is_repeated_and_alpha_ignored():
    perceptual, grey, rgba = fake(), images(1, 1, 8, 8), images(1, 4, 8, 8)
    for ours, plain in ((grey, grey.repeat(1, 3, 1, 1)), (rgba, rgba[:, :3])):
        for x, y in zip(perceptual.features(ours), perceptual.features(plain), strict=True):
            torch.testing.assert_close(x, y)
    perceptual = fake(channels=1)
    perceptual.features(grey)
    with pytest.raises(ValueError, match="images of 3 channels, fake takes 1; choose another"):
        perceptual.features(images(1, 3, 8, 8))


def test_large_images_are_shrunk_and_small_ones_left():
    perceptual = fake(max_size=16, min_size=8)
    for shape, seen in (
        ((64, 64), (16, 16)),
        ((24, 48), (8, 16)),
        ((20, 20), (16, 16)),
        ((12, 12), (12, 12)),
        ((4, 4), (8, 8)),
    ):
        perceptual.features(images(1, 3, *shape))
        assert perceptual.network.seen.shape[2:] == seen


def test_unit_vectors_and_their_gradient_at_zero():
    feature = images(1, 5, 3, 3).requires_grad_()
    torch.testing.assert_close(normalize_features(feature).norm(dim=1), torch.ones(1, 3, 3))
    zero = torch.zeros(1, 5, 3, 3, requires_grad=True)
    normalize_features(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_errors_say_got_expected_and_remedy():
    perceptual, image = fake(), images(1, 3, 8, 8)
    with pytest.raises(ValueError, match="compute both with one Perceptual"):
        distance(perceptual.features(image), perceptual.features(image[..., :4]))
    with pytest.raises(ValueError, match="at least one"):
        distance([], [])
    with pytest.raises(ValueError, match=r"up to 255, expected them in \[-1, 1\]"):
        perceptual(image, torch.full_like(image, 255.0))
    with pytest.raises(ValueError, match=r"\(3, 8, 8\), expected \(N, C, H, W\)"):
        perceptual.features(image[0])
