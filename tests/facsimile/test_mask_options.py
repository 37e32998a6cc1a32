"""The mask options of commands, with the bundled region network on pictures of the generator."""

import pytest
import torch
from PIL import Image

from facsimile import checkpoints, data, stylegan
from facsimile.data.region_network import region_map
from facsimile.masks import MASK, PREVIEW, MaskOptions, find_regions, save_mask


@pytest.fixture(scope="module")
def samples():
    """(4, 3, 128, 128): pictures of the bundled generator near its mean."""
    generator = checkpoints.find("faces").generator
    pictures = []
    for seed in range(4):
        latents = stylegan.init_latents(
            generator, "z", 1, init="random", seed=seed, truncation_psi=0.6
        )
        pictures.append(latents.synthesize(generator).detach().clamp(-1, 1))
    return torch.cat(pictures)


def test_regions_are_where_the_landmarks_are(samples):
    """The landmark network, which was trained on other labels, agrees with the region network."""
    regions = find_regions(samples)
    assert regions.is_face.all()
    points = data.landmarker("small", small=checkpoints.LANDMARKS)(samples).points
    for name, indices in (
        ("mouth", range(48, 68)),
        ("eyes", range(36, 48)),
        ("brows", range(17, 27)),
        ("nose", range(27, 31)),
    ):
        inside = region_map(regions.shares, name) > 0.5
        weights = inside / inside.sum((2, 3), keepdim=True)
        axis = torch.arange(128) + 0.5
        x, y = (weights.sum(2) * axis).sum((1, 2)), (weights.sum(3) * axis).sum((1, 2))
        expected = points[:, list(indices)].mean(1)
        assert (torch.stack([x, y], 1) - expected).norm(dim=1).max() < 5, name
    hair = region_map(regions.shares, "hair")[:, 0]
    assert hair[:, :32].mean() > 5 * hair[:, 96:, 48:80].mean()


def test_a_picture_of_another_size_has_the_same_regions(samples):
    large = torch.nn.functional.interpolate(samples, scale_factor=2.0, mode="bicubic").clamp(-1, 1)
    one = MaskOptions(mask="face").make_mask(samples).mask
    two = MaskOptions(mask="face").make_mask(large).mask
    small = torch.nn.functional.avg_pool2d(two, 2) > 0.5
    both, either = (small & (one > 0.5)).sum(), (small | (one > 0.5)).sum()
    assert both / either > 0.95


def test_what_shows_no_face():
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with pytest.raises(ValueError, match="no face was found"):
        MaskOptions(mask="mouth").make_mask(noise)


def test_options(tmp_path, samples):
    """The mask that is saved is a mask again; without --mask there is none."""
    options = MaskOptions(mask="hair+box:0,0.9,1,1", invert_mask=True, feather=2)
    made = options.make_mask(samples).mask
    assert 0 < made.mean() < 1
    save_mask(made[:1], samples[:1], tmp_path)
    again = MaskOptions(mask=str(tmp_path / MASK)).make_mask(samples[:1]).mask
    assert (again - made[:1]).abs().max() <= 0.5 / 255 + 1e-6
    with Image.open(tmp_path / PREVIEW) as preview:
        assert preview.width > 2 * 128
    save_mask(made[:2], samples[:2], tmp_path, names=("a-", "b-"))
    assert (tmp_path / f"b-{PREVIEW}").is_file()
    assert MaskOptions().make_mask(samples) is None
    with pytest.raises(ValueError, match="without --mask"):
        MaskOptions(feather=2).make_mask(samples)
