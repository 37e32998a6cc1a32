"""The benchmark of loading writes one generator in three formats, and measures each."""

import pytest
import torch

from benchmarks import loading
from facsimile import stylegan


def test_one_generator_in_every_format(tmp_path):
    options = loading.Options(resolution=16, channel_base=256, channel_max=16, latent=24)
    paths, size = loading.write(options, tmp_path)
    state = torch.load(paths.pop("torch.load"), weights_only=True)
    assert size == sum(x.nbytes for x in state.values())
    assert len(paths) == 3
    for path in paths.values():
        loaded = stylegan.load(path).state_dict()
        assert loaded.keys() == state.keys()
        for name, x in state.items():
            torch.testing.assert_close(loaded[name], x)


def test_measure_counts_time_and_memory(tmp_path, monkeypatch):
    """The seconds of the load alone, and how far the peak lies above what was resident before."""
    options = loading.Options(resolution=16, channel_base=256, channel_max=16, latent=24)
    paths, _ = loading.write(options, tmp_path)
    opened = []
    monkeypatch.setattr(loading.stylegan, "load", opened.append)
    times = iter((5.0, 7.5))
    monkeypatch.setattr(loading.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(loading, "resident", lambda *, peak=False: 130.0 if peak else 100.0)
    assert loading.measure("NVIDIA .pkl", paths["NVIDIA .pkl"]) == (2.5, 30 * 2**20)
    assert opened == [paths["NVIDIA .pkl"]]


@pytest.mark.exhaustive
def test_a_process_measures_its_load(tmp_path):
    """A file of 64 MB is resident when it is loaded."""
    path = tmp_path / "tensors.pt"
    torch.save({"x": torch.ones(2**24)}, path)
    ((seconds,), (peak,)) = loading.compare({"torch.load": path}, rounds=1)["torch.load"]
    assert 60e6 < peak < 300e6
    assert 0 < seconds < 60
