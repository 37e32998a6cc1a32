"""Oracles: motions of the picture, the input wave by wave, and what files give back."""

import copy
import math
import re

import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import Latents, make_placement, spaces
from facsimile.stylegan.generator import fingerprint


def close(got, expected, atol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def generator(stylegan3_generator):
    return stylegan3_generator


@pytest.fixture(scope="module")
def ws(stylegan3_ws):
    return stylegan3_ws


def test_waves(generator, ws):
    """The input, pixel by pixel and wave by wave, as the paper writes it."""
    network = generator.synthesis.input
    style = network.affine(ws[:, 0])[:1].double()
    (cos, sin, right, down), tolerance = style[0].tolist(), {"rel": 1e-4, "abs": 1e-5}
    size = math.hypot(cos, sin)
    cos, sin, right, down = cos / size, sin / size, right / size, down / size
    x = network(style.float(), torch.eye(3))
    assert x.shape == (1, 8, 36, 36)
    for row, column in ((0, 0), (3, 35), (20, 7)):
        # The motion undone: what came last goes first.
        across, along = (column + 0.5 - 18) / 16 - right, (row + 0.5 - 18) / 16 - down
        u, v = cos * across - sin * along, sin * across + cos * along
        values = [
            math.sin(2 * math.pi * (fx * u + fy * v + phase))
            for (fx, fy), phase in zip(network.freqs.tolist(), network.phases.tolist(), strict=True)
        ]
        expected = torch.tensor(values) @ network.weight.T / math.sqrt(8)
        assert x[0, :, row, column].tolist() == pytest.approx(expected.tolist(), **tolerance)


def test_waves_that_would_be_aliased_fade(generator, ws):
    """A picture shrunk by the transform raises all frequencies; from half the rate on, silence."""
    network = generator.synthesis.input
    style = network.affine(ws[:, 0])
    assert network(style, torch.eye(3)).abs().max() > 0.1
    assert network(style, torch.diag(torch.tensor([1e4, 1e4, 1.0]))).abs().max() == 0


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -4), (6, 4)])
def test_translation_moves_the_picture(generator, ws, right, down):
    """Whole pixels at every rate: exact within rounding where the margin does not matter."""
    before = generator.synthesize(ws)
    placement = make_placement(translation=(right / 32, down / 32))
    moved = generator.synthesize(ws, placement=placement)
    assert (moved - before).abs().max() > 0.01
    back = moved.roll((-down, -right), (2, 3))
    close(back[:, :, 7:-7, 7:-7], before[:, :, 7:-7, 7:-7], 5e-6)


def test_translation_between_the_pixels_of_the_input(generator, ws):
    """One pixel of the image, half a pixel of the first layers: alias-free, though not exactly."""
    before = generator.synthesize(ws)
    placement = make_placement(translation=(1 / 32, 3 / 32))
    back = generator.synthesize(ws, placement=placement).roll((-3, -1), (2, 3))
    close(back[:, :, 4:-4, 4:-4], before[:, :, 4:-4, 4:-4], 2e-3 * before.std().item())


def test_rotation_turns_the_picture(generator, ws):
    """Configuration R by 90 degrees, exactly; configuration T is not made for it."""
    before = generator.synthesize(ws)
    for degrees in (90, 180, -90):
        # torch.rot90 turns rows upwards: counter-clockwise as seen.
        rotated = generator.synthesize(ws, placement=make_placement(degrees))
        error = rotated - before.rot90(degrees // 90, (2, 3))
        if generator.config["use_radial_filters"]:
            assert error.abs().max() < 5e-6
        else:
            assert error.abs().max() > 0.01


def test_rotation_comes_before_translation():
    matrix = make_placement(90, (0.25, 0.5)).double()
    # A point of the picture, to the right of its centre, goes above it, and then right and down.
    point = torch.tensor([0.25, 0.5 - 0.1, 1.0]).double()
    close(matrix @ point, torch.tensor([0.1, 0.0, 1.0]).double(), 1e-6)
    close(make_placement(), torch.eye(3), 0)


def test_a_style_places_the_picture_as_a_user_does(generator, ws):
    styles = list(generator.styles(ws))
    angle, length = math.radians(30), 1.7
    styles[0] = torch.tensor([math.cos(angle), math.sin(angle), 0.1, -0.2]).expand(3, 4) * length
    by_style = generator.synthesize(styles)
    styles[0] = torch.tensor([1.0, 0, 0, 0]).expand(3, 4)
    placement = make_placement(30, (0.1, -0.2))
    close(generator.synthesize(styles, placement=placement), by_style, 5e-6)


def test_a_placement_for_each_image(generator, ws):
    generator, ws = copy.deepcopy(generator).double(), ws.double()
    degrees, shifts = torch.tensor([10.0, -20.0, 0.0]), torch.tensor([[0.1, 0], [0, 0], [0, 0.2]])
    placement = make_placement(degrees, shifts)
    batch = generator.synthesize(ws, placement=placement)
    for row in range(3):
        one = make_placement(degrees[row], shifts[row])
        close(generator.synthesize(ws[row : row + 1], placement=one), batch[row : row + 1], 1e-12)
    # Nothing of it stays behind.
    close(generator.synthesize(ws), generator.synthesize(ws, placement=make_placement()), 1e-12)
    # One rotation for all translations, and the other way round.
    assert make_placement(5, shifts).shape == make_placement(degrees, (0.1, 0)).shape == (3, 3, 3)


def test_placements_that_do_not_fit(generator, ws, make_generator):
    for wrong in ((0, (1, 2, 3)), (0, 0.5), (torch.zeros(2, 2), (0, 0))):
        with pytest.raises(ValueError, match=r"expected \(\) or \(N,\), and \(2,\) or \(N, 2\)"):
            make_placement(*wrong)
    three = make_placement(torch.zeros(3))
    for wrong in (three, three[:2, :2], torch.eye(2)):
        sentence = re.escape(f"shape {tuple(wrong.shape)}, the batch 2 images; expected (3, 3)")
        with pytest.raises(ValueError, match=sentence):
            generator.synthesize(ws[:2], placement=wrong)
    other = make_generator(8, 4, 8)
    with pytest.raises(ValueError, match='architecture "stylegan2"; only StyleGAN3 takes one'):
        other.synthesize(other.map(torch.zeros(1, 8)), placement=torch.eye(3))


@pytest.mark.parametrize("space", ["w+", "f/w+"])
def test_saved_latents_redraw_a_rotated_picture(generator, tmp_path, space):
    """A placement is a part of latents: of each image, with a feature and without."""
    placement = make_placement(torch.tensor([30.0, -45.0]), (0.1, -0.2))
    latents = stylegan.init_latents(generator, space, 2, placement=placement)
    images = latents.synthesize(generator)
    mean = spaces.SPACES["w+"].initial_code(generator, 2, "mean")
    close(images, generator.synthesize(mean, placement=placement), 0)
    assert (images[0] - images[1]).abs().max() > 0.01
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load(tmp_path / "latents.safetensors", generator)
    assert torch.equal(again.placement, placement)
    assert torch.equal(again.synthesize(generator), images)
    close(again[1].synthesize(generator), images[1:], 1e-5)
    # One for all images.
    one = stylegan.init_latents(generator, space, 3, placement=placement[0])
    close(one.synthesize(generator), images[:1].expand(3, -1, -1, -1), 1e-5)


def test_the_placement_of_a_file_is_not_part_of_the_fingerprint(generator, ws):
    """Releases hold a transform: it is drawn with, and codes still belong to their generator."""
    moved, placement = copy.deepcopy(generator), make_placement(30, (0.1, 0.2))
    moved.synthesis.input.transform.copy_(placement)
    assert fingerprint(moved.state_dict()) == fingerprint(generator.state_dict())
    assert torch.equal(moved.synthesize(ws), generator.synthesize(ws, placement=placement))
