"""Ctrl-C and SIGTERM while something else than a step runs. Signals are sent by the test itself."""

import os
import signal
import time

import pytest
import torch

from facsimile.commands import train
from facsimile.training.generator import GeneratorRecipe


def stopped_in(monkeypatch, method, number=signal.SIGTERM):
    """From now on this method of the recipe is cut by a signal, or takes half a minute."""

    def cut(self):
        os.kill(os.getpid(), number)
        for _ in range(300):
            time.sleep(0.1)
        raise AssertionError("the signal had no effect")

    monkeypatch.setattr(GeneratorRecipe, method, cut)


@pytest.mark.parametrize("method", ["evaluate", "sample_grid"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_complete_run_whose_scores_are_cut_is_complete(
    tmp_path, tiny, monkeypatch, capsys, method, number
):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        stopped_in(patched, method, number)
        assert train.main(tiny(out, images=8)) == 0
    printed = capsys.readouterr()
    assert "the training is complete, and its scores are left out" in printed.out
    assert "to go on" not in printed.err
    assert torch.load(out / "checkpoint.pt", weights_only=True)["state"]["step"] == 2
    assert (out / "generator.safetensors").is_file()


@pytest.mark.parametrize("method", ["forward", "losses"])
def test_a_step_that_is_cut_is_repeated(tmp_path, tiny, monkeypatch, tensors, method):
    """The second step is cut before its first gradient; the weights are those of a whole run."""
    args, original = tiny(tmp_path / "stopped", images=16), getattr(GeneratorRecipe, method)

    def cut(self, *args):
        result = original(self, *args)
        if self.images_seen == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            raise AssertionError("the signal had no effect")
        return result

    with monkeypatch.context() as patched:
        patched.setattr(GeneratorRecipe, method, cut)
        assert train.main(args) == train.INTERRUPTED
    assert tensors(tmp_path / "stopped")["/step"] == 1
    assert train.main(args) == 0
    assert train.main(tiny(tmp_path / "whole", images=16)) == 0
    whole, stopped = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert all(torch.equal(whole[k], stopped[k]) for k in whole if torch.is_tensor(whole[k]))


def test_a_step_is_not_cut_once_it_has_changed_something(tmp_path, tiny, monkeypatch, tensors):
    """The critic is updated when the signal comes, so the generator is too."""

    def losses(self, name, batch, shared, original=GeneratorRecipe.losses):
        if name == "generator" and batch.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, name, batch, shared)

    monkeypatch.setattr(GeneratorRecipe, "losses", losses)
    assert train.main(tiny(tmp_path / "run", images=40)) == train.INTERRUPTED
    assert tensors(tmp_path / "run")["/step"] == 2


@pytest.mark.parametrize("method", ["evaluate", "sample_grid"])
def test_a_run_stopped_in_its_scores_goes_on(tmp_path, tiny, monkeypatch, capsys, tensors, method):
    """At a step that would not have been saved; no step is lost, and the weights are the same."""
    common = {"images": 32, "score_every": 12, "sample_every": 12, "save_every": 100}
    args = tiny(tmp_path / "stopped", **common)
    with monkeypatch.context() as patched:
        stopped_in(patched, method)
        assert train.main(args) == train.INTERRUPTED
    assert "to go on: facsimile train generator --data" in capsys.readouterr().err
    assert tensors(tmp_path / "stopped")["/step"] == 3
    assert train.main(args) == 0
    assert train.main(tiny(tmp_path / "whole", **common)) == 0
    whole, stopped = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[k], stopped[k]) for k in whole if torch.is_tensor(whole[k]))


def test_a_stop_in_the_last_step_leaves_a_complete_run(tmp_path, tiny, monkeypatch, capsys):
    """The step ends, the networks are written, and nothing is scored."""

    def on_step_end(self, batch, original=GeneratorRecipe.on_step_end):
        original(self, batch)
        if batch.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(GeneratorRecipe, "on_step_end", on_step_end)
    out = tmp_path / "run"
    assert train.main(tiny(out, images=8)) == 0
    assert "its scores are left out" in capsys.readouterr().out
    assert (out / "generator.safetensors").is_file()
    assert not list(out.glob("*.png"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_the_first_step(tmp_path, tiny, monkeypatch, capsys, number):
    """In the setup of the data, for example; afterwards signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        stopped_in(patched, "setup_data", number)
        assert train.main(tiny(tmp_path / "run")) == train.INTERRUPTED
    assert "stopped\nto go on: " in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_before_the_scores_cuts_them(tmp_path, tiny, monkeypatch):
    """The signal comes while the checkpoint is written, which ends; the sheet does not begin."""
    begun = []

    def save(self, out, original=GeneratorRecipe.save):
        os.kill(os.getpid(), signal.SIGTERM)
        original(self, out)

    monkeypatch.setattr(GeneratorRecipe, "save", save)
    monkeypatch.setattr(GeneratorRecipe, "sample_grid", lambda self: begun.append(True) or [])
    out = tmp_path / "run"
    assert train.main(tiny(out, images=80, sample_every=8)) == train.INTERRUPTED
    assert not begun
    assert (out / "generator.safetensors").is_file()
    assert torch.load(out / "checkpoint.pt", weights_only=True)["state"]["step"] == 2
