"""Oracles: a plain loop, batch mates, finite differences."""

import pytest
import torch
import torch.nn.functional as F

from facsimile import stylegan
from facsimile.stylegan.discriminator import minibatch_std


@pytest.mark.parametrize(("n", "group"), [(8, 4), (4, 4), (2, 4), (6, 2), (3, 1)])
def test_minibatch_std_is_that_of_a_loop(n, group):
    x = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = min(group, n)
    groups = n // size
    expected = torch.zeros(n, 1, 4, 4, dtype=torch.float64)
    for first in range(groups):
        members = [first + k * groups for k in range(size)]
        total = 0.0
        for c in range(3):
            for i in range(4):
                for j in range(4):
                    values = [x[m, c, i, j].item() for m in members]
                    mean = sum(values) / size
                    variance = sum((value - mean) ** 2 for value in values) / size
                    total += (variance + 1e-8) ** 0.5
        expected[members] = total / (3 * 4 * 4)
    torch.testing.assert_close(minibatch_std(x, group), expected)


def test_minibatch_std_wants_whole_groups():
    with pytest.raises(ValueError, match="got a batch of 6.*a multiple of 4"):
        minibatch_std(torch.zeros(6, 1, 4, 4), 4)


@pytest.mark.parametrize("downsampling", ["fir", "mean"])
def test_features_do_not_depend_on_the_batch(make_discriminator, targets, downsampling):
    discriminator = make_discriminator(downsampling=downsampling).double()
    images = targets.double()
    batch = discriminator.features(images)
    assert [x.shape[-1] for x in batch] == [16, 8, 4]
    changed = discriminator.features(torch.cat([images[:1], -images[1:]]))
    for whole, other in zip(batch, changed, strict=True):
        torch.testing.assert_close(whole[:1], other[:1], atol=1e-12, rtol=0)
        assert (whole[1:] - other[1:]).abs().max() > 0.1


def test_logits_do_depend_on_the_batch(discriminator, targets):
    first = discriminator(targets)[0]
    assert first.shape == (1,)
    assert (discriminator(targets[:1])[0] - first).abs() > 1e-4


def test_a_mean_in_place_of_the_filter_is_another_network(make_discriminator, targets):
    fir, mean = (make_discriminator(downsampling=how)(targets) for how in ("fir", "mean"))
    assert (fir - mean).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options", [{"mapping_layers": 0}, {"c_dim": 3, "conv_clamp": 256.0, "mbstd_group": 2}]
)
def test_files_keep_everything(make_discriminator, targets, tmp_path, options):
    discriminator = make_discriminator(downsampling="mean", **options)
    path = tmp_path / "discriminator.safetensors"
    stylegan.save(discriminator, path)
    again = stylegan.load_discriminator(path)
    assert again.config == discriminator.config
    c = torch.eye(3)[[0, 1, 2, 0]] if discriminator.config.c_dim else None
    assert torch.equal(again(targets, c), discriminator(targets, c))


def test_labels_count(make_discriminator, targets):
    discriminator = make_discriminator(c_dim=3)
    one, other = (discriminator(targets, torch.eye(3)[[i] * 4]) for i in (0, 1))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(ValueError, match="needs a label of length 3, got none; pass"):
        discriminator(targets)
    with pytest.raises(ValueError, match="got one of length 2"):
        discriminator(targets, torch.zeros(4, 2))


@pytest.mark.parametrize("architecture", ["stylegan1", "stylegan2"])
def test_gradient_of_r1_is_that_of_finite_differences(make_discriminator, architecture):
    """The penalty |dD/dx|^2 needs second derivatives of every layer."""
    discriminator = make_discriminator(8, 4, architecture=architecture)
    discriminator.double().requires_grad_(True)
    image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()

    def penalty():
        x = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    gradients = torch.autograd.grad(penalty(), weights)
    source = torch.Generator().manual_seed(1)
    directions = [torch.randn(w.shape, generator=source).double() for w in weights]
    for weight, gradient, direction in zip(weights, gradients, directions, strict=True):
        step = 1e-6 / direction.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * step * direction
            values.append(penalty().item())
            with torch.no_grad():
                weight -= sign * step * direction
        slope = (values[0] - values[1]) / (2 * step.item())
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-7)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


# StyleGAN1 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(make_discriminator):
    return make_discriminator(16, 4, architecture="stylegan1", c_dim=3).double()


def test_stylegan1_in_plain_operations(plain):
    """D_basic: no residuals, the He gain on every weight but the last, none on a bias."""
    state = plain.state_dict()
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).double() / 16
    image = torch.randn(4, 3, 16, 16).double()

    def conv(x, name, down=False):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        scale = (2 / weight[0].numel()) ** 0.5
        x = F.conv2d(x, weight * scale, padding=weight.shape[-1] // 2)
        x = F.avg_pool2d(x, 2) if down else x
        return F.leaky_relu(x + bias[:, None, None], 0.2)

    x, features = conv(image, "b16.fromrgb"), []
    for side in (16, 8):
        x = conv(x, f"b{side}.conv0")
        x = F.conv2d(x, kernel.expand(4, 1, 3, 3), padding=1, groups=4)
        x = conv(x, f"b{side}.conv1", down=True)
        features.append(x)
    for got, expected in zip(plain.features(image), features, strict=True):
        torch.testing.assert_close(got, expected)
    x = conv(torch.cat([x, minibatch_std(x, 4)], 1), "b4.conv").flatten(1)
    x = F.linear(x, state["b4.fc.weight"] * (2 / x.shape[1]) ** 0.5, state["b4.fc.bias"])
    x = F.leaky_relu(x, 0.2)
    scores = F.linear(x, state["b4.out.weight"] * 0.5, state["b4.out.bias"])
    c = torch.eye(3).double()[[2, 0, 1, 1]]
    expected = scores[range(4), [2, 0, 1, 1]][:, None]
    torch.testing.assert_close(plain(image, c), expected)
    with pytest.raises(ValueError, match="needs a label of length 3, got none"):
        plain(image)


def test_stylegan1_without_labels(make_discriminator, targets):
    discriminator = make_discriminator(architecture="stylegan1")
    names = {name.rpartition(".")[0] for name in discriminator.state_dict()}
    blocks = {f"b{side}.conv{i}" for side in (8, 16, 32) for i in (0, 1)}
    assert names == blocks | {"b32.fromrgb", "b4.conv", "b4.fc", "b4.out"}
    assert discriminator(targets).shape == (4, 1)
    assert [x.shape[-1] for x in discriminator.features(targets)] == [16, 8, 4]
