"""The base encoder: shapes, files, and that its recipe learns and goes on exactly."""

import pytest
import torch

import encoders
import stylegan
import train
from encoders import FILE
from encoders.base import BaseConfig, BaseEncoder
from encoders.base_recipe import BaseRecipe, BaseRun
from training import Host, Place


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_generator, make_discriminator):
    folder = tmp_path_factory.mktemp("networks")
    stylegan.save(make_generator(16, 8, 8), folder / "generator.safetensors")
    stylegan.save(make_discriminator(16, 8), folder / "discriminator.safetensors")
    return folder


@pytest.fixture(scope="module")
def arguments(folder):
    def told(out, **changes):
        flags = {
            "generator": folder,
            "perceptual": "discriminator",
            "layer": "b8.conv0",
            "width": 4,
            "batch": 4,
            "group": 2,
            "images": 40,
            "precision": "fp32",
            "device": "cpu",
            "save_every": 8,
            "samples": 2,
            "score_images": 4,
            "out": out,
        } | changes
        pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in flags.items()]
        return ["base", *sum(pairs, [])]

    return told


def encoder_of(generator, layer=None, rgb_skip="zero"):
    encoder = BaseEncoder(BaseConfig.of(generator, layer, 4, rgb_skip), group=2)
    encoder.to(generator.dtype)
    encoder.fit(generator, generator.map(torch.randn(4, generator.z_dim, dtype=generator.dtype)))
    return encoder


@pytest.mark.parametrize(
    "told",
    [{}, {"side": 64}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_layer_redraws(make_generator, told):
    """The feature has the shape of the generator's own, and the generator goes on from it."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    ws = generator.map(torch.randn(2, generator.z_dim))
    images = generator.synthesize(ws)
    for layer in generator.feature_layers:
        encoder = encoder_of(generator, layer, "keep").eval()
        own = generator.synthesize(ws, stop=layer)
        found = encoder.feature(images)
        assert found.x.shape == own.x.shape
        assert (found.rgb is None) == (own.rgb is None)
        assert generator.synthesize(ws, start=found).shape == images.shape


def test_the_photo_has_eight_times_the_side(make_generator):
    generator = make_generator(64, 8, 8)
    found = [BaseConfig.of(generator, f"b{side}.conv1", 4, "zero") for side in (4, 8, 16, 64)]
    assert [x.side << x.halvings for x in found] == [32, 64, 64, 64]


def test_images_do_not_influence_one_another(generator64):
    encoder = encoder_of(generator64).eval()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    alone = torch.cat([encoder(image[None]) for image in images])
    assert (encoder(images) - alone).abs().max() < 1e-12


@pytest.mark.parametrize("space", ["f/z", "f/z+", "f/w+", "f/s"])
@pytest.mark.parametrize("rgb_skip", ["zero", "keep"])
def test_latents(generator, targets, space, rgb_skip):
    """All but the feature is what `stylegan.start` gives."""
    encoder = encoder_of(generator, rgb_skip=rgb_skip).eval()
    found = encoders.latents(encoder, generator, targets, space, seed=3)
    wanted = stylegan.start(generator, space, len(targets), seed=3, rgb_skip=rgb_skip)
    tensors, others = found.tensors(), wanted.tensors()
    assert tensors.keys() == others.keys()
    assert torch.equal(tensors.pop("feature"), encoder(targets))
    assert all(torch.allclose(tensors[name], others[name], atol=1e-6) for name in tensors)
    assert found.draw(generator).shape == targets.shape


@pytest.mark.parametrize("rgb_skip", ["zero", "keep"])
def test_there_and_back(tmp_path, generator, targets, rgb_skip):
    encoder = encoder_of(generator, rgb_skip=rgb_skip).eval()
    encoders.save(encoder, tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        again = encoders.load(path, generator)
        assert again.config == encoder.config
        assert torch.equal(again(targets), encoder(targets))
        assert not any(weight.requires_grad for weight in again.parameters())


def test_refusals(tmp_path, generator, make_generator):
    encoder = encoder_of(generator)
    encoders.save(encoder, tmp_path / FILE)
    other = make_generator(seed=5)
    with pytest.raises(ValueError, match=f"{generator.fingerprint}.*{other.fingerprint}"):
        encoders.load(tmp_path, other)
    with pytest.raises(FileNotFoundError, match="expected an encoder's file"):
        encoders.load(tmp_path / "none", generator)
    stylegan.save(generator, tmp_path / "generator.safetensors")
    with pytest.raises(ValueError, match="is no encoder"):
        encoders.load(tmp_path / "generator.safetensors", generator)
    with pytest.raises(ValueError, match="32x16 pixels"):
        encoder(torch.zeros(1, 3, 16, 32))
    with pytest.raises(ValueError, match=r"takes \(N, 3, R, R\)"):
        encoder(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="take f/z"):
        encoders.latents(encoder, generator, torch.zeros(1, 3, 32, 32), "z+")


def test_one_batch_is_learned(tmp_path, folder):
    """On one batch of samples the loss falls to a twentieth; every weight gets a gradient."""
    run = BaseRun(
        out=tmp_path,
        generator=str(folder),
        layer="b8.conv0",
        perceptual="discriminator",
        width=16,
        batch=4,
        group=4,
        precision="fp32",
        lr=0.003,
    )
    recipe = BaseRecipe(run, Host(device=torch.device("cpu"), find=train.checkpoints.find))
    (player,) = recipe.players
    values = []
    for _ in range(150):
        player.optimizer.zero_grad()
        loss = sum(recipe.losses("base", Place(0, 0, 4, True)).values())
        loss.backward()
        if not values:
            for name, weight in player.module.named_parameters():
                assert weight.grad.abs().sum() > 0, name
        player.optimizer.step()
        recipe.after(Place(0, 0, 4, True))
        values.append(float(loss.detach()))
    assert values[-1] < values[0] / 20


def state(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]


def test_a_stopped_run_is_the_same_run(tmp_path, arguments, folder):
    """Bit for bit; and what it leaves is an encoder, a sheet, and scores."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train.main(arguments(whole)) == 0
    assert train.main(arguments(stopped, images=16)) == 0
    assert train.main(arguments(stopped)) == 0
    a, b = state(whole), state(stopped)
    assert a["step"] == b["step"] == 10
    for one, two in (
        (a["modules"]["base"], b["modules"]["base"]),
        (a["recipe"]["average"], b["recipe"]["average"]),
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "samples-000000040.png").exists()
    encoders.load(whole, train.checkpoints.find(folder).generator)


def test_micro_steps_change_nothing(tmp_path, arguments):
    """Two micro-steps of one group each are one step of two, but for rounding."""
    assert train.main(arguments(tmp_path / "one", precision="fp64")) == 0
    assert train.main(arguments(tmp_path / "two", precision="fp64", accumulate=2)) == 0
    one, two = (state(tmp_path / name)["modules"]["base"] for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": "b64.conv0"}, 'no layer "b64.conv0"'),
        ({"photos": "nowhere"}, "nowhere: no such file or folder"),
    ],
)
def test_wrong_use(tmp_path, arguments, capsys, changes, said):
    assert train.main(arguments(tmp_path / "run", **changes)) == train.WRONG_USE
    assert said in capsys.readouterr().err
