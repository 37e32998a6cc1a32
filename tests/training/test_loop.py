"""The loop: the order of a step, what micro-steps share, and learning rates."""

from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from facsimile.training import Distributed, Meter, Trainable, TrainingSettings
from facsimile.training.loop import check_batch, prepare, train_step

BATCH = 4


class ToyRecipe:
    """A critic and a generator of one weight each; writes down what it is asked for."""

    group_size = 1

    def __init__(self):
        self.calls = []
        self.modules = {name: nn.Linear(1, 1, bias=False) for name in ("critic", "generator")}
        for module in self.modules.values():
            nn.init.ones_(module.weight)
        self.trainables = tuple(
            Trainable(name, module, torch.optim.SGD(module.parameters(), lr=9.0), name != "critic")
            for name, module in self.modules.items()
        )

    def weight(self, name):
        return self.modules[name].weight.item()

    def forward(self, batch):
        self.calls.append(f"forward {batch.start}")
        samples = torch.arange(batch.start, batch.start + batch.size, dtype=torch.float32)[:, None]
        return self.modules["generator"](samples)

    def losses(self, name, batch, shared):
        self.calls.append(f"losses {name} {batch.start} {'with' if shared.requires_grad else 'no'}")
        if name == "critic":
            logits = self.modules["critic"](shared.detach())
            mean = shared.detach().mean()
            return {"critic/a": logits.mean(), "critic/b": 2 * logits.mean(), "mean": mean}
        return {"generator/a": (shared * self.modules["critic"].weight.detach()).mean()}

    def record(self, statistics):
        self.calls.append(f"record {', '.join(statistics)}")

    def learning_rates(self, images_seen):
        self.calls.append(f"learning rates {images_seen}")
        return {"critic": 0.1 * (1 + images_seen), "generator": 0.01}

    def on_step_end(self, batch):
        rates = [x.optimizer.param_groups[0]["lr"] for x in self.trainables]
        self.calls.append(f"end {rates}")


@dataclass
class Trained:
    recipe: ToyRecipe
    losses: dict


def step(number, accumulate=1):
    settings = TrainingSettings(out="run", images=8, batch=BATCH, accumulate=accumulate)
    distributed = Distributed(device=torch.device("cpu"), load_networks=None)
    recipe, meter = ToyRecipe(), Meter(distributed, BATCH)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    prepare(recipe, accelerator)
    check_batch(settings, recipe, distributed)
    train_step(settings, recipe, accelerator, distributed, meter, number)
    return Trained(recipe, meter.read())


def test_one_micro_step():
    """One forward pass serves both; the rates are those of the images seen before the step."""
    trained = step(1)
    assert trained.recipe.calls == [
        "learning rates 4",
        "forward 4",
        "losses critic 4 with",
        "record mean",
        "losses generator 4 with",
        "end [0.5, 0.01]",
    ]


def test_micro_steps():
    """The forward pass is repeated, without a graph for the critic."""
    trained = step(1, accumulate=2)
    assert trained.recipe.calls == [
        "learning rates 4",
        *("forward 4", "losses critic 4 no", "record mean"),
        *("forward 6", "losses critic 6 no", "record mean"),
        *("forward 4", "losses generator 4 with"),
        *("forward 6", "losses generator 6 with"),
        "end [0.5, 0.01]",
    ]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_updates_by_hand(accumulate):
    """w -= lr * gradient, the critic first; the samples are 4 to 7, with the mean 5.5."""
    trained = step(1, accumulate)
    critic = 1 - 0.5 * 3 * 5.5
    generator = 1 - 0.01 * critic * 5.5
    assert trained.recipe.weight("critic") == pytest.approx(critic)
    assert trained.recipe.weight("generator") == pytest.approx(generator)
    assert trained.losses["loss/critic/a"] == pytest.approx(5.5)
    assert trained.losses["loss/critic/b"] == pytest.approx(11)
    assert trained.losses["loss/generator/a"] == pytest.approx(critic * 5.5)
    assert "loss/mean" not in trained.losses
    gradients = [x.grad for m in trained.recipe.modules.values() for x in m.parameters()]
    assert gradients == [None, None]


def test_batches_that_cannot_be_divided():
    with pytest.raises(ValueError, match=r"--batch is 4; with 1 process, --accumulate 3"):
        step(0, accumulate=3)
