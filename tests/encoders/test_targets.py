"""Shared training targets: photos, samples of three kinds, labels; the learning rates' schedule."""

import pytest
import torch

from facsimile.encoders.settings import CosineSettings, PhotoSettings
from facsimile.training import BatchSlice


@pytest.fixture
def make_recipe(make_recipe):
    """make_recipe(**changes) -> a recipe that trains on targets."""
    return lambda **changes: make_recipe("feature", adversarial_weight=0.0, **changes)


def test_three_kinds_of_samples(make_recipe):
    """A third has one code, a third two codes with one cut, a third a code in every input; mixed
    codes have the deviation of plain ones."""
    recipe = make_recipe()
    ws, _ = recipe._mixed_codes(BatchSlice(0, 0, 3000))
    changes = (ws[:, 1:] != ws[:, :-1]).any(2).sum(1)
    count = changes.bincount(minlength=ws.shape[1])
    assert count.sum() == count[[0, 1, -1]].sum() == 3000
    assert all(abs(int(x) - 1000) < 110 for x in count[[0, 1, -1]])
    cuts = (ws[changes == 1][:, 1:] != ws[changes == 1][:, :-1]).any(2).float().mean(0)
    assert cuts.min() > 0.5 / len(cuts)
    plain, mixed = (ws[changes == n].std((0, 1)) for n in (0, ws.shape[1] - 1))
    torch.testing.assert_close(mixed, plain, rtol=0.15, atol=0)
    # Mixtures lie between one code and independent ones.
    mixed = ws[changes == ws.shape[1] - 1]
    common = mixed.mean(1).var(0).mean() / mixed.flatten(0, 1).var(0).mean()
    assert 1.5 / ws.shape[1] < common < 0.8


def test_samples_have_the_images_of_their_codes(make_recipe, pictures):
    """Three of five are photos by default, half of them mirrored; the others are samples."""
    recipe, batch = make_recipe(data=(str(pictures),)), BatchSlice(2, 40, 20)
    target = recipe._targets(batch)
    assert int(target.is_sample.sum()) == 8
    samples = recipe.generator.synthesize(target.ws[target.is_sample]).clamp(-1, 1)
    torch.testing.assert_close(target.image[target.is_sample], samples, rtol=0, atol=1e-5)
    photos = recipe.sampler.images(recipe.photos, batch, mirror=True)
    assert torch.equal(target.image[~target.is_sample], photos[~target.is_sample])


def test_parts_of_a_batch_are_the_batch(make_recipe, pictures):
    """Whatever the slices, a sample is the same: photos, codes, images."""
    recipe = make_recipe(data=(str(pictures),), real_fraction=0.3, precision="fp64")
    whole = recipe._targets(BatchSlice(1, 8, 8))
    # Groups of two lie interleaved in a batch.
    parts = [recipe._targets(BatchSlice(1, start, 4)) for start in (8, 12)]
    order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])
    for name in ("image", "is_sample", "ws"):
        joined = torch.cat([getattr(part, name) for part in parts])
        inverse = getattr(whole, name)
        torch.testing.assert_close(joined[order], inverse, rtol=0, atol=1e-12)
    shares = [float(recipe._is_sample(BatchSlice(0, 2 * i, 40)).double().mean()) for i in range(9)]
    assert shares == pytest.approx([0.7] * 9, abs=0.03)


def test_labels(make_recipe, networks):
    """Codes belong to their labels, and mixtures keep around their label's mean."""
    recipe = make_recipe(generator=networks(c_dim=3))
    ws, label = recipe._mixed_codes(BatchSlice(0, 0, 1500))
    assert label.sum(0).min() > 400
    for number in range(3):
        mine = ws[label[:, number] == 1]
        mean = recipe._mean_ws(torch.eye(3)[[number]])
        error = (mine.mean((0, 1)) - mean[0, 0]) / mine.std((0, 1))
        assert error.abs().max() < 0.15
    assert torch.equal(recipe._mean_ws(label)[:5, 0], recipe._mean_ws(label[:5])[:, 0])


def test_attempts_differ(make_recipe):
    recipe, batch = make_recipe(), BatchSlice(0, 0, 4)
    one, other = (recipe._mixed_codes(batch, attempt)[0] for attempt in (0, 1))
    assert torch.equal(one, recipe._mixed_codes(batch)[0])
    assert (one - other).flatten(1).abs().amax(1).min() > 0.01


def test_the_share_of_photos():
    assert PhotoSettings().fraction == 0
    assert PhotoSettings(data=("x",)).fraction == 0.6
    assert PhotoSettings(data=("x",), real_fraction=1.0).fraction == 1


def test_the_identity_term(make_recipe):
    """The squared distance of the embeddings, with its weight; without it no network is loaded."""
    recipe, without = make_recipe(identity="auto"), make_recipe(identity="auto", identity_weight=0)
    assert without.identity is None
    images, targets = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    features = recipe._target_features(targets)
    losses = recipe._picture_losses(images, targets, features, "x ", 0.5)
    expected = 0.5 * recipe.identity.distance(images, targets).square().mean()
    torch.testing.assert_close(losses["encoder/x identity"], expected)
    assert "encoder/identity" not in recipe._picture_losses(images, targets, features)
    assert recipe._fingerprints()["identity network"] == "dlib"
    assert without._fingerprints()["identity network"] == "none"


def test_the_learning_rate():
    """It rises, stays, and falls along half a cosine to a hundredth, where --images end."""
    section = CosineSettings(lr=1.0)
    rates = [section.decay_within(images, 100_000) for images in (2000, 4000, 40_000)]
    assert rates == pytest.approx([0.5, 1, 1])
    middle = 0.01 + 0.99 / 2
    for images in (70_000, 100_000, 200_000):
        expected = middle if images == 70_000 else 0.01
        assert section.decay_within(images, 100_000) == pytest.approx(expected)
        fixed = CosineSettings(lr=1.0, lr_decay_images=100_000)
        assert fixed.decay_within(images, 10**9) == pytest.approx(expected)
    # A short run has a short rise, and the first step a rate above 0.
    assert 0 < section.decay_within(0, 1000) < 0.1
    assert section.decay_within(100, 1000) == 1
    with pytest.raises(ValueError, match=r"--lr-hold is 1.5; it must be at least 0 and below 1"):
        CosineSettings(lr=1.0, lr_hold=1.5)
