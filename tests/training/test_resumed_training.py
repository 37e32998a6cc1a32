"""A resumed run gives the weights of a run that was never stopped."""

import pytest
import torch

pytestmark = pytest.mark.slow


def differences(a, b):
    """Names of the entries that differ, if only by a bit."""
    assert a.keys() == b.keys()
    return [
        k for k in a if not (torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k])
    ]


@pytest.mark.parametrize(
    ("kills", "processes", "changes"),
    [
        pytest.param(5, 1, {}, marks=pytest.mark.exhaustive),
        (2, 1, {"images": 96, "accumulate": 2}),
        (2, 2, {"images": 96}),
    ],
    ids=["five kills", "accumulation", "two processes"],
)
def test_killed_runs_are_the_same_run(
    tmp_path, tiny, run_processes, tensors, kills, processes, changes
):
    changes = {"images": 160, "seed": 1, "ada_target": -1, "num_samples": 1} | changes
    run_processes(
        (tiny(tmp_path / "whole", **changes), 0, processes),
        (tiny(tmp_path / "killed", **changes), kills, processes),
    )
    whole = tensors(tmp_path / "whole")
    assert differences(whole, tensors(tmp_path / "killed")) == []
    assert whole["/step"] == changes["images"] / 4
    assert whole["/recipe/augment_p"] > 0  # augmentation took part
    assert whole["/recipe/path_mean_known"]


def test_two_processes_are_one(tmp_path, tiny, run_processes, tensors):
    """2 x 8 images and 1 x 16, 12 steps in float64; also micro-steps in one process and in two."""
    changes = {"batch": 16, "images": 192, "precision": "fp64", "mbstd_group": 4, "ada_target": -1}
    run_processes(
        (tiny(tmp_path / "one", **changes), 0, 1),
        (tiny(tmp_path / "two", **changes), 0, 2),
        (tiny(tmp_path / "micro", **changes, accumulate=2), 0, 1),
        (tiny(tmp_path / "both", **changes, accumulate=2), 0, 2),
    )
    one = tensors(tmp_path / "one")
    assert one["/step"] == 12
    weights = [name for name in one if name.startswith(("/modules", "/recipe/average"))]
    assert len(weights) > 50
    for other in map(tensors, (tmp_path / "two", tmp_path / "micro", tmp_path / "both")):
        difference = max(float((one[name] - other[name]).abs().max()) for name in weights)
        assert difference < 1e-6
        assert one["/recipe/augment_p"] == other["/recipe/augment_p"] > 0


def test_sigterm_to_one_of_several_processes(tmp_path, tiny, run_processes, tensors):
    """Only one process gets the signal; all leave with 130 after a checkpoint of the same step."""
    out, whole, changes = tmp_path / "run", tmp_path / "whole", {"save_every": 40, "num_samples": 1}
    run_processes((tiny(out, images=20_000, **changes), 1, 2, "SIGTERM", False))
    stopped = tensors(out)["/step"]
    images = 4 * (stopped + 1)
    run_processes(
        (tiny(out, images=images, **changes), 0, 2),
        (tiny(whole, images=images, **changes), 0, 2),
    )
    assert stopped > 10
    assert differences(tensors(out), tensors(whole)) == []
