"""The measures of inpainting, by pictures whose values are known."""

import pytest
import torch

from benchmarks import inpainting
from facsimile.data.masks import make_mask


@pytest.fixture
def half():
    """(1, 1, 16, 16): the left half."""
    return make_mask(inpainting.MASKS["left half"], torch.zeros(1, 3, 16, 16)).mask


def test_the_seam_of_a_step_is_its_height(half):
    images = torch.cat([half, 0.25 * half]).expand(-1, 3, -1, -1)
    masks = half.expand(2, -1, -1, -1)
    assert inpainting.across_seam(images, masks).tolist() == [1.0, 0.25]
    ramp = torch.linspace(0, 1.5, 16).expand(1, 3, 16, 16)
    assert inpainting.across_seam(ramp, half).item() == pytest.approx(0.1)


def test_large_masks_are_large():
    sizes = {
        name: float(make_mask(mask, torch.zeros(1, 3, 64, 64)).mask.mean())
        for name, mask in inpainting.MASKS.items()
    }
    assert len(sizes) == 7
    large = [name for name, size in sizes.items() if size >= inpainting.LARGE]
    assert large == ["left half", "lower half", "middle"]
    assert max(sizes.values()) == 0.5


def test_a_picture_of_one_colour_is_filled_with_it(half):
    images = torch.full((1, 3, 16, 16), 0.2)
    spoilt = torch.where(half > 0, torch.tensor(-1.0), images)
    filled = inpainting.fill_in(spoilt, half, inpainting.filler())
    assert (filled - images).abs().max() < 5 * 2 / 255  # OpenCV rounds at every pixel
    assert inpainting.ssim_inside(filled, images, half) > 0.95
    assert inpainting.ssim_inside(spoilt, images, half) < 0.9
