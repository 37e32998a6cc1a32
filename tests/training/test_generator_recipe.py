"""The generator's recipe: pure losses, and what adapts between steps."""

import copy

import pytest
import torch
from apple import apple

from facsimile.training import (
    BatchSlice,
    Distributed,
    EmaSettings,
    ImageSettings,
    OptimizerSettings,
)
from facsimile.training.generator import ADA_INTERVAL, GeneratorRecipe
from facsimile.training.generator_settings import (
    AdaSettings,
    GeneratorSettings,
    NetworkSettings,
    PathLengthSettings,
)

BATCH = 4


@pytest.fixture
def make_recipe(tmp_path, pictures):
    def make(ada_target=0.6, pl_share=0.5, device="cpu", **optimizer):
        settings = GeneratorSettings(
            out=tmp_path,
            images=80,
            batch=BATCH,
            precision="fp32",
            dataset=ImageSettings(data=(str(pictures),)),
            network=NetworkSettings(
                resolution=8, channel_base=32, channel_max=4, z_dim=8, mapping_layers=2,
                mbstd_group=2,
            ),
            optimizer=OptimizerSettings(lr=0.1, **optimizer),
            path_length=PathLengthSettings(pl_interval=1, pl_share=pl_share),
            augmentation=AdaSettings(ada_target=ada_target, ada_images=100),
            ema=EmaSettings(ema_images=100),
        )  # fmt: skip
        distributed = Distributed(device=torch.device(device), load_networks=None)
        recipe = GeneratorRecipe(settings, distributed)
        recipe.setup_data()
        return recipe

    return make


def snapshot(recipe):
    modules = [recipe.state(), *(x.module.state_dict() for x in recipe.trainables)]
    return copy.deepcopy(modules)


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return all(map(equal, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


@pytest.mark.parametrize("augment_p", [0.0, 0.5])
def test_losses_change_nothing(make_recipe, augment_p):
    """Twice the same values, and no state, weight or buffer moves."""
    recipe = make_recipe()
    recipe.augment_p = augment_p
    before, batch = snapshot(recipe), BatchSlice(0, 0, BATCH)
    shared = recipe.forward(batch)
    for name in ("critic", "generator"):
        first, second = (recipe.losses(name, batch, shared) for _ in range(2))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[term], second[term]) for term in first)
    assert equal(before, snapshot(recipe))


def test_losses_on_an_apple_gpu(make_recipe, monkeypatch):
    """Emulated: with augmentation, gradient penalty and path lengths, and their gradients."""
    with apple(monkeypatch):
        recipe, batch = make_recipe(device="mps"), BatchSlice(0, 0, BATCH)
        recipe.augment_p = 0.5
        shared = recipe.forward(batch)
        for trainable in recipe.trainables:
            losses = recipe.losses(trainable.name, batch, shared)
            total = sum(x for x in losses.values() if x.requires_grad)
            total.backward(inputs=trainable.parameters())
            assert all(x.grad.isfinite().all() for x in trainable.parameters())


def test_statistics_are_no_terms(make_recipe):
    """They need no gradient, which is how the loop tells them from terms."""
    recipe, batch = make_recipe(), BatchSlice(0, 0, BATCH)
    shared = recipe.forward(batch)
    losses = recipe.losses("critic", batch, shared) | recipe.losses("generator", batch, shared)
    assert {name for name, x in losses.items() if not x.requires_grad} == {
        "real signs",
        "path length",
    }


def test_path_lengths_of_half_of_the_images_are_theirs(make_recipe):
    """Oracle: those of all. And the same images in one batch and in two."""
    half, whole = make_recipe(), make_recipe(pl_share=1.0)
    batch = BatchSlice(0, 0, BATCH)
    few = half._path_lengths(batch, half.forward(batch))
    every = whole._path_lengths(batch, whole.forward(batch))
    assert (len(few), len(every)) == (BATCH // 2, BATCH)
    torch.testing.assert_close(few, every[: BATCH // 2])
    parts = [BatchSlice(0, start, 2) for start in (0, 2)]
    apart = torch.cat([half._path_lengths(x, half.forward(x)) for x in parts])
    torch.testing.assert_close(apart, few)


@pytest.mark.parametrize(("sign", "change"), [(1.0, 1), (0.5, -1)])
def test_augmentation_follows_the_mean_sign(make_recipe, sign, change):
    """Every fourth step: by 4 * 4 / 100, up if the mean sign is above the target of 0.6."""
    recipe = make_recipe()
    recipe.augment_p = 0.5
    for step in range(ADA_INTERVAL):
        assert recipe.augment_p == 0.5
        recipe.record({"real signs": torch.full((BATCH, 1), sign)})
        recipe.on_step_end(BatchSlice(step, step * BATCH, BATCH))
    assert recipe.augment_p == pytest.approx(0.5 + change * 0.16)
    assert recipe.signs.tolist() == [0, 0]


def test_no_target_no_augmentation(make_recipe):
    recipe = make_recipe(ada_target=0.0)
    for step in range(ADA_INTERVAL):
        recipe.record({"real signs": torch.ones(BATCH, 1)})
        recipe.on_step_end(BatchSlice(step, step * BATCH, BATCH))
    assert recipe.augment_p == 0


def test_the_path_mean_begins_at_the_first_lengths(make_recipe):
    """Then it moves by a hundredth; the micro-steps of a step are averaged."""
    recipe = make_recipe()
    for step, lengths in enumerate([(2.0, 4.0), (5.0,), ()]):
        for value in lengths:
            recipe.record({"path length": torch.tensor(value)})
        recipe.on_step_end(BatchSlice(step, step * BATCH, BATCH))
    assert float(recipe.path_mean) == pytest.approx(3 + 0.01 * 2)


def test_learning_rates(make_recipe):
    rates = make_recipe(critic_lr=0.2, lr_decay_images=1000).learning_rates
    assert rates(0) == {"critic": 0.2, "generator": 0.1}
    assert rates(1000) == pytest.approx({"critic": 0.16, "generator": 0.08})
    assert make_recipe().learning_rates(10**9) == {"critic": 0.1, "generator": 0.1}
