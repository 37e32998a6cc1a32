"""Every name that a user can type, with small stand-ins for the networks' files."""

from types import SimpleNamespace

import pytest

from facsimile.metrics import (
    PERCEPTUAL_METRICS,
    build_perceptual,
    lpips_distance,
    perceptual_metrics,
    squeezenet_features,
    vgg16_layers,
)
from facsimile.metrics.backbone_weights import MissingWeights
from facsimile.metrics.backbones import IMAGE2STYLEGAN


@pytest.fixture
def discriminator():
    def features(image):
        return [image, image[..., ::2, ::2]]

    return SimpleNamespace(features=features, img_resolution=32, img_channels=3)


@pytest.fixture
def random_weights(monkeypatch):
    """Networks with random weights in place of files."""

    def lpips_squeeze(net, weights):
        perceptual = lpips_distance("squeeze", random=True)
        perceptual.name = f"lpips-{net}"
        return perceptual

    def vgg(layers=IMAGE2STYLEGAN, weights=None, name="vgg16"):
        return vgg16_layers(layers, random=True, name=name)

    monkeypatch.setattr(perceptual_metrics, "lpips_distance", lpips_squeeze)
    monkeypatch.setattr(perceptual_metrics, "vgg16_layers", vgg)
    monkeypatch.setattr(
        perceptual_metrics, "squeezenet_features", lambda _: squeezenet_features(None, random=True)
    )


def missing(*_):
    raise MissingWeights("vgg16.pth is not to be had", "put it into a folder", "vgg16.pth")


@pytest.mark.usefixtures("random_weights")
def test_every_name_gives_what_it_says(discriminator, tmp_path):
    names = {
        name: getattr(build_perceptual(name, discriminator, tmp_path / "weights"), "name", None)
        for name in PERCEPTUAL_METRICS
    }
    special = {"auto": "lpips-vgg", "squeezenet": "squeezenet1_1", "none": None}
    assert names == {name: name for name in PERCEPTUAL_METRICS} | special


@pytest.mark.usefixtures("random_weights")
def test_every_choice_has_a_note_of_one_line(discriminator, tmp_path):
    for name in PERCEPTUAL_METRICS[:-1]:
        note = build_perceptual(name, discriminator, tmp_path / "weights").note
        assert note
        assert "\n" not in note


@pytest.mark.usefixtures("random_weights")
def test_the_two_papers_have_their_own_layers():
    assert "conv3_2, conv4_2" in build_perceptual("vgg16").description
    assert "conv2_2, conv3_3" in build_perceptual("vgg16++").description


def test_auto_falls_back_on_the_discriminator_and_says_why(monkeypatch, discriminator):
    monkeypatch.setattr(perceptual_metrics, "lpips_distance", missing)
    perceptual = build_perceptual("auto", discriminator)
    assert perceptual.name == "discriminator"
    reason = "own discriminator, as LPIPS-VGG's weights, vgg16.pth, are not here: put it into a"
    assert reason in perceptual.note


def test_auto_with_nothing_at_hand_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(perceptual_metrics, "lpips_distance", missing)
    with pytest.raises(FileNotFoundError, match=r"vgg16.pth.*discriminator.*none"):
        build_perceptual("auto")


def test_auto_does_not_hide_a_wrong_path(monkeypatch, discriminator, tmp_path):
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        build_perceptual("auto", discriminator, tmp_path / "missing.pth")


def test_errors_say_the_remedy():
    with pytest.raises(ValueError, match="perceptual='lpips', expected one of auto, lpips-alex"):
        build_perceptual("lpips")
    with pytest.raises(ValueError, match="squeezenet got no weights.*pass its path as weights"):
        build_perceptual("squeezenet")
    with pytest.raises(ValueError, match="got no discriminator.*choose another"):
        build_perceptual("discriminator")
