"""What the benchmark of loading writes is one generator in three formats."""

import torch

from benchmarks import loading
from facsimile import stylegan


def test_one_generator_in_every_format(tmp_path):
    options = loading.Options(side=16, channel_base=256, channel_max=16, latent=24)
    paths, size = loading.write(options, tmp_path)
    state = torch.load(paths.pop("torch.load"), weights_only=True)
    assert size == sum(x.nbytes for x in state.values())
    assert len(paths) == 3
    for path in paths.values():
        loaded = stylegan.load(path).state_dict()
        assert loaded.keys() == state.keys()
        for name, x in state.items():
            torch.testing.assert_close(loaded[name], x)


def test_measure(tmp_path):
    options = loading.Options(side=16, channel_base=256, channel_max=16, latent=24)
    paths, _ = loading.write(options, tmp_path)
    for name in ("torch.load", "NVIDIA .pkl"):
        seconds, peak = loading.measure(name, paths[name])
        assert 0 < seconds < 60
        assert peak >= 0
