"""Runs that go on with another batch, or with a set that was moved."""

import shutil

import pytest
import torch

from facsimile.commands import train
from facsimile.training import Checkpoints

OLD = {"batch": 4, "data": ["a"], "lr": 0.1}


@pytest.fixture
def run(tmp_path):
    """A folder with a checkpoint after 7 steps of 4 images."""
    Checkpoints(tmp_path, OLD).save({"step": 7})
    return tmp_path


def test_only_what_is_named_may_differ(run):
    new = OLD | {"batch": 8, "lr": 0.2}
    message = "batch 4 and not 8, lr 0.1 and not 0.2; .* --resume-anyway batch lr$"
    for anyway in ((), ("batch",), ("lr", "data")):
        with pytest.raises(ValueError, match=message):
            Checkpoints(run, new, anyway).load()
    assert Checkpoints(run, new, ("lr", "batch")).load() == {"step": 3}


def test_what_it_changes_is_said(run):
    checkpoints = Checkpoints(run, {"batch": 8, "data": ["b"], "lr": 0.2}, ("batch", "data", "lr"))
    assert checkpoints.changes == []
    checkpoints.load()
    batch, data, lr = checkpoints.changes
    assert batch.startswith("batch 8 and not 4 as before: the run goes on at step 3 (24 of 28 im")
    assert data.startswith("data ['b'] and not ['a'] as before: the images are the same")
    assert lr == "lr 0.2 and not 0.1 as before: the steps from here on are made with it"


def test_the_same_settings_change_nothing(run):
    checkpoints = Checkpoints(run, OLD, tuple(OLD))
    assert checkpoints.load() == {"step": 7}
    assert checkpoints.changes == []


def test_a_name_that_is_no_setting(run):
    with pytest.raises(ValueError, match="names bach, which is no setting that a run must keep"):
        Checkpoints(run, OLD, ("bach",))


def test_a_run_whose_set_was_moved(tmp_path, tiny, pictures, capsys):
    out, moved = tmp_path / "run", tmp_path / "moved"
    assert train.main(tiny(out, images=8)) == 0
    before = torch.load(out / "checkpoint.pt", weights_only=True)
    shutil.copytree(pictures, moved)
    changes = {"images": 16, "data": moved, "batch": 2 * before["settings"]["batch"]}
    arguments = [*tiny(out, **changes), "--resume-anyway", "batch", "data"]
    assert train.main(arguments) == 0
    said = capsys.readouterr()
    assert "the images are the same, by their names and sizes" in said.out + said.err
    after = torch.load(out / "checkpoint.pt", weights_only=True)
    assert after["state"]["step"] == 16 // changes["batch"]
