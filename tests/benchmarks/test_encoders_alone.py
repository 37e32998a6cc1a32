"""Encoders alone."""

import torch

from benchmarks.encoders_alone import without_iterations
from facsimile import stylegan


def test_an_encoder_without_iterations(make_encoder, generator, targets, make_discriminator):
    feature_net = make_discriminator(generator.resolution)
    encoder = make_encoder("in-domain", generator, iterations=2, feature_net=feature_net)
    alone = stylegan.freeze(without_iterations(encoder))
    assert alone.config.iterations == 0
    assert torch.equal(alone(targets), encoder(targets))
