"""The base encoder's passes: what they see, and how they are trained."""

import pytest
import torch

import train
from facsimile import encoders
from facsimile.encoders.feature import FeatureConfig, FeatureEncoder
from facsimile.encoders.files import FILE
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice


@pytest.fixture
def eyes(make_discriminator, generator):
    return make_discriminator(generator.resolution)


def shaken(encoder):
    """With a head that changes something, which it does not do at first."""
    torch.nn.init.normal_(encoder.feedback.head.weight, std=0.1)
    return encoder


@pytest.mark.parametrize(
    "told",
    [{}, {"side": 64}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_layer(make_generator, make_encoder, told):
    """Before the first step nothing changes, nearly; a change has the feature's shape."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    ws = generator.map(torch.randn(2, generator.z_dim))
    images = generator.synthesize(ws).clamp(-1, 1)
    for layer in generator.feature_layers:
        encoder = make_encoder("base", generator, layer=layer, passes=2)
        first = encoder.feature(images)

        def draw(x, first=first):
            return generator.synthesize(ws, start=first._replace(x=x))

        after = encoder.corrected(images, first.x, draw)
        assert 0 < (after - first.x).abs().max() < 0.2 * encoder.scale
        assert after.shape == first.x.shape


@pytest.mark.parametrize("space", ["f/z+", "f/w+"])
def test_latents_draw_with_the_code_of_their_start(generator, targets, make_encoder, eyes, space):
    encoder = shaken(make_encoder("base", generator, passes=3, eyes=eyes))
    found = encoders.encode(encoder, generator, targets, space, seed=3)
    x = encoder(targets)
    photo = encoder.feedback.look(targets)
    for _ in range(3):
        drawn = found.with_tensors(found.tensors() | {"feature": x}).draw(generator)
        x = encoder.corrected_once(photo, x, drawn)
    assert torch.equal(found.feature, x)
    assert not torch.allclose(x, encoder(targets), atol=1e-2)


def test_images_do_not_influence_one_another(generator64, make_discriminator, make_encoder):
    eyes = make_discriminator(generator64.resolution).double()
    encoder = shaken(make_encoder("base", generator64, passes=2, eyes=eyes))
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    whole = encoders.encode(encoder, generator64, images, "f/w+").feature
    alone = [encoders.encode(encoder, generator64, x[None], "f/w+").feature for x in images]
    assert (whole - torch.cat(alone)).abs().max() < 1e-10


def test_the_eyes_are_in_the_file(tmp_path, generator, targets, make_encoder, eyes):
    encoder = shaken(make_encoder("base", generator, passes=1, eyes=eyes))
    encoders.save(encoder, tmp_path / FILE)
    again = encoders.load(tmp_path, generator)
    assert again.config == encoder.config
    mine, theirs = (encoders.encode(x, generator, targets).feature for x in (encoder, again))
    assert torch.equal(mine, theirs)
    # And they are looked through: other eyes, another feature.
    for weight in again.feedback.eyes.parameters():
        weight.data.neg_()
    assert not torch.equal(encoders.encode(again, generator, targets).feature, mine)


def test_whose_eyes(generator, make_discriminator, make_encoder):
    old = make_discriminator(generator.resolution, architecture="stylegan1")
    assert make_encoder("base", generator, passes=1, eyes=old).config.eyes is None
    new = make_discriminator(generator.resolution)
    assert make_encoder("base", generator, passes=0, eyes=new).config.eyes is None


def test_passes_are_added_to_a_trained_encoder(tmp_path, arguments):
    one, more = tmp_path / "one", tmp_path / "more"
    assert train.main(arguments("base", one, images=8, passes=0)) == 0
    told = {"images": 4, "from": one, "lr": 1e-12, "average": 1e9, "average_ramp": 0}
    assert train.main(arguments("base", more, **told)) == 0
    one, more = (encoders.read(path) for path in (one, more))
    assert (one.config.passes, more.config.passes) == (0, 2)
    held = more.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(held[name], value, atol=1e-6, rtol=0)


def test_eyes_are_not_added_to_passes(tmp_path, arguments, capsys, make_recipe):
    """Passes that were trained without eyes have no weights for what they would see."""
    blind = make_recipe("base")._find().generator
    encoders.save(_without_eyes(blind), tmp_path / FILE)
    told = {"images": 4, "from": tmp_path}
    assert train.main(arguments("base", tmp_path / "run", **told)) == train.WRONG_USE
    assert "has eyes None, and this run is for" in capsys.readouterr().err


def _without_eyes(generator):
    config = FeatureConfig.of(generator, "b8.conv0", 4, "zero", passes=2)
    return FeatureEncoder(config, group=2)


def test_some_samples_are_mixed(make_recipe):
    recipe = make_recipe("base", batch=16, mixed=0.5)
    place = BatchSlice(0, 0, 16, True)
    ws, _ = recipe._codes(place)
    apart = (recipe._mixed(ws, place) - recipe._photo(ws)).abs().amax((1, 2, 3))
    assert 0 < (apart < 1e-5).sum() < 16
    assert apart.max() > 1e-2


def test_the_losses_are_means_over_the_passes(make_recipe):
    """Of an encoder whose passes change nothing, and the codes of one kind: those of that image."""
    recipe = make_recipe("base", passes=3, mixed=0)
    torch.nn.init.zeros_(recipe.encoder.feedback.head.weight)
    place = BatchSlice(0, 0, 4, True)
    losses = {name: float(x.detach()) for name, x in recipe.losses("base", place).items()}
    third = (3 * recipe.draws.numbers("drawn with", place, torch.rand, 1, 1)).long()
    own, others = recipe._codes(place)[0], recipe._codes(place, 2)[0]
    mean = spaces.SPACES["w+"].start(recipe.generator, 1, "mean").expand_as(own)
    ws = torch.where(third == 0, own, torch.where(third == 1, mean, others))
    target = recipe._photo(own)
    drawn = recipe.generator.synthesize(ws, start=recipe.encoder.feature(target))
    wanted = float((drawn - target).square().mean().detach())
    assert losses["base/again pixel"] == pytest.approx(wanted, rel=1e-4)
    assert losses["base/pixel"] != losses["base/again pixel"]
