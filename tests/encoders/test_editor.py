"""The feature editor: a new one is F + delta; its recipe's edits, pairs, files and resumed runs."""

import shutil
from dataclasses import replace

import pytest
import torch

from facsimile import checkpoints, encoders
from facsimile.commands.train import WRONG_USE, main
from facsimile.data.landmarks import Landmarks
from facsimile.editing.feature_transport import FeatureTransport
from facsimile.encoders import KINDS
from facsimile.encoders.editor import EditorConfig, FeatureEditor
from facsimile.encoders.editor.edits import NUMBERS, random_changes
from facsimile.encoders.editor.settings import EditorSettings, EditSettings
from facsimile.stylegan.statistics import principal_directions
from facsimile.training import BatchSlice, Distributed

LAYER = "b8.conv1"


@pytest.fixture(scope="module")
def make_editor():
    """make_editor(generator, random) -> a tiny editor; random: not the weights of a new one."""

    def made(generator, random=0.0):
        editor = FeatureEditor(EditorConfig.for_generator(generator, LAYER, 8)).to(generator.dtype)
        z = torch.randn(16, generator.z_dim, dtype=generator.dtype)
        editor.init_normalization(generator, generator.map(z))
        with torch.no_grad():
            for weight in editor.parameters():
                weight.add_(random * torch.randn_like(weight))
        return editor.requires_grad_(False)

    return made


@pytest.fixture(scope="module")
def make_network(tmp_path_factory, networks):
    """make_network(**changes) -> the folder of a generator of 16 px with an in-domain encoder and a
    feature encoder."""

    def made(**changes):
        path = tmp_path_factory.mktemp("network") / "all"
        shutil.copytree(networks(**changes), path)
        generator = checkpoints.find(path).generator
        kind = KINDS["feature"]
        layer = generator.default_feature_layer() if "architecture" in changes else LAYER
        encoder = kind.network(kind.config.for_generator(generator, layer, 8, 8))
        label = torch.eye(generator.c_dim)[[0] * 16] if generator.c_dim else None
        ws = generator.map(torch.randn(16, generator.z_dim), label)
        encoder.init_normalization(generator, ws)
        with torch.no_grad():
            for weight in encoder.fusion.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
        encoders.save(encoder, path / "feature.safetensors")
        return path

    return made


@pytest.fixture(scope="module")
def network(make_network):
    return make_network()


@pytest.fixture
def make_recipe(network, tmp_path):
    """make_recipe(folder, **changes) -> the recipe of a tiny run with the networks of a folder."""

    def made(folder=network, **changes):
        settings = {"out": tmp_path / "run", "batch": 6, "width": 8, "device": "cpu"}
        settings = EditorSettings(**settings | {"precision": "fp32"} | changes)
        distributed = Distributed(
            device=torch.device("cpu"),
            load_networks=lambda name, **options: checkpoints.find(folder, **options),
        )
        recipe = KINDS["editor"].recipe(settings, distributed)
        recipe.setup_data()
        return recipe

    return made


def photos_of(pictures, fraction=None):
    return encoders.settings.PhotoSettings(data=(str(pictures),), real_fraction=fraction)


# The network --------------------------------------------------------------------------------------


def test_a_new_editor_adds_the_change(generator64, make_editor):
    editor = make_editor(generator64)
    ws = generator64.map(torch.randn(3, generator64.z_dim, dtype=torch.float64))
    x, y = (generator64.synthesize(w, stop=LAYER).x for w in (ws, ws.roll(1, 0)))
    assert torch.equal(editor(x, y - x), x + (y - x))
    assert torch.equal(editor(x, torch.zeros_like(x)), x)


def test_its_scale_is_that_of_features(generator64, make_editor):
    """Features k times as large, and a scale k times as large: the result is k times as large."""
    editor = make_editor(generator64, 0.3)
    shape = (2, *editor.mean.shape[1:2], 8, 8)
    x, delta = torch.randn(2, *shape, dtype=torch.float64)
    once = editor(x, delta)
    editor.mean.mul_(3)
    editor.scale.mul_(3)
    torch.testing.assert_close(editor(3 * x, 3 * delta), 3 * once)
    rng = torch.randn(500, generator64.z_dim, dtype=torch.float64)
    features = generator64.synthesize(generator64.map(rng), stop=LAYER).x
    editor.init_normalization(generator64, generator64.map(rng))
    torch.testing.assert_close(editor.mean[0, :, 0, 0], features.mean((0, 2, 3)))
    torch.testing.assert_close(editor.scale[0, :, 0, 0], features.std((0, 2, 3)))


def test_an_image_does_not_influence_another(generator64, make_editor):
    editor = make_editor(generator64, 0.3)
    x, delta = torch.randn(2, 4, editor.config.channels, 8, 8, dtype=torch.float64)
    both = editor(x, delta)
    one = torch.cat([editor(x[[i]], delta[[i]]) for i in range(4)])
    torch.testing.assert_close(both, one)
    assert not torch.allclose(both, x + delta, atol=1e-3)


def test_the_gate(generator64, make_editor):
    """Half where the change is as large as the gate; nothing, or all, at some distance from it."""
    editor = make_editor(generator64)
    delta = torch.zeros(3, editor.config.channels, 16, 16, dtype=torch.float64)
    assert not editor.in_domain_share(delta + 1).any()
    config = replace(editor.config, gate=0.5)
    gated = FeatureEditor(config).double()
    gated.load_state_dict(editor.state_dict())
    for i, size in enumerate((0.25, 0.5, 1.0)):
        delta[i] = size**0.5 * editor.scale[0]
    share = gated.in_domain_share(delta)
    assert share.shape == (3, 1, 16, 16)
    expected = torch.tensor([1 / 17, 1 / 2, 16 / 17], dtype=torch.float64)
    torch.testing.assert_close(share, expected[:, None, None, None].expand_as(share))
    # It looks at what is around a place.
    delta[2, :, :, 8:] = 0
    share = gated.in_domain_share(delta)[2, 0, 0]
    assert share[0] > 0.9
    assert share[-1] == 0
    assert (share.diff() <= 1e-12).all()
    with pytest.raises(ValueError, match="the gate is 0; it must be above 0, or None"):
        replace(editor.config, gate=0)


def test_half_of_what_the_network_adds(generator64, make_editor):
    editor = make_editor(generator64, 0.3)
    half = FeatureEditor(replace(editor.config, residual_weight=0.5)).double()
    half.load_state_dict(editor.state_dict())
    x, delta = torch.randn(2, 2, editor.config.channels, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(half(x, delta), (x + delta + editor(x, delta)) / 2)


def test_files(generator, make_editor, tmp_path):
    editor = make_editor(generator, 0.3)
    encoders.save(editor, tmp_path / "editor.safetensors")
    loaded = encoders.load(tmp_path / "editor.safetensors", generator)
    assert loaded.config == editor.config
    x, delta = torch.randn(2, 2, editor.config.channels, 8, 8)
    assert torch.equal(loaded(x, delta), editor(x, delta))
    kind = encoders.kind_of(loaded)
    assert (kind.name, kind.predicts, kind.spaces) == ("editor", "feature edit", ())
    with pytest.raises(ValueError, match="the kind editor edits features and starts no latents"):
        encoders.encode(loaded, generator, torch.zeros(1, 3, 32, 32))


def test_impossible_sizes(generator):
    with pytest.raises(ValueError, match="the width is 12; it must be a multiple of 8"):
        EditorConfig(fingerprint="", layer=LAYER, channels=4, width=12, inner_width=8)
    with pytest.raises(ValueError, match='no layer "b64.conv0"'):
        EditorConfig.for_generator(generator, "b64.conv0", 8)


# Edits --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codes(generator64):
    """(2, 64, L, D): codes of samples, and others."""
    z = torch.randn(128, generator64.z_dim, dtype=torch.float64)
    return generator64.map(z).view(2, 64, generator64.num_ws, -1)


def test_steps_along_components(generator64, codes):
    directions = principal_directions(generator64)[:5]
    settings = EditSettings(components=5, max_strength=2.0, direction_share=1.0)
    uniform = torch.rand(64, NUMBERS, dtype=torch.float64)
    change = random_changes(settings, directions, *codes, uniform)
    moved = change.abs().sum(2) > 0  # (N, L)
    counts = moved.sum(1)
    assert counts.min() > 0
    assert (counts == moved.shape[1]).any()
    assert (counts < moved.shape[1]).any()
    signs = []
    for one, inputs in zip(change, moved, strict=True):
        # One range of inputs, the same step in each, of a length between 0.5 and 2.
        assert inputs.nonzero()[:, 0].diff().eq(1).all()
        step = one[inputs]
        torch.testing.assert_close(step, step[:1].expand_as(step))
        ratio = step[0] @ directions.T / directions.square().sum(1)
        number = ratio.abs().argmax()
        torch.testing.assert_close(step[0], ratio[number] * directions[number])
        assert 0.5 <= ratio[number].abs() <= 2
        signs.append(float(ratio[number].sign()))
    assert set(signs) == {-1.0, 1.0}


def test_part_of_the_way_to_another_sample(codes):
    ws, other = codes
    uniform = torch.rand(64, NUMBERS, dtype=torch.float64)
    settings = EditSettings(direction_share=0.0)
    change = random_changes(settings, torch.ones(3, ws.shape[2]).double(), ws, other, uniform)
    share = (change * (other - ws)).sum((1, 2)) / (other - ws).square().sum((1, 2))
    everywhere = (change.abs().sum(2) > 0).all(1)
    assert everywhere.any()
    assert (share[everywhere] > 0.199).all()
    assert (share[everywhere] < 0.701).all()
    expected = share[:, None, None] * (other - ws)
    torch.testing.assert_close(change[everywhere], expected[everywhere])


# The recipe ---------------------------------------------------------------------------------------


def test_pairs(make_recipe, pictures):
    """Of fifteen images nine are photos; three of these, on average, are their own target, and
    three are edited."""
    recipe = make_recipe(photos=photos_of(pictures), batch=60, distance_weight=1.0)
    pairs = recipe._pairs(BatchSlice(0, 0, 60))
    photos = recipe.sampler.images(recipe.photos, BatchSlice(0, 0, 60), True)
    still = (pairs.change == 0).flatten(1).all(1)
    free = pairs.is_edited_photo
    assert 5 <= int(still.sum()) <= 20
    assert 5 <= int(free.sum()) <= 20
    assert not (still & free).any()
    assert torch.equal(pairs.image[still | free], photos[still | free])
    assert torch.equal(pairs.image[still], pairs.target[still])
    torch.testing.assert_close(pairs.ws[still | free], recipe.in_domain(pairs.image[still | free]))
    # The others are samples; the codes of some are known, and give image and target.
    ws, change = pairs.ws[~still], pairs.change[~still]
    images, targets = (recipe.generator.synthesize(x).clamp(-1, 1) for x in (ws, ws + change))
    exact = (images - pairs.image[~still]).abs().amax((1, 2, 3)) < 1e-4
    assert 8 <= int(exact.sum()) <= len(exact) - 8
    # An edited photo is compared with its in-domain code's picture.
    known = exact | free[~still]
    torch.testing.assert_close(targets[known], pairs.target[~still][known], rtol=0, atol=1e-4)
    predicted = recipe.in_domain(pairs.image[~still])
    torch.testing.assert_close(ws[~exact], predicted[~exact])


def test_edited_photos_have_terms_of_their_own(make_recipe, pictures):
    """The distance is the whole way where nothing moves; all of them reach the editor."""
    batch, weights = BatchSlice(0, 0, 12), {"distance_weight": 2.0, "adversarial_weight": 0.5}
    recipe = make_recipe(photos=photos_of(pictures, 1.0), batch=12, **weights)
    edited = recipe.forward(batch)
    losses = recipe.losses("encoder", batch, edited)
    assert {"encoder/distance", "encoder/adversarial", "encoder/pixel"} <= losses.keys()
    pairs = edited.pairs
    for name in ("encoder/distance", "encoder/adversarial"):
        (gradient,) = torch.autograd.grad(
            losses[name], recipe.encoder.last.weight, retain_graph=True
        )
        assert gradient.abs().sum() > 0, name
    with torch.no_grad():
        prediction = recipe.feature.predict(pairs.image, recipe.generator)
        own = recipe.generator.synthesize(prediction.ws, start=prediction.feature)
        still = recipe._photo_losses(edited._replace(image=own))["encoder/distance"]
    share = pairs.is_edited_photo.float().mean()
    torch.testing.assert_close(still, 2 * share, rtol=0, atol=1e-4)


def test_edits_are_those_of_feature_and_codes(make_recipe):
    """A new editor adds the change of the in-domain codes' feature."""
    recipe = make_recipe(gate=None)
    generator, pairs = recipe.generator, recipe._pairs(BatchSlice(0, 0, 6))
    edited = recipe._edit(recipe.encoder, pairs.image, pairs.ws, pairs.change)
    prediction = recipe.feature.predict(pairs.image, generator)
    before, after = (
        generator.synthesize(x, stop=LAYER) for x in (pairs.ws, pairs.ws + pairs.change)
    )
    feature = prediction.feature._replace(
        x=prediction.feature.x + after.x - before.x,
        rgb=prediction.feature.rgb + after.rgb - before.rgb,
    )
    expected = generator.synthesize(prediction.ws + pairs.change, start=feature)
    torch.testing.assert_close(edited, expected)


def test_landmarks_go_as_far(make_recipe, pictures):
    """0 where the edited photo's landmarks are those of the in-domain code after the edit, and the
    weight where nothing moves but should; without a detected face 0."""
    batch = BatchSlice(0, 0, 12)
    recipe = make_recipe(photos=photos_of(pictures, 1.0), batch=12, landmark_weight=1.0)
    edited = recipe.forward(batch)
    chosen = edited.pairs.is_edited_photo

    class Landmarker:
        """Own, edited, in-domain image before and after the edit: at 0, `at`, 0 and 1."""

        at, is_face = 0.0, True

        def __call__(self, images):
            n = len(images) // 4
            x = torch.tensor([0.0, self.at, 0.0, 1.0]).repeat_interleave(n) * images.shape[-1]
            points = x[:, None, None].expand(-1, 68, 2)
            score = torch.full((4 * n,), float(self.is_face))
            return Landmarks(points, score, score > 0.5)

    recipe.landmarker = Landmarker()
    share = float(chosen.float().mean())
    for at, is_face, expected in ((0, True, 1), (0.5, True, 0.25), (2, True, 0), (0, False, 0)):
        recipe.landmarker.at, recipe.landmarker.is_face = float(at), is_face
        loss = float(recipe._photo_losses(edited)["encoder/landmarks"])
        assert loss == pytest.approx(share * expected, rel=1e-3)


def test_the_edit_is_that_of_feature_transport(make_recipe):
    """Which `facsimile edit` uses."""
    recipe = make_recipe(gate=0.5)
    editor = recipe.encoder
    with torch.no_grad():
        editor.last.weight.add_(torch.randn_like(editor.last.weight))
    pairs = recipe._pairs(BatchSlice(0, 0, 6))
    with torch.no_grad():
        edited = recipe._edit(editor, pairs.image, pairs.ws, pairs.change)
    transport = FeatureTransport(LAYER, recipe.in_domain, editor, editor.in_domain_share)
    latents = encoders.encode(recipe.feature, recipe.generator, pairs.image, "f/w+")
    moved = transport.move(recipe.generator, latents, pairs.ws, pairs.change)
    torch.testing.assert_close(moved.synthesize(recipe.generator), edited)


def test_one_batch_is_learned(make_recipe, train_step):
    """On one batch of pairs the error falls; every weight gets a gradient."""
    recipe = make_recipe()
    for group in recipe.trainables[0].optimizer.param_groups:
        group["lr"] = 0.01
    recipe.learning_rates = lambda images_seen: {"encoder": 0.01}
    errors = []
    for index in range(20):
        errors.append(sum(train_step(recipe, 0, 6).values()))
        if index == 6:
            for name, weight in recipe.encoder.named_parameters():
                assert weight.grad.abs().sum() > 0, name
    assert errors[-1] < 0.6 * errors[0]
    scores = recipe.evaluate()
    assert {"samples/mse", "samples/edit share"} <= scores.keys()


@pytest.mark.parametrize(
    "changes",
    [{"c_dim": 3}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_other_generators(make_recipe, make_network, train_step, tmp_path, changes):
    """Labels and grey pictures: a step, the sheet, and the file."""
    recipe = make_recipe(make_network(**changes))
    assert train_step(recipe, 0, 6)["encoder/pixel"] > 0
    assert {x.shape for x in recipe.sample_grid()} == {(3, 16, 16)}
    recipe.save(tmp_path)
    config = encoders.load(tmp_path, recipe.generator).config
    assert config == recipe.encoder.config
    assert config.gate == 0.39


def test_in_bfloat16(make_recipe, pictures, train_step):
    """Features in both precisions meet in an edit."""
    losses = {}
    for precision in ("fp32", "bf16"):
        weights = {"distance_weight": 1.0, "adversarial_weight": 0.1, "gate": 0.1}
        recipe = make_recipe(photos=photos_of(pictures), precision=precision, **weights)
        losses[precision] = train_step(recipe, 0, 6)
    for name, x in losses["fp32"].items():
        assert losses["bf16"][name] == pytest.approx(x, rel=0.1, abs=0.01), name


def test_sheet_and_file(make_recipe, pictures, tmp_path):
    evaluation = encoders.settings.EvaluationSettings(
        eval_data=(str(pictures),), num_samples=2, eval_images=4
    )
    recipe = make_recipe(evaluation=evaluation)
    sheet = recipe.sample_grid()
    assert {x.shape for x in sheet} == {(3, 16, 16)}
    assert len(sheet) == 2 * 2 * 3
    image, _ = next(recipe._eval_batches("photos", 2))
    assert torch.equal(sheet[6], image[0])
    assert "photos/edit share" in recipe.evaluate()
    recipe.save(tmp_path)
    loaded = encoders.load(tmp_path, recipe.generator)
    assert loaded.config.layer == LAYER
    weights = recipe.ema.state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in loaded.state_dict().items())


def test_a_resumed_run_is_the_same_run(network, pictures, tmp_path, run_processes, tensors):
    flags = {"generator": network, "data": pictures, "images": 24, "batch": 4, "width": 8}
    flags |= {"save_every": 4, "num_samples": 1, "eval_images": 2, "device": "cpu"}
    flags |= {"perceptual": "discriminator", "identity": "off", "precision": "fp64"}
    flags |= {"distance_weight": 1.0, "adversarial_weight": 0.1}

    def arguments(name):
        pairs = [[f"--{k.replace('_', '-')}", str(v)] for k, v in flags.items()]
        return ["editor", *sum(pairs, []), "--out", str(tmp_path / name)]

    run_processes((arguments("one"), 0, 1), (arguments("killed"), 1, 1), (arguments("two"), 0, 2))
    one, killed, two = (tensors(tmp_path / name) for name in ("one", "killed", "two"))
    assert one["/step"] == 6
    numbers = [name for name, x in one.items() if torch.is_tensor(x)]
    assert len(numbers) > 30
    assert all(torch.equal(one[name], killed[name]) for name in numbers)
    weights = [name for name in numbers if name.startswith(("/modules", "/recipe/ema"))]
    assert max(float((one[name] - two[name]).abs().max()) for name in weights) < 1e-6


def test_needs_encoders(folder, tmp_path, capsys):
    arguments = ["editor", "--generator", str(folder), "--out", str(tmp_path), "--device", "cpu"]
    assert main(arguments) == WRONG_USE
    message = "needs the feature encoder, and there is none: name one with --feature, trained by"
    assert message in capsys.readouterr().err
