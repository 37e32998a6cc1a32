"""Oracles: the lpips package, torchvision's layers one by one. All weights are random."""

import lpips
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_1

from facsimile.metrics import (
    discriminator_features,
    lpips_distance,
    squeezenet_features,
    vgg16_layers,
)
from facsimile.metrics.backbones import IMAGE2STYLEGAN, IMAGE2STYLEGAN_PP


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def package(net):
    """The lpips package's module with a random backbone, and its weights by torchvision's names."""
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).requires_grad_(False)
    state = {
        "features." + name.partition(".")[2]: tensor
        for name, tensor in model.net.state_dict().items()
    }
    return model, state


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_is_that_of_the_package(net, tmp_path):
    torch.manual_seed(3)
    model, state = package(net)
    save_file(state | {"classifier.weight": torch.zeros(2)}, tmp_path / "backbone.safetensors")
    ours = lpips_distance(net, tmp_path / "backbone.safetensors")
    a, b = images(2, 3, 64, 64).requires_grad_(), images(2, 3, 64, 64, seed=1)
    expected, value = model(a, b).flatten(), ours(a, b)
    assert ours.name == f"lpips-{net}"
    assert (expected > 1e-3).all()
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    slopes = [torch.autograd.grad(x.sum(), a)[0] for x in (value, expected)]
    torch.testing.assert_close(*slopes, atol=1e-6 * slopes[1].abs().max().item(), rtol=1e-3)
    assert ours(b, b).tolist() == [0, 0]


def test_lpips_leaves_random_numbers_and_warnings_alone(recwarn):
    state = torch.get_rng_state()
    first, second = (lpips_distance("squeeze", random=True) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not recwarn
    a, b = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1)
    assert torch.equal(first(a, b), second(a, b))


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_black_images_have_finite_gradients(net):
    a = torch.zeros(1, 3, 32, 32, requires_grad=True)
    perceptual = lpips_distance(net, random=True)
    perceptual(a, images(1, 3, 32, 32)).sum().backward()
    assert a.grad.isfinite().all()


def test_lpips_takes_tiny_and_large_images():
    for perceptual in (lpips_distance("alex", random=True), lpips_distance("squeeze", random=True)):
        for side in (8, 300):
            assert perceptual(images(1, 3, side, side), images(1, 3, side, side, seed=1)) > 0


def test_unknown_net():
    with pytest.raises(ValueError, match="net='vgg19', expected one of alex, vgg, squeeze"):
        lpips_distance("vgg19")


@pytest.mark.parametrize(
    ("layers", "relus"), [(IMAGE2STYLEGAN, (1, 3, 13, 20)), (IMAGE2STYLEGAN_PP, (1, 3, 8, 15))]
)
def test_vgg16_is_the_papers_sum_over_torchvisions_layers(layers, relus):
    perceptual = vgg16_layers(layers, random=True)
    stack = [layer for part in perceptual.network.slices for layer in part]
    assert len(stack) == relus[-1] + 1  # nothing is computed beyond the last layer
    a, b = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)

    def plain(image):
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        x, outputs = ((image + 1) / 2 - mean) / deviation, []
        for index, layer in enumerate(stack):
            x = x.clamp(min=0) if isinstance(layer, nn.ReLU) else layer(x)
            if index in relus:
                outputs.append(x.clone())
        return outputs

    outputs = list(zip(plain(a), plain(b), strict=True))
    expected = sum(((x - y) ** 2).mean((1, 2, 3)) for x, y in outputs)
    torch.testing.assert_close(perceptual(a, b), expected, rtol=1e-4, atol=1e-6)
    for feature, (output, _) in zip(perceptual.features(a), outputs, strict=True):
        scaled = output / output.shape[1] ** 0.5
        torch.testing.assert_close(feature, scaled, rtol=1e-4, atol=1e-5)


def test_vgg16_reads_a_state_dict_and_has_a_gradient(tmp_path):
    source = vgg16_layers(("conv1_2",), random=True)
    names = {"0": "features.0", "1.0": "features.2"}
    state = {
        f"{names[part]}.{kind}": source.network.slices.get_submodule(module).get_parameter(kind)
        for part, module in {"0": "0.0", "1.0": "0.2"}.items()
        for kind in ("weight", "bias")
    }
    torch.save(state, tmp_path / "vgg.pth")
    loaded = vgg16_layers(("conv1_2",), tmp_path / "vgg.pth")
    a, b = images(1, 3, 16, 16).requires_grad_(), images(1, 3, 16, 16, seed=1)
    value = loaded(a, b)
    assert torch.equal(value, source(a, b))
    value.sum().backward()
    assert a.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_vgg16_names_its_layers_in_the_error():
    with pytest.raises(ValueError, match=r"layers \['conv9_1'\].*conv1_1, .*, conv5_3"):
        vgg16_layers(("conv9_1",), random=True)


def test_squeezenet_is_the_mean_of_unit_differences(tmp_path):
    network = squeezenet1_1().eval()
    save_file(network.state_dict(), tmp_path / "squeezenet.safetensors")
    perceptual = squeezenet_features(tmp_path / "squeezenet.safetensors")
    assert perceptual.name == "squeezenet1_1"
    assert "not LPIPS" in perceptual.description
    a, b = images(2, 3, 48, 48), images(2, 3, 48, 48, seed=1)
    model, _ = package("squeeze")
    model.net.load_state_dict(
        {
            name: network.state_dict()["features." + name.partition(".")[2]]
            for name in model.net.state_dict()
        }
    )
    scaled = [model.net(model.scaling_layer(x)) for x in (a, b)]
    layers = [1 - torch.cosine_similarity(x, y).mean((1, 2)) for x, y in zip(*scaled, strict=True)]
    expected = 2 * torch.stack(layers).mean(0)
    torch.testing.assert_close(perceptual(a, b), expected, rtol=1e-4, atol=1e-6)


class FakeDiscriminator(nn.Module):
    """Three convolutional blocks."""

    def __init__(self, img_resolution=32, img_channels=3):
        super().__init__()
        self.img_resolution, self.img_channels = img_resolution, img_channels
        widths = (img_channels, 8, 12, 16)
        self.blocks = nn.ModuleList(
            nn.Conv2d(*pair, 3, 1 if pair[0] == img_channels else 2, 1)
            for pair in zip(widths, widths[1:], strict=False)
        )

    def features(self, image):
        outputs = []
        for block in self.blocks:
            image = nn.functional.leaky_relu(block(image), 0.2)
            outputs.append(image)
        return outputs


def test_discriminator_distance_is_a_mean_of_one_minus_cosine():
    network = FakeDiscriminator()
    perceptual = discriminator_features(network)
    a, b = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    layers = [
        1 - torch.cosine_similarity(x, y).mean((1, 2))
        for x, y in zip(network.features(a), network.features(b), strict=True)
    ]
    expected = torch.stack(layers).mean(0)
    value = perceptual(a, b)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert ((value > 0) & (value < 2)).all()
    assert perceptual(a, a).tolist() == [0, 0]
    torch.testing.assert_close(value, perceptual(b, a))


def test_discriminator_sees_its_own_resolution_and_channels():
    perceptual = discriminator_features(FakeDiscriminator(32, 1))
    for side, seen in ((64, 32), (40, 32), (16, 16), (18, 16)):
        assert perceptual.features(images(1, 1, side, side))[0].shape[2:] == (seen, seen)
    with pytest.raises(ValueError, match="images of 3 channels, discriminator takes 1"):
        perceptual.features(images(1, 3, 32, 32))


def test_discriminator_in_training_is_copied_and_a_frozen_one_shared():
    network = FakeDiscriminator()
    perceptual = discriminator_features(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())
    network.eval().requires_grad_(False)
    assert discriminator_features(network).network.discriminator is network
