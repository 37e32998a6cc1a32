"""Noise maps of a reenacted photo, with the bundled network: no crackle along the face's edge."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.data import astronaut

import facsimile
from facsimile.editing import reenact_latents, yaw
from facsimile.editing.landmark_noise import move_noise
from facsimile.landmarks import load_landmarker

EDGE = 4
"""Pixels on either side of the chin's outline."""


def high_frequencies(images):
    """(N, 1, R, R): squared difference of the grey image from a Gaussian blur of one pixel."""
    kernel = torch.exp(-0.5 * torch.arange(-4, 5.0) ** 2)
    kernel /= kernel.sum()
    grey = images.mean(1, keepdim=True)
    padded = F.pad(grey, (4, 4, 4, 4), mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return (grey - F.conv2d(rows, kernel.view(1, 1, -1, 1))).square()


def along_the_edge(landmarks, side):
    """(side, side) bool: within EDGE of the polyline of the chin's points (17, 2)."""
    centres = torch.arange(side) + 0.5
    pixels = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)[:, :, None]
    start, step = landmarks[:16], landmarks[1:17] - landmarks[:16]
    t = (((pixels - start) * step).sum(3) / step.square().sum(1)).clamp(0, 1)
    distance = (pixels - start - t[..., None] * step).norm(dim=3)
    return distance.amin(2) < EDGE


@pytest.mark.exhaustive
def test_high_frequencies_along_the_edge_of_a_turned_face():
    """At most 1.2 times those without noise maps, and far more with maps that stay in place."""
    studio = facsimile.load("faces", perceptual="discriminator", device="cpu")
    generator = studio.generator
    target = studio.targets(Image.fromarray(astronaut()))
    result = studio.invert(target, recipe="w+ +noise", steps=40, init="encoder", identity="off")
    own = load_landmarker("small", None, studio.device)(target).points
    turned = yaw(own, 20)
    encoder = studio.encoders.get("difference").network
    stays = reenact_latents(encoder, generator, result.latents, turned, own)
    variants = {
        "none": replace(stays, noise=None),
        "stays": stays,
        "follows": move_noise(generator, stays, own, turned),
    }
    edge = along_the_edge(turned[0], generator.resolution)
    energy = {}
    with torch.no_grad():
        for name, latents in variants.items():
            image = latents.synthesize(generator).clamp(-1, 1)
            energy[name] = float(high_frequencies(image)[0, 0][edge].mean())
    assert energy["stays"] > 1.4 * energy["none"]
    assert energy["follows"] < 1.2 * energy["none"]
