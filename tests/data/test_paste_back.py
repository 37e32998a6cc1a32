"""Oracles: a crop put back gives the photo again, and nothing outside of the mask is touched."""

import math
import time

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facsimile.data import crop_quad, to_tensor
from facsimile.data.paste_back import (
    FACE_CENTRE,
    FACE_RADII,
    MASK_SIDE,
    PasteBack,
    region_mask,
    seam_offset,
    sharpen,
    surround,
    unchanged,
)

SIDE = 64
# Of the face of scikit-image's astronaut, which is 170 pixels wide.
QUAD = np.array([(144.2, 17.5), (135.8, 187.4), (305.7, 195.8), (314.1, 26.0)])


def turned(scale, degrees):
    """The astronaut, larger and turned on a canvas of 300 * scale pixels, and the quad there."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[c, -s], [s, c]])
    side = round(300 * scale)
    matrix[:2, 2] = side / 2 - matrix[:2, :2] @ (225, 107)
    inverse = np.linalg.inv(matrix)[:2].ravel().tolist()
    bicubic = Image.Resampling.BICUBIC
    photo = Image.fromarray(astronaut())
    photo = photo.transform((side, side), Image.Transform.AFFINE, inverse, bicubic)
    return photo, QUAD @ matrix[:2, :2].T + matrix[:2, 2]


def psnr(first, second, where):
    error = (first - second).square().mean(0)[where].mean()
    return float(10 * torch.log10(4 / error))


def inner(side):
    """Where the face's mask is opaque, (side, side)."""
    mask = torch.nn.functional.interpolate(region_mask("face")[None, None], (side, side))[0, 0]
    return mask > 0.999


def in_crop(photo, quad):
    """u and v of every pixel of the photo, in sides of the crop."""
    y, x = np.indices((photo.height, photo.width)) + 0.5
    sides = np.stack([quad[3] - quad[0], quad[1] - quad[0]], 1)
    return np.einsum("ij,jhw->ihw", np.linalg.inv(sides), np.stack([x, y]) - quad[0][:, None, None])


def outside_of(photo, quad, region):
    """Where the region does not reach, by its formula, less two pixels of the mask."""
    u, v = in_crop(photo, quad)
    if region == "crop":
        return np.abs(np.stack([u, v]) - 0.5).max(0) > 0.5 + 2 / MASK_SIDE
    radii = [(x - c) / r for x, c, r in zip((u, v), FACE_CENTRE, FACE_RADII, strict=True)]
    return np.hypot(*radii) > 1.02


@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (2, 30), (0.5, -75), (1.2, 170)])
@pytest.mark.parametrize("region", ["face", "crop"])
def test_a_residual_of_nothing_is_the_photo_and_outside_no_bit_differs(scale, degrees, region):
    photo, quad = turned(scale, degrees)
    target = to_tensor(crop_quad(photo, quad, SIDE))
    mask = region_mask(region)
    image = (target + 0.3 * torch.randn_like(target)).clamp(-1, 1)
    kept = PasteBack(photo, quad, SIDE, mask, residual=True)(image, image)
    assert np.array_equal(np.asarray(kept), np.asarray(photo))
    pasted = np.asarray(PasteBack(photo, quad, SIDE, mask)(image))
    outside = outside_of(photo, quad, region)
    differs = (pasted != np.asarray(photo)).any(2)
    assert 0.05 < outside.mean() < 0.98
    assert not (differs & outside).any()
    assert differs[~outside].mean() > 0.8


@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (2, 30), (0.8, -75)])
@pytest.mark.parametrize("error", ["fine", "coarse"])
def test_inside_the_face_no_worse_than_the_inversion(scale, degrees, error):
    photo, quad = turned(scale, degrees)
    target = to_tensor(crop_quad(photo, quad, SIDE))
    wrong = torch.randn(3, *([SIDE] * 2 if error == "fine" else [6, 6]))
    wrong = torch.nn.functional.interpolate(wrong[None], (SIDE, SIDE), mode="bicubic")[0]
    image = (target + 0.02 * wrong / wrong.std()).clamp(-1, 1)  # 40 dB, as with noise maps
    whole = PasteBack(photo, quad, SIDE)(image)
    again = to_tensor(crop_quad(whole, quad, SIDE))
    where = inner(SIDE)
    assert psnr(again, target, where) > psnr(image, target, where) - 0.3
    # The photo's side: what the generator's size lacks is lost, and comes back with the residual.
    opaque = torch.from_numpy(np.abs(in_crop(photo, quad) - 0.55).max(0) < 0.2)
    half = image.clone()
    half[:, :, SIDE // 2 :] = 1 - half[:, :, SIDE // 2 :]  # an edit of the right half
    edited = PasteBack(photo, quad, SIDE, residual=True)(half, image)
    left = to_tensor(crop_quad(edited, quad, SIDE))
    untouched = where.clone()
    untouched[:, SIDE // 2 - 8 :] = False
    assert psnr(left, target, untouched) > 38
    kept = PasteBack(photo, quad, SIDE, residual=True)(image, image)
    assert psnr(to_tensor(kept), to_tensor(photo), opaque) > 38


def test_a_known_picture_lies_where_it_was_cropped():
    """A dot of the crop is at its own place of the photo, also turned."""
    photo, quad = turned(1, 35)
    image = torch.full((3, SIDE, SIDE), -1.0)
    image[:, 20:24, 40:44] = 1
    flat = Image.new("RGB", photo.size)
    pasted = np.asarray(PasteBack(flat, quad, SIDE)(image)).astype(float)[..., 0]
    y, x = np.indices(pasted.shape) + 0.5
    found = np.array([(pasted * x).sum(), (pasted * y).sum()]) / pasted.sum()
    right, down = (quad[3] - quad[0]) / SIDE, (quad[1] - quad[0]) / SIDE
    assert np.abs(found - (quad[0] + 42 * right + 22 * down)).max() < 0.3


def test_partly_outside_of_the_photo():
    photo = Image.fromarray(astronaut()).crop((200, 60, 400, 260))
    quad = QUAD - (200, 60)
    target = to_tensor(crop_quad(photo, quad, SIDE))
    kept = PasteBack(photo, quad, SIDE, residual=True)(target)
    assert np.array_equal(np.asarray(kept), np.asarray(photo))
    assert PasteBack(photo, quad, SIDE)(-target).size == photo.size


def test_channels_of_other_generators():
    photo, quad = turned(1, 0)
    grey = torch.zeros(1, SIDE, SIDE)
    same = PasteBack(photo, quad, SIDE)(grey.expand(3, -1, -1))
    for image in (grey, torch.zeros(4, SIDE, SIDE)):
        assert PasteBack(photo, quad, SIDE)(image).tobytes() == same.tobytes()


def test_colours_are_matched_at_the_seam():
    """A tint of the whole image goes; a spot in the middle, far from the seam, stays."""
    photo, quad = turned(1, 0)
    target = to_tensor(crop_quad(photo, quad, SIDE)) * 0.5
    mask = region_mask("face")[None]
    tint = torch.tensor([0.1, -0.05, 0.02]).view(3, 1, 1)
    offset = seam_offset(target + tint, target, mask)
    torch.testing.assert_close(offset, -tint.expand_as(offset), atol=2e-3, rtol=0)
    spot = torch.zeros_like(target)
    spot[:, 30:36, 28:36] = 0.5
    assert seam_offset(target + spot, target, mask).abs().max() < 1e-3
    assert seam_offset(target + tint, target, torch.ones_like(mask)).abs().max() == 0


def test_masks():
    for region in ("face", "crop"):
        mask = region_mask(region)
        assert mask.shape == (MASK_SIDE, MASK_SIDE)
        assert float(mask.max()) == 1
        assert float(mask[MASK_SIDE // 2, MASK_SIDE // 2]) == 1
        edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert float(edge.max()) < 1e-3
    assert set(region_mask("face", feather=0).unique().tolist()) == {0, 1}
    with pytest.raises(ValueError, match='got the region "hat", expected one of face, crop'):
        region_mask("hat")
    with pytest.raises(ValueError, match="got a feather of 2 sides of the crop, expected 0 to 0.4"):
        region_mask("face", feather=2)
    local = torch.zeros(SIDE, SIDE)
    local[5:9, 20:30] = 1
    around = surround(local)
    assert float(around[24, 100]) == 1
    assert float(around[:2].max()) < 0.1
    assert float(around[100:].max()) == 0


def test_where_an_edit_has_changed_nothing():
    before = torch.rand(3, SIDE, SIDE) - 0.5
    image = before.clone()
    image[:, 30:40, 30:40] += 0.5
    keep = unchanged(image, before)[0]
    assert float(keep[30:40, 30:40].max()) == 0
    assert float(keep[:20].min()) == 1
    assert float(unchanged(before + 0.02, before).min()) == 1


def test_sharpening_survives_enlarging_and_reducing():
    photo, quad = turned(1, 0)
    image = to_tensor(crop_quad(photo, quad, SIDE))
    large = 2.5 * SIDE
    whole = np.array([(0, 0), (0, large), (large, large), (large, 0)])

    def back(x):
        enlarged = torch.nn.functional.interpolate(x[None], (int(large),) * 2, mode="bicubic")[0]
        pixels = ((enlarged + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        return to_tensor(crop_quad(Image.fromarray(pixels), whole, SIDE))

    everywhere = torch.ones(SIDE, SIDE, dtype=torch.bool)
    plain = psnr(back(image), image, everywhere)
    assert psnr(back(sharpen(image, large)), image, everywhere) > plain + 6
    assert sharpen(image, SIDE / 2) is image


@pytest.mark.slow
def test_a_large_photo_takes_less_than_two_seconds():
    small, _ = turned(1, 0)
    photo = small.resize((4000, 3000))
    centre, half, turn = np.array([2000, 1500]), 700, math.radians(30)
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * half
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    quad = centre + corners @ rotation
    began = time.process_time()
    PasteBack(photo, quad, 128, residual=True)(torch.zeros(3, 128, 128))
    assert time.process_time() - began < 2
