"""The region network: any side, one image as many, and its files."""

import pytest
import torch

from facsimile.data import region_network
from facsimile.data.region_network import (
    CLASSES,
    COLOURS,
    REGIONS,
    RegionConfig,
    RegionFinder,
    RegionNetwork,
    class_colours,
    load,
    region_map,
    save,
)
from facsimile.stylegan import files, freeze


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = freeze(RegionNetwork(RegionConfig(side=32, width=4, depth=1)))
    for parameter in network.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize(("side", "channels"), [(16, 3), (20, 3), (32, 1), (48, 3), (64, 3)])
def test_probabilities_at_any_side(network, side, channels):
    """They add up to 1, and do not depend on the other images."""
    images = torch.rand(3, channels, side, side) * 2 - 1
    shares, presence = network(images)
    assert shares.shape == (3, len(CLASSES), side, side)
    assert presence.shape == (3,)
    assert torch.allclose(shares.sum(1), torch.ones(3, side, side), atol=1e-3)
    alone = network(images[1:2])
    assert torch.allclose(alone[0], shares[1:2], atol=1e-5)
    assert torch.allclose(alone[1], presence[1:2], atol=1e-5)


def test_brightness_and_contrast_change_little(network):
    images = 0.5 * torch.rand(2, 3, 32, 32)
    assert (network(images)[0] - network(1.5 * images - 0.4)[0]).abs().max() < 0.1


def test_regions_add_up():
    shares = torch.rand(2, len(CLASSES), 8, 8).softmax(1)
    whole = region_map(shares, "person") + region_map(shares, "background")
    assert torch.allclose(whole, torch.ones(2, 1, 8, 8))
    parts = sum(region_map(shares, name) for name in ("skin", "brows", "eyes", "nose", "mouth"))
    assert torch.allclose(parts, region_map(shares, "face"))
    assert REGIONS.keys() >= {"eyes", "brows", "nose", "mouth", "teeth", "face", "hair"}


def test_colours_tell_classes_apart():
    assert len(set(COLOURS)) == len(COLOURS) == len(CLASSES)
    picture = class_colours(torch.arange(len(CLASSES))[None, None].expand(1, len(CLASSES), -1))
    assert picture.shape == (1, 3, len(CLASSES), len(CLASSES))
    assert picture[0, :, 0, -1].tolist() == [1, 1, 1]


def test_a_mirrored_image_has_mirrored_regions(tmp_path, network):
    save(network, tmp_path / "n.safetensors")
    finder = RegionFinder(tmp_path / "n.safetensors")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    one, other = finder(images), finder(images.flip(3))
    assert torch.allclose(one.shares, other.shares.flip(3), atol=1e-5)
    assert torch.equal(one.is_face, other.is_face)


def test_files(tmp_path, network):
    """float16 keeps the network; another file is refused in a sentence."""
    path = tmp_path / region_network.FILE
    save(network, path)
    again = load(tmp_path)
    assert again.config == network.config
    images = torch.rand(1, 3, 32, 32)
    assert torch.allclose(again(images)[0], network(images)[0], atol=0.02)
    with pytest.raises(FileNotFoundError, match="expected a region network's file"):
        load(tmp_path / "nowhere")
    metadata, tensors = files.read_tensors(path)
    files.write_tensors(path, tensors, metadata | {"format": "other"})
    with pytest.raises(ValueError, match="is not a region network"):
        load(path)
    files.write_tensors(path, tensors, metadata | {"classes": '["nose"]'})
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


@pytest.mark.parametrize("sizes", [{"side": 40}, {"side": 8}, {"width": 0}, {"depth": 0}])
def test_wrong_sizes(sizes):
    with pytest.raises(ValueError, match="got"):
        RegionConfig(**sizes)
