"""Encoders alone."""

import torch

from benchmarks.guesses import first_look
from facsimile import stylegan


def test_the_first_look_is_without_passes(make_encoder, generator, targets, make_discriminator):
    eyes = make_discriminator(generator.resolution)
    encoder = make_encoder("in-domain", generator, passes=2, eyes=eyes)
    alone = stylegan.freeze(first_look(encoder))
    assert alone.config.passes == 0
    assert torch.equal(alone(targets), encoder(targets))
