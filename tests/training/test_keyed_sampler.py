"""Which images a step sees: the same from the disk as from memory, in any division of the work."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.commands import train
from facsimile.data import load_images
from facsimile.training.keyed_sampler import KeyedSampler
from facsimile.training.read_ahead import BatchSchedule
from facsimile.training.recipe import BatchSlice

CPU = torch.device("cpu")
COUNT = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(3).integers(0, 255, (COUNT, 16, 16, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def in_memory(folder):
    return load_images([folder], 16)


@pytest.fixture
def on_disk(folder):
    return load_images([folder], 16, memory=0, workers=1)


def sampler(**schedule):
    return KeyedSampler(7, 2, CPU, torch.float32, BatchSchedule(batch=8, **schedule))


def test_every_image_once_an_epoch():
    """And every epoch in another order; 22 images, of which a slice takes 8."""
    slices = BatchSchedule(batch=8).following(BatchSlice(0, 0, 8))
    indices = [sampler().indices(COUNT, next(slices)) for _ in range(11)]
    samples = torch.cat([x.unflatten(0, (2, -1)).transpose(0, 1).flatten() for x in indices])
    epochs = samples.split(COUNT)
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(COUNT))] * 4
    assert not torch.equal(epochs[0], epochs[1])


def test_a_schedule_divides_a_step():
    """Over 2 processes and 2 micro-steps each: the slices of one process with one micro-step."""
    parts = [BatchSchedule(batch=8, accumulate=2, rank=rank, processes=2) for rank in (0, 1)]
    assert [x for part in parts for x in part.slices(3)] == [
        BatchSlice(3, start, 2) for start in (24, 26, 28, 30)
    ]
    following = parts[1].following(BatchSlice(3, 30, 2))
    assert [next(following).start for _ in range(4)] == [30, 36, 38, 44]


@pytest.mark.parametrize(
    "schedule", [{}, {"accumulate": 2}, {"accumulate": 2, "rank": 1, "processes": 2}]
)
def test_images_from_the_disk(in_memory, on_disk, schedule, monkeypatch):
    """Every image is decoded by the workers, though each slice is asked for twice in a step."""
    monkeypatch.setattr(on_disk, "read", lambda indices: pytest.fail("decoded in this process"))
    starts = []
    stream = on_disk.stream
    monkeypatch.setattr(
        on_disk, "stream", lambda *args, **kwargs: starts.append(1) or stream(*args, **kwargs)
    )
    one, other = sampler(**schedule), sampler(**schedule)
    for step in range(5, 10):
        for batch in 2 * one.schedule.slices(step):
            image, indices = one.batch(on_disk, batch)
            expected, expected_indices = other.batch(in_memory, batch)
            assert torch.equal(indices, expected_indices)
            assert torch.equal(image, expected)
            assert torch.equal(
                one.images(on_disk, batch, mirror=True), other.images(in_memory, batch, True)
            )
    assert len(starts) == 1


def test_slices_in_any_order(in_memory, on_disk):
    """A jump begins anew; what is not in the schedule is decoded alone."""
    one = sampler()
    for batch in (
        BatchSlice(4, 32, 8),
        BatchSlice(5, 40, 8),
        BatchSlice(4, 32, 8),
        BatchSlice(0, 2, 4),
        BatchSlice(9, 72, 8),
    ):
        image, indices = one.batch(on_disk, batch)
        assert torch.equal(image, in_memory.batch(indices, CPU, torch.float32))


@pytest.mark.slow
def test_a_run_from_the_disk_is_the_run_from_memory(tmp_path, tiny, tensors):
    """With micro-steps, over several epochs, stopped and resumed: to the last bit."""
    small = {"images": 40, "save_every": 1000, "accumulate": 2, "log_every": 100}
    assert train.main(tiny(tmp_path / "memory", **small)) == 0
    disk = small | {"data_memory": 0, "data_workers": 1}
    assert train.main(tiny(tmp_path / "disk", **disk | {"images": 20})) == 0
    assert (tmp_path / "disk" / "images.npz").is_file()
    assert train.main(tiny(tmp_path / "disk", **disk)) == 0
    expected, actual = tensors(tmp_path / "memory"), tensors(tmp_path / "disk")
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        same = torch.equal(value, actual[name]) if torch.is_tensor(value) else value == actual[name]
        assert same, name


def test_a_run_is_not_resumed_with_other_images(tmp_path, tiny, folder, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for path in folder.iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    arguments = {"data": images, "log_every": 100, "out": tmp_path / "run"}
    assert train.main(tiny(**arguments | {"images": 4})) == 0, capsys.readouterr().err
    (images / "3.png").write_bytes(b"broken")
    assert train.main(tiny(**arguments | {"images": 8})) == train.WRONG_USE
    error = capsys.readouterr().err
    assert "not those that this run began with: 22 then, 21 now" in error
    (tmp_path / "run" / "checkpoint.pt").unlink()  # without one, nothing was trained yet
    assert train.main(tiny(**arguments | {"images": 4})) == 0, capsys.readouterr().err
