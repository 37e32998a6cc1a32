"""Encoders alone."""

import torch

from benchmarks.encoders_alone import without_iterations
from facsimile import stylegan


def test_an_encoder_without_iterations(make_encoder, generator, targets, make_discriminator):
    eyes = make_discriminator(generator.resolution)
    encoder = make_encoder("in-domain", generator, passes=2, eyes=eyes)
    alone = stylegan.freeze(without_iterations(encoder))
    assert alone.config.passes == 0
    assert torch.equal(alone(targets), encoder(targets))
