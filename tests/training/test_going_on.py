"""Going on after a stop gives the weights of a run that was never stopped."""

import pytest
import torch


def same(a, b):
    """Names of what differs by a single bit."""
    assert a.keys() == b.keys()
    return [
        k for k in a if not (torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k])
    ]


@pytest.mark.parametrize(
    ("kills", "processes", "changes"),
    [(5, 1, {}), (2, 1, {"accumulate": 2}), (2, 2, {})],
    ids=["five kills", "accumulation", "two processes"],
)
def test_killed_runs_are_the_same_run(tmp_path, tiny, live, tensors, kills, processes, changes):
    changes = {"images": 320, "augment": -1, "samples": 1} | changes
    live(
        (tiny(tmp_path / "whole", **changes), 0, processes),
        (tiny(tmp_path / "killed", **changes), kills, processes),
    )
    whole = tensors(tmp_path / "whole")
    assert same(whole, tensors(tmp_path / "killed")) == []
    assert whole["/step"] == 80
    assert whole["/recipe/p"] > 0  # augmentation took part
    assert whole["/recipe/path_known"]


def test_two_processes_are_one(tmp_path, tiny, live, tensors):
    """2 x 8 images and 1 x 16, 20 steps in float64: also two micro-steps of 8."""
    changes = {"batch": 16, "images": 320, "precision": "fp64", "group": 4, "augment": -1}
    live(
        (tiny(tmp_path / "one", **changes), 0, 1),
        (tiny(tmp_path / "two", **changes), 0, 2),
        (tiny(tmp_path / "micro", **changes, accumulate=2), 0, 1),
    )
    one = tensors(tmp_path / "one")
    assert one["/step"] == 20
    weights = [name for name in one if name.startswith(("/modules", "/recipe/average"))]
    assert len(weights) > 50
    for other in (tensors(tmp_path / "two"), tensors(tmp_path / "micro")):
        apart = max(float((one[name] - other[name]).abs().max()) for name in weights)
        assert apart < 1e-6
        assert one["/recipe/p"] == other["/recipe/p"] > 0
