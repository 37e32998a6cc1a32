"""Every recipe of an encoder: whether it learns, resumes exactly, and in several processes."""

import pytest
import torch

from facsimile import checkpoints, encoders
from facsimile.commands.train import WRONG_USE, main
from facsimile.encoders import KINDS
from facsimile.encoders.layers import GhostBatchNorm
from facsimile.training import BatchSlice, ema

IMAGE_KINDS = [name for name, kind in KINDS.items() if kind.default_space is not None]
image_kinds = pytest.mark.parametrize("kind", IMAGE_KINDS)
# The editor, which needs other encoders, has tests of its own.
kinds = pytest.mark.parametrize("kind", [name for name in KINDS if name != "editor"])


def of_kinds(names, chosen):
    """make test takes the chosen ones, make test-all every one."""
    marks = {True: (), False: pytest.mark.exhaustive}
    values = [pytest.param(name, marks=marks[name in chosen]) for name in names]
    return pytest.mark.parametrize("kind", values)


@pytest.mark.slow
@of_kinds(IMAGE_KINDS, ["feature", "in-domain"])
def test_one_batch_is_learned(make_recipe, train_step, kind):
    """On one batch of samples the error falls to a fifth; every weight gets a gradient, one before
    a layer of zeros a few steps later."""
    recipe = make_recipe(kind, width=8, bn_group_size=4, lr=0.003, lr_decay_images=100_000)
    errors, without_gradient = [], set()
    for index in range(50):
        losses = train_step(recipe, 0, 4)
        errors.append(losses["encoder/pixel"] + losses["encoder/perceptual"])
        for trainable in recipe.trainables if index in (0, 4) else ():
            for name, weight in trainable.module.named_parameters():
                if "eyes" in name:
                    assert weight.grad is None
                elif weight.grad.abs().sum() > 0:
                    without_gradient.discard(name)
                elif not index:
                    without_gradient.add(name)
    assert not without_gradient
    assert errors[-1] < errors[0] / 5


@kinds
@pytest.mark.parametrize(
    "changes", [{"c_dim": 3}, {"img_channels": 1}, {"img_channels": 4}], ids=str
)
def test_other_generators(tmp_path, make_recipe, train_step, networks, predict, kind, changes):
    """Labels, grey and RGBA: samples, the sheet, and the encoder that is written after a step."""
    recipe = make_recipe(kind, generator=networks(**changes))
    train_step(recipe, 0, 4)
    generator, channels = recipe.generator, recipe.generator.img_channels

    ws, label = recipe._codes(BatchSlice(0, 0, 4))
    z = recipe.sampler.numbers("code", BatchSlice(0, 0, 4), torch.randn, generator.z_dim)
    assert (label is None) == (not generator.c_dim)
    if label is not None:
        assert label.sum(1).tolist() == [1] * 4
        assert len(label.argmax(1).unique()) > 1
    section = recipe.settings.sampling
    psi, cutoff = section.truncation_psi, section.truncation_cutoff
    assert torch.equal(ws, generator.map(z, label, psi, cutoff))

    image, _ = next(recipe._eval_batches("samples", 2))
    sheet = recipe.sample_grid()
    assert {x.shape for x in sheet} == {(3, 16, 16)}
    rgb = image[0, :3] if channels >= 3 else image[0].expand(3, -1, -1)
    assert any(torch.equal(x, rgb) for x in sheet)

    recipe.save(tmp_path)
    loaded = encoders.load(tmp_path, generator)
    images = torch.rand(2, channels, 16, 16)
    labels = None if label is None else label[:2]
    one, other = (predict(x, generator, images, labels) for x in (recipe.ema, loaded))
    assert torch.equal(one.synthesize(generator), other.synthesize(generator))


@kinds
def test_losses_change_nothing(make_recipe, kind):
    """Asked for twice, in either order, they are the same, and so are recipe and networks."""
    recipe = make_recipe(kind)
    attributes = dict(vars(recipe))
    weights = {k: x.clone() for k, x in recipe.encoder.state_dict().items()}
    batch, names = BatchSlice(0, 0, 4), [x.name for x in recipe.trainables]
    shared = recipe.forward(batch)
    first = {name: recipe.losses(name, batch, shared) for name in names}
    second = {name: recipe.losses(name, batch, shared) for name in reversed(names)}
    for name in names:
        assert first[name].keys() == second[name].keys()
        assert all(torch.equal(x, second[name][k]) for k, x in first[name].items())
    assert vars(recipe) == attributes
    assert all(torch.equal(x, weights[k]) for k, x in recipe.encoder.state_dict().items())


@kinds
def test_the_ema_and_its_statistics(make_recipe, train_step, kind):
    """The running statistics cover the same steps as the averaged weights, with their factors."""
    recipe = make_recipe(kind, ema_images=8.0, ema_rampup=0.0, precision="fp64", batch=8)
    factor = ema.decay(8, 8, 8, 0.0)
    first = next(name for name, _ in recipe.encoder.named_parameters() if name.endswith("weight"))
    modules = recipe.encoder.named_modules()
    norm = next((name for name, module in modules if isinstance(module, GhostBatchNorm)), None)
    if norm is None:  # then there are no running statistics
        weight = recipe.ema.state_dict()[first].clone()
        for step in range(3):
            train_step(recipe, step, 8)
            weight = weight.lerp(recipe.encoder.state_dict()[first], 1 - factor)
        torch.testing.assert_close(recipe.ema.state_dict()[first], weight)
        return
    weight, mean = (recipe.ema.state_dict()[x].clone() for x in (first, f"{norm}.mean"))
    inputs = []

    def record(module, args):
        inputs.append(args[0].detach().transpose(0, 1).flatten(1))

    recipe.encoder.get_submodule(norm).register_forward_pre_hook(record)
    for step in range(3):
        inputs.clear()
        train_step(recipe, step, 8)
        # Critic and encoder share one forward pass. The naive encoder has three: of photos with
        # other landmarks, with their own, and of the cycle.
        assert len(inputs) == (3 if kind == "naive" else 1)
        weight = weight.lerp(recipe.encoder.state_dict()[first], 1 - factor)
        mean = mean.lerp(torch.cat(inputs, 1).mean(1), 1 - factor)
    weights = recipe.ema.state_dict()
    torch.testing.assert_close(weights[first], weight)
    torch.testing.assert_close(weights[f"{norm}.mean"], mean)


@pytest.mark.exhaustive
@image_kinds
def test_bf16_is_close_to_fp32(make_recipe, train_step, kind):
    """Forty steps of each: the errors at the end are within a fifth of one another."""
    ends = {}
    for precision in ("fp32", "bf16"):
        changes = {"lr": 0.001, "lr_decay_images": 100_000, "precision": precision}
        recipe = make_recipe(kind, width=8, batch=8, bn_group_size=8, **changes)
        curve = torch.tensor([train_step(recipe, i, 8)["encoder/pixel"] for i in range(40)])
        assert curve[-10:].mean() < 0.8 * curve[:5].mean()
        ends[precision] = float(curve[-10:].mean())
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.2)


def state(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]


@pytest.mark.slow
@of_kinds([name for name in KINDS if name != "editor"], ["in-domain", "difference"])
def test_a_resumed_run_is_the_same_run(tmp_path, arguments, pictures, folder, kind):
    """Bit for bit, with --images raised; it leaves an encoder, a sheet, and scores of photos."""
    flags = {"eval_data": pictures}
    if kind == "in-domain":
        flags |= {"data": pictures, "real_fraction": 0.5}
    if kind == "keypoint":
        flags |= {"data": pictures}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(arguments(kind, whole, **flags)) == 0
    assert main(arguments(kind, stopped, images=16, **flags)) == 0
    assert main(arguments(kind, stopped, **flags)) == 0
    a, b = state(whole), state(stopped)
    assert a["step"] == b["step"] == 10
    for one, two in (
        *((a["modules"][name], b["modules"][name]) for name in a["modules"]),
        (a["recipe"]["ema"], b["recipe"]["ema"]),
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "samples-000000040.png").exists()
    encoder = encoders.load(whole, checkpoints.find(folder).generator)
    assert encoders.kind_of(encoder).name == kind
    weights = encoder.state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in a["recipe"]["ema"].items())


@pytest.mark.slow
@of_kinds([name for name in KINDS if name != "editor"], ["in-domain", "difference"])
def test_init_from(tmp_path, arguments, networks, kind):
    """An encoder of this generator: unchanged, at a learning rate of almost 0. Of another: scaled
    to this one; the rest stays."""
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    assert main(arguments(kind, one, images=8)) == 0
    flags = {"images": 4, "seed": 1, "init_from": one, "lr": 1e-12}
    flags |= {"ema_images": 1e9, "ema_rampup": 0}
    another = networks(seed=1)
    assert main(arguments(kind, same, **flags)) == 0
    assert main(arguments(kind, other, **flags, generator=another)) == 0
    one, same, other = (encoders.read(path) for path in (one, same, other))
    weights = one.state_dict()
    for name, value in same.state_dict().items():
        assert torch.allclose(value, weights[name], atol=1e-6), name
    assert other.config.fingerprint != one.config.fingerprint
    changed = {n for n, x in other.state_dict().items() if not torch.allclose(x, weights[n])}
    assert changed
    assert {name.split(".")[-1] for name in changed} <= {"mean", "scale", "usual"}


@pytest.mark.slow
@of_kinds([*IMAGE_KINDS, "difference"], ["in-domain"])
def test_killed_and_in_processes(tmp_path, arguments, pictures, run_processes, tensors, kind):
    """Killed and resumed: bit for bit. 2 x 8 images, and two micro-steps of 8: as 1 x 16."""
    flags = {"batch": 16, "bn_group_size": 4, "images": 64, "precision": "fp64", "save_every": 16}
    if kind == "in-domain":
        flags |= {"data": pictures, "real_fraction": 0.5}
    runs = {"one": (0, 1), "killed": (1, 1), "two": (0, 2), "micro": (0, 1)}
    micro = {"micro": {"accumulate": 2}}
    run_processes(
        *(
            (arguments(kind, tmp_path / name, **flags, **micro.get(name, {})), kills, processes)
            for name, (kills, processes) in runs.items()
        )
    )
    one = tensors(tmp_path / "one")
    assert one["/step"] == 4
    numbers = [name for name, x in one.items() if torch.is_tensor(x)]
    assert len(numbers) > 50
    killed = tensors(tmp_path / "killed")
    assert all(torch.equal(one[name], killed[name]) for name in numbers)
    weights = [name for name in numbers if name.startswith(("/modules", "/recipe/ema"))]
    for other in (tensors(tmp_path / "two"), tensors(tmp_path / "micro")):
        assert max(float((one[name] - other[name]).abs().max()) for name in weights) < 1e-6


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("base", {"layer": "b64.conv0"}, 'no layer "b64.conv0"'),
        ("base", {"eval_data": "nowhere"}, "nowhere: no such file or folder"),
        ("base", {"batch": 3}, "groups of 2 images that share their statistics"),
        ("in-domain", {"eval_data": "nowhere"}, "nowhere: no such file or folder"),
        ("in-domain", {"data": "nowhere"}, "nowhere: no such file or folder"),
        ("base", {"init_from": "nowhere"}, "nowhere does not exist; expected an encoder's file"),
        ("in-domain", {"resolution": 24}, "resolution is 24; it must be a power of two"),
    ],
)
def test_wrong_use(tmp_path, arguments, capsys, kind, changes, message):
    assert main(arguments(kind, tmp_path / "run", **changes)) == WRONG_USE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("in-domain", {"real_fraction": 0.5}, "there are no photos; give a folder"),
        ("in-domain", {"real_fraction": 1.5}, "--real-fraction is 1.5; it must be between 0 and 1"),
        (
            "in-domain",
            {"real_fraction": -0.1},
            "--real-fraction is -0.1; it must be between 0 and 1",
        ),
        (
            "in-domain",
            {"architecture": "resnet", "bn_group_size": 1},
            "--bn-group-size is 1; it must be at least 2",
        ),
        ("in-domain", {"r1_gamma": -1}, "--r1-gamma is -1.0; it must be at least 0"),
        ("in-domain", {"iterations": -1}, "--iterations is -1; it must be at least 0"),
        ("base", {"feature_mix_prob": 2}, "--feature-mix-prob is 2.0; it must be between 0"),
        ("base", {"iterations": -1}, "--iterations is -1; it must be at least 0"),
        ("base", {"perceptual_weight": -1}, "--perceptual-weight is -1.0; it must be at least"),
        ("naive", {"lr": -1}, "--lr is -1.0; it must be at least 0"),
    ],
)
def test_impossible_settings(tmp_path, arguments, capsys, kind, changes, message):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments(kind, tmp_path / "run", **changes))
    assert exit_info.value.code == WRONG_USE
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_photos_that_do_not_fit(tmp_path, arguments, networks, pictures, capsys):
    """Photos have three channels and no labels; an empty folder has no image."""
    grey, conditional = networks(img_channels=1), networks(c_dim=3)
    empty = tmp_path / "empty"
    empty.mkdir()
    for changes, message in (
        ({"generator": grey, "data": pictures}, "--data are RGB"),
        ({"generator": grey, "eval_data": pictures}, "--eval-data are RGB"),
        ({"generator": conditional, "data": pictures}, "takes labels, and photos have none"),
        ({"data": empty}, "no image found"),
    ):
        assert main(arguments("in-domain", tmp_path / "run", **changes)) == WRONG_USE
        assert message in capsys.readouterr().err
    flags = {"generator": conditional, "data": pictures, "adversarial_weight": 0, "images": 4}
    assert main(arguments("in-domain", tmp_path / "run", **flags)) == 0
