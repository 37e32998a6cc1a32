"""The two conversions between 8 bits and [-1, 1]."""

import pytest
import torch

from facsimile.metrics.pixels import from_uint8, to_uint8

BYTES = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_byte_comes_back(dtype):
    image = from_uint8(BYTES, dtype)
    assert image.dtype == dtype
    assert (image[0], image[-1]) == (-1, 1)
    torch.testing.assert_close(image.diff(), torch.full([255], 2 / 255, dtype=dtype))
    assert torch.equal(to_uint8(image), BYTES)


def test_the_nearest_byte():
    """Also outside the range, and for values between those of two bytes."""
    image = torch.linspace(-1.5, 1.5, 10_001, dtype=torch.float64)
    nearest = (image.clamp(-1, 1)[:, None] - from_uint8(BYTES, torch.float64)).abs().argmin(1)
    assert torch.equal(to_uint8(image).long(), nearest)
