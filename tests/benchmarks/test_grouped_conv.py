"""The baseline of the speed benchmark draws what `stylegan` draws, gradients too."""

import pytest
import torch

from benchmarks import grouped_conv
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.speed import backward


@pytest.mark.parametrize("clamp", [None, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_the_usual_way_gives_the_same_image_and_gradient(n: int, clamp: float | None) -> None:
    generator = random_generator(
        32, channel_base=256, channel_max=16, latent=24, mapping_layers=2, conv_clamp=clamp
    )
    ws = torch.randn(n, generator.num_ws, 24, generator=torch.Generator().manual_seed(n))
    expected = generator.synthesize(ws)
    torch.testing.assert_close(
        grouped_conv.synthesize(generator, ws), expected, atol=1e-4, rtol=1e-4
    )
    gradients = [
        backward(way, ws)
        for way in (lambda w: grouped_conv.synthesize(generator, w), generator.synthesize)
    ]
    assert gradients[0].abs().max() > 0.1
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_the_usual_discriminator_gives_the_same_verdict() -> None:
    network = random_discriminator(32, channel_base=256, channel_max=16)
    image = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        grouped_conv.discriminate(network, image), network(image), atol=1e-5, rtol=1e-4
    )
