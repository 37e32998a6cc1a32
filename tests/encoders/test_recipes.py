"""Every recipe of an encoder: that it learns, and goes on exactly, alone or in company."""

import pytest
import torch

from facsimile import checkpoints, encoders
from facsimile.commands.train import WRONG_USE, main
from facsimile.encoders.layers import GhostBatchNorm
from facsimile.training import BatchSlice, ema

PLAYER = {"feature": "feature", "in-domain": "encoder"}
of_photos = pytest.mark.parametrize("kind", PLAYER)
kinds = pytest.mark.parametrize("kind", [*PLAYER, "difference", "keypoint", "naive"])


def step(recipe, place):
    """What the loop of train.py does; returns the losses of all players."""
    found = {}
    for trainable in recipe.trainables:
        trainable.optimizer.zero_grad()
        losses = recipe.losses(trainable.name, place)
        weights = [x for x in trainable.module.parameters() if x.requires_grad]
        sum(losses.values()).backward(inputs=weights)
        trainable.optimizer.step()
        found |= {name: float(value.detach()) for name, value in losses.items()}
    recipe.on_step_end(place)
    return found


@of_photos
def test_one_batch_is_learned(make_recipe, kind):
    """On one batch of samples the error falls to a tenth; every weight gets a gradient."""
    recipe = make_recipe(kind, width=8, bn_group_size=4, lr=0.003, lr_decay_images=100_000)
    values = []
    for index in range(80):
        found = step(recipe, BatchSlice(0, 0, 4))
        values.append(sum(found[f"{PLAYER[kind]}/{name}"] for name in ("pixel", "perceptual")))
        if not index:
            for trainable in recipe.trainables:
                for name, weight in trainable.module.named_parameters():
                    frozen = "eyes" in name
                    assert (weight.grad is None) if frozen else weight.grad.abs().sum() > 0, name
    assert values[-1] < values[0] / 10


@kinds
@pytest.mark.parametrize("told", [{"c_dim": 3}, {"img_channels": 1}, {"img_channels": 4}], ids=str)
def test_other_generators(tmp_path, arguments, networks, predict, kind, told):
    """Labels, grey and RGBA: from the command to an encoder that redraws."""
    folder = networks(**told)
    assert main(arguments(kind, tmp_path, generator=folder, images=8)) == 0
    generator = checkpoints.find(folder).generator
    encoder = encoders.load(tmp_path, generator)
    images = torch.rand(2, generator.img_channels, 16, 16)
    label = torch.eye(3)[:2] if "c_dim" in told else None
    drawn = predict(encoder, generator, images, label).synthesize(generator)
    assert drawn.shape == images.shape
    assert drawn.isfinite().all()


@kinds
def test_the_average_and_its_statistics(make_recipe, kind):
    """The statistics are of the same steps, with the same shares, as the averaged weights."""
    recipe = make_recipe(kind, ema_images=8, ema_rampup=0.0, precision="fp64", batch=8)
    factor = ema.decay(8, 8, 8, 0.0)
    names = dict(recipe.encoder.named_parameters()).keys()
    first = next(name for name in names if name.endswith("weight"))
    modules = recipe.encoder.named_modules()
    norm = next(name for name, module in modules if isinstance(module, GhostBatchNorm))
    weight, mean = (recipe.ema.state_dict()[x].clone() for x in (first, f"{norm}.mean"))
    seen = []

    def keep(module, args):
        seen.append(args[0].detach().transpose(0, 1).flatten(1))

    recipe.encoder.get_submodule(norm).register_forward_pre_hook(keep)
    for index in range(3):
        seen.clear()
        step(recipe, BatchSlice(index, 8 * index, 8))
        # Critic and encoder share one drawing. The naive encoder looks thrice: at photos with other
        # landmarks, with their own, and at the way back.
        assert len(seen) == (3 if kind == "naive" else 1)
        weight = weight.lerp(recipe.encoder.state_dict()[first], 1 - factor)
        mean = mean.lerp(torch.cat(seen, 1).mean(1), 1 - factor)
    held = recipe.ema.state_dict()
    torch.testing.assert_close(held[first], weight)
    torch.testing.assert_close(held[f"{norm}.mean"], mean)


@of_photos
def test_bf16_is_near_fp32(make_recipe, kind):
    """Forty steps of each: the error falls as far, within a fifth."""
    ends = {}
    for precision in ("fp32", "bf16"):
        recipe = make_recipe(kind, width=8, batch=8, bn_group_size=8, lr=0.001, precision=precision)
        losses = [step(recipe, BatchSlice(i, 8 * i, 8)) for i in range(40)]
        curve = torch.tensor([x[f"{PLAYER[kind]}/pixel"] for x in losses])
        assert curve[-10:].mean() < 0.8 * curve[:5].mean()
        ends[precision] = float(curve[-10:].mean())
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.2)


def state(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]


@kinds
def test_a_stopped_run_is_the_same_run(tmp_path, arguments, pictures, folder, kind):
    """Bit for bit, with --images raised; it leaves an encoder, a sheet, and scores of photos."""
    told = {"eval_data": pictures}
    if kind == "in-domain":
        told |= {"data": pictures, "real_fraction": 0.5}
    if kind == "keypoint":
        told |= {"data": pictures}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(arguments(kind, whole, **told)) == 0
    assert main(arguments(kind, stopped, images=16, **told)) == 0
    assert main(arguments(kind, stopped, **told)) == 0
    a, b = state(whole), state(stopped)
    assert a["step"] == b["step"] == 10
    for one, two in (
        *((a["modules"][name], b["modules"][name]) for name in a["modules"]),
        (a["recipe"]["average"], b["recipe"]["average"]),
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "samples-000000040.png").exists()
    assert encoders.load(whole, checkpoints.find(folder).generator).config


@kinds
def test_a_run_goes_on_from_an_encoder(tmp_path, arguments, networks, kind):
    """Of this generator: all as it was, at a rate of nearly 0. Of another: counted from this one's
    mean; the rest stays."""
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    assert main(arguments(kind, one, images=8)) == 0
    told = {
        "images": 4,
        "seed": 1,
        "init_from": one,
        "lr": 1e-12,
        "ema_images": 1e9,
        "ema_rampup": 0,
    }
    another = networks(seed=1)
    assert main(arguments(kind, same, **told)) == 0
    assert main(arguments(kind, other, **told, generator=another)) == 0
    one, same, other = (encoders.files.read(path) for path in (one, same, other))
    weights = one.state_dict()
    for name, value in same.state_dict().items():
        assert torch.allclose(value, weights[name], atol=1e-6), name
    assert other.config.fingerprint != one.config.fingerprint
    moved = {n for n, x in other.state_dict().items() if not torch.allclose(x, weights[n])}
    assert moved
    assert {name.split(".")[-1] for name in moved} <= {"mean", "scale", "usual"}


@pytest.mark.parametrize("kind", [*PLAYER, "difference"])
def test_killed_and_together(tmp_path, arguments, pictures, live, tensors, kind):
    """Killed and gone on: bit for bit. 2 x 8 images, and two micro-steps of 8: as 1 x 16."""
    told = {"batch": 16, "bn_group_size": 4, "images": 160, "precision": "fp64", "save_every": 32}
    if kind == "in-domain":
        told |= {"data": pictures, "real_fraction": 0.5}
    runs = {"one": (0, 1), "killed": (1, 1), "two": (0, 2), "micro": (0, 1)}
    micro = {"micro": {"accumulate": 2}}
    live(
        *(
            (arguments(kind, tmp_path / name, **told, **micro.get(name, {})), kills, processes)
            for name, (kills, processes) in runs.items()
        )
    )
    one = tensors(tmp_path / "one")
    assert one["/step"] == 10
    numbers = [name for name, x in one.items() if torch.is_tensor(x)]
    assert len(numbers) > 50
    killed = tensors(tmp_path / "killed")
    assert all(torch.equal(one[name], killed[name]) for name in numbers)
    weights = [name for name in numbers if name.startswith(("/modules", "/recipe/average"))]
    for other in (tensors(tmp_path / "two"), tensors(tmp_path / "micro")):
        assert max(float((one[name] - other[name]).abs().max()) for name in weights) < 1e-6


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("feature", {"layer": "b64.conv0"}, 'no layer "b64.conv0"'),
        ("feature", {"eval_data": "nowhere"}, "nowhere: no such file or folder"),
        ("feature", {"batch": 3}, "groups of 2 images that share their statistics"),
        ("in-domain", {"eval_data": "nowhere"}, "nowhere: no such file or folder"),
        ("in-domain", {"data": "nowhere"}, "nowhere: no such file or folder"),
        ("feature", {"init_from": "nowhere"}, "nowhere does not exist; expected an encoder's file"),
        ("in-domain", {"resolution": 24}, "resolution is 24; it must be a power of two"),
    ],
)
def test_wrong_use(tmp_path, arguments, capsys, kind, changes, said):
    assert main(arguments(kind, tmp_path / "run", **changes)) == WRONG_USE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("in-domain", {"real_fraction": 0.5}, "there are no photos; give a folder"),
        ("in-domain", {"real_fraction": 1.5}, "--real-fraction is 1.5; it must be between 0 and 1"),
        (
            "in-domain",
            {"real_fraction": -0.1},
            "--real-fraction is -0.1; it must be between 0 and 1",
        ),
        ("in-domain", {"bn_group_size": 1}, "--group is 1; it must be at least 2"),
        ("in-domain", {"r1_gamma": -1}, "--r1 is -1.0; it must be at least 0"),
        ("difference", {"per_layer_w_mix": 1.5}, "--spread is 1.5; it must be between 0 and 1"),
        ("in-domain", {"iterations": -1}, "--passes is -1; it must be at least 0"),
        ("feature", {"feature_mix_prob": 2}, "--mixed is 2.0; it must be between 0 and 1"),
        ("feature", {"iterations": -1}, "--passes is -1; it must be at least 0"),
    ],
)
def test_settings_that_cannot_be(tmp_path, arguments, capsys, kind, changes, said):
    with pytest.raises(SystemExit) as left:
        main(arguments(kind, tmp_path / "run", **changes))
    assert left.value.code == WRONG_USE
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_photos_that_do_not_fit(tmp_path, arguments, networks, pictures, capsys):
    """Photos have three channels and no labels; an empty folder has none at all."""
    grey, labelled = networks(img_channels=1), networks(c_dim=3)
    empty = tmp_path / "empty"
    empty.mkdir()
    for changes, said in (
        ({"generator": grey, "data": pictures}, "--data are RGB"),
        ({"generator": grey, "eval_data": pictures}, "--eval-data are RGB"),
        ({"generator": labelled, "data": pictures}, "takes labels, and photos have none"),
        ({"data": empty}, "no image found"),
    ):
        assert main(arguments("in-domain", tmp_path / "run", **changes)) == WRONG_USE
        assert said in capsys.readouterr().err
    told = {"generator": labelled, "data": pictures, "adversarial_weight": 0, "images": 4}
    assert main(arguments("in-domain", tmp_path / "run", **told)) == 0
