"""The feature encoder: its prediction for every generator, its latents, and its recipe's terms."""

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.encoders.feature import FeatureConfig
from facsimile.encoders.files import FILE
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice

GENERATORS = pytest.mark.parametrize(
    "changes",
    [{}, {"img_channels": 1}, {"c_dim": 3}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)


def label_of(generator, n):
    return torch.eye(generator.c_dim)[[1] * n] if generator.c_dim else None


@GENERATORS
def test_every_layer(make_generator, make_encoder, changes):
    """The feature has the shape of the generator's, and its RGB skip is that of the codes."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    images = torch.rand(2, generator.img_channels, 16, 16) * 2 - 1
    for layer in generator.feature_layers:
        encoder = make_encoder("feature", generator, layer=layer)
        prediction = encoder.predict(images, generator)
        assert torch.equal(prediction.ws, encoder(images))
        codes = generator.synthesize(prediction.ws, stop=layer)
        x = codes.x + encoder.fusion.scale * prediction.change
        torch.testing.assert_close(prediction.feature.x, x)
        assert prediction.change.abs().max() > 0.01
        assert (prediction.feature.rgb is None) == (codes.rgb is None)
        assert codes.rgb is None or torch.equal(prediction.feature.rgb, codes.rgb)
        torch.testing.assert_close(prediction.image, generator.synthesize(prediction.ws))


def test_a_new_one_gives_the_picture_of_its_codes(generator, targets, make_encoder):
    encoder = make_encoder("feature", generator)
    torch.nn.init.zeros_(encoder.fusion.last.weight)
    latents = encoders.encode(encoder, generator, targets, "f/w+")
    expected = generator.synthesize(encoder(targets))
    torch.testing.assert_close(latents.synthesize(generator), expected)


@pytest.mark.parametrize(
    ("changes", "layer"),
    [({"side": 16}, "b4.conv1"), ({"side": 64}, "b16.conv0")]
    + [({"side": 16, "architecture": "stylegan1"}, None)]
    + [({"side": 16, "architecture": "stylegan3"}, None)],
    ids=str,
)
def test_the_default_layer_has_a_quarter_of_the_side(make_generator, changes, layer):
    generator = make_generator(**({"width": 8, "latent": 8} | changes))
    config = FeatureConfig.for_generator(generator, None, 8, 8, 8)
    assert config.side >= generator.resolution // 4
    names = generator.feature_layers
    before = names[: names.index(config.layer)]
    sides = {x.name: x.resolution for x in generator.synthesis.layers}
    assert all(sides[name] < generator.resolution // 4 for name in before)
    assert layer in (None, config.layer)


@GENERATORS
def test_latents(make_generator, make_encoder, changes):
    """Spaces that contain W+ have the picture that the encoder predicts. Codes of Z+ are on the
    sphere; one code for all inputs is that of the mean over the inputs after the feature."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    encoder = make_encoder("feature", generator, layer=generator.default_feature_layer())
    images = torch.rand(3, generator.img_channels, 16, 16) * 2 - 1
    label = label_of(generator, 3)
    prediction = encoder.predict(images, generator)
    ws, first = prediction.ws, generator.first_ws_index(prediction.feature.layer)
    mean = ws[:, first:].mean(1, keepdim=True).expand_as(ws)

    def encode(space):
        latents = encoders.encode(encoder, generator, images, space, label=label)
        assert torch.equal(latents.feature, prediction.feature.x)
        assert latents.code.shape[1:] == spaces.parse(latents.space)[0].shape(generator)
        return latents

    for space, codes in (("f/w+", ws), ("f/p_n+", ws), ("f/s", ws), ("f/w", mean), ("f/p_n", mean)):
        image = generator.synthesize(codes, start=prediction.feature)
        torch.testing.assert_close(
            encode(space).synthesize(generator), image, rtol=0, atol=1e-4, msg=space
        )
    latents = encode(None)
    assert latents.space == "f/z+"
    assert torch.equal(latents.code, encoder.to_z(ws, label))
    for space in ("f/z+", "f/z"):
        sizes = encode(space).code.square().mean(-1)
        torch.testing.assert_close(sizes, torch.ones_like(sizes))
    if generator.c_dim:
        assert not torch.equal(encoder.to_z(ws, label.roll(1, 1)), latents.code)
        with pytest.raises(ValueError, match="needs a label of length 3, got none"):
            encoders.encode(encoder, generator, images)


def test_an_image_does_not_influence_another(generator64, make_encoder):
    encoder = make_encoder("feature", generator64)
    images = torch.rand(8, 3, 32, 32, dtype=torch.float64) * 2 - 1
    batch = encoders.encode(encoder, generator64, images).tensors()
    singles = [encoders.encode(encoder, generator64, x[None]).tensors() for x in images]
    for name, x in batch.items():
        assert (x - torch.cat([single[name] for single in singles])).abs().max() < 1e-10


def test_scales_follow_the_generators(generator64, make_encoder):
    """Those of its samples, per channel; one that hardly varies gets a share of the mean scale."""
    encoder = make_encoder("feature", generator64)
    ws = generator64.map(torch.randn(64, generator64.z_dim, dtype=torch.float64))
    encoder.init_normalization(generator64, ws)
    x = generator64.synthesize(ws, stop=encoder.config.layer).x
    torch.testing.assert_close(encoder.fusion.mean[0, :, 0, 0], x.mean((0, 2, 3)))
    torch.testing.assert_close(encoder.fusion.scale[0, :, 0, 0], x.std((0, 2, 3)))
    x[:, 0] = 1.0
    encoder.fusion.init_normalization(x)
    expected = 1e-3 * x.std((0, 2, 3)).mean()
    torch.testing.assert_close(encoder.fusion.scale[0, 0, 0, 0], expected)


def test_a_space_without_a_feature(generator, targets, make_encoder):
    encoder = make_encoder("feature", generator)
    with pytest.raises(ValueError, match=r'kind feature cannot start "w\+"; take .*f/z\+'):
        encoders.encode(encoder, generator, targets, "w+")


def test_half_the_size(tmp_path, generator, targets, make_encoder):
    encoder = make_encoder("feature", generator)
    encoders.save(encoder, tmp_path / FILE, half=True)
    one, other = (
        encoders.encode(x, generator, targets).synthesize(generator)
        for x in (encoder, encoders.load(tmp_path, generator))
    )
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0, atol=0.01)


# Corrections --------------------------------------------------------------------------------------


def test_a_new_correction_changes_nothing(generator64, make_encoder):
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    plain, corrected = (make_encoder("feature", generator64, iterations=n) for n in (0, 2))
    corrected.load_state_dict(corrected.state_dict() | plain.state_dict())
    one, other = (x.predict(images, generator64) for x in (plain, corrected))
    assert torch.equal(one.feature.x, other.feature.x)
    image = generator64.synthesize(one.ws, start=one.feature)
    assert len(other.corrected) == 2
    for picture in other.corrected:
        assert torch.equal(picture, image)


def test_the_gradient_shows_the_way(generator64, make_encoder):
    """A correction that is the gradient, negative: every step lowers the pixel error, and an image
    does not influence another. With or without gradients of its own, the result is the same."""
    encoder = make_encoder("feature", generator64, iterations=3)
    encoder.fusion.correct = lambda photo, image, x, gradient: -0.05 * gradient / gradient.std()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        prediction = encoder.predict(images[:1], generator64)
    pictures = [*prediction.corrected]
    pictures.append(generator64.synthesize(prediction.ws, start=prediction.feature))
    errors = [float((x - images[:1]).square().mean()) for x in pictures]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.99 * errors[0]
    again = encoder.predict(images[:1], generator64)
    torch.testing.assert_close(again.feature.x, prediction.feature.x)


def test_corrections_of_a_batch(generator64, make_encoder, tmp_path):
    """Those of single images; and of the encoder in a file."""
    encoder = make_encoder("feature", generator64, iterations=2)
    torch.nn.init.normal_(encoder.fusion.correction.weight, std=0.1)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    batch = encoders.encode(encoder, generator64, images).tensors()
    singles = [encoders.encode(encoder, generator64, x[None]).tensors() for x in images]
    for name, x in batch.items():
        assert (x - torch.cat([single[name] for single in singles])).abs().max() < 1e-9
    encoders.save(encoder, tmp_path / FILE)
    loaded = encoders.load(tmp_path, generator64)
    assert loaded.config.iterations == 2
    assert torch.equal(encoders.encode(loaded, generator64, images).feature, batch["feature"])


# Its recipe ---------------------------------------------------------------------------------------


def test_the_terms(make_recipe):
    """Oracle: their formulas, from the recipe's networks."""
    recipe = make_recipe("feature", adversarial_weight=0.0, inverse_weight=0.5, precision="fp64")
    torch.nn.init.normal_(recipe.encoder.fusion.last.weight, std=0.1)
    batch = BatchSlice(3, 12, 4)
    losses, generator = recipe.losses("encoder", batch, recipe.forward(batch)), recipe.generator
    target = recipe._targets(batch)
    ws, feature, first, change, corrected = recipe.encoder.predict(target.image, generator)
    ws_of_z = generator.map(recipe.encoder.to_z(ws))
    scale = recipe.encoder.codes.scale
    pictures = {
        "codes ": (1.0, first),
        "": (1.0, generator.synthesize(ws, start=feature)),
        "inverse ": (0.5, generator.synthesize(ws_of_z, start=feature)),
    }
    expected = {
        "latent": 0.02 * ((ws - target.ws) / scale).square().mean(),
        "code size": 0.002 * ((ws - recipe.encoder.codes.mean) / scale).square().mean(),
        "feature reg": 0.002 * change.square().mean(),
        "inverse code": 0.5 * 0.001 * ((ws_of_z - ws) / scale).square().mean(),
    }
    assert not corrected
    for prefix, (weight, image) in pictures.items():
        expected[f"{prefix}pixel"] = weight * (image - target.image).square().mean()
        expected[f"{prefix}perceptual"] = weight * recipe.perceptual(image, target.image).mean()
    assert losses.keys() == {f"encoder/{name}" for name in expected}
    for name, value in expected.items():
        torch.testing.assert_close(losses[f"encoder/{name}"], value, msg=name)


def test_what_learns_from_which_term(make_recipe):
    """The inverse mapping, and nothing else, from its terms; the fusion from the final picture."""
    recipe = make_recipe("feature", adversarial_weight=0.0)
    torch.nn.init.normal_(recipe.encoder.fusion.last.weight, std=0.1)
    batch = BatchSlice(0, 0, 4)
    losses = recipe.losses("encoder", batch, recipe.forward(batch))
    parts = {name: list(x.parameters()) for name, x in recipe.encoder.named_children()}

    def learning(term):
        loss = losses[f"encoder/{term}"]
        return {
            name
            for name, weights in parts.items()
            if any(
                x is not None and x.abs().max() > 0
                for x in torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            )
        }

    assert learning("pixel") == learning("perceptual") == {"codes", "fusion"}
    assert learning("codes pixel") == learning("code size") == {"codes"}
    assert learning("feature reg") == {"fusion"}
    for term in ("inverse pixel", "inverse perceptual", "inverse code"):
        assert learning(term) == {"inverse"}


def test_corrections_are_learned(make_recipe, train_step):
    """On one batch the final picture becomes better than the first that is corrected."""
    recipe = make_recipe("feature", iterations=2, lr=0.01, lr_decay_images=100_000)
    for _ in range(12):
        losses = train_step(recipe, 0, 4)
    pixel = losses["encoder/pixel"]
    assert pixel < 2 * losses["encoder/iteration 1 pixel"]
    assert all(x.grad.abs().sum() > 0 for x in recipe.encoder.fusion.gradient.parameters())


def test_late_terms_grow(make_recipe):
    """From their share of the training on, for a tenth of it."""
    recipe = make_recipe("feature", images=100, lr_decay_images=400, adversarial_start=0.5)
    settings = recipe.settings
    growth = {
        step: recipe._growth(BatchSlice(step, 0, 4), settings.adversarial_start)
        for step in (0, 50, 55, 60, 99, 200)
    }
    assert growth == pytest.approx({0: 0, 50: 0, 55: 0.5, 60: 1, 99: 1, 200: 1})


@pytest.mark.parametrize(
    "changes",
    [{"architecture": "stylegan1"}, {"architecture": "stylegan3"}],
    ids=str,
)
def test_other_architectures_train(networks, make_recipe, train_step, changes):
    """A few steps on one batch lower the error; conditional ones are among those of all recipes."""
    folder = networks(**changes)
    layer = stylegan.load(folder / "generator.safetensors").default_feature_layer()
    recipe = make_recipe("feature", generator=folder, layer=layer, lr=0.01, lr_decay_images=100_000)
    errors = [train_step(recipe, 0, 4)["encoder/pixel"] for _ in range(12)]
    assert errors[-1] < 0.9 * errors[0]
