"""The smallest run of `train generator` on a folder of tiny pictures."""

import pytest


@pytest.fixture(scope="session")
def tiny(pictures):
    """tiny(out, **changes) -> arguments of train: 8 px, batch 4, everything switched on."""

    def arguments(out, **changes):
        flags = {
            "data": pictures,
            "resolution": 8,
            "channel_base": 32,
            "channel_max": 4,
            "z_dim": 8,
            "mapping_layers": 2,
            "mbstd_group": 2,
            "batch": 4,
            "images": 80,
            "precision": "fp32",
            "device": "cpu",
            "r1_interval": 4,
            "pl_interval": 3,
            "ada_images": 100,
            "save_every": 8,
            "log_every": 5,
            "num_samples": 2,
            "frechet": "none",
            "frechet_samples": 16,
            "out": out,
        } | changes
        pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in flags.items()]
        return ["generator", *sum(pairs, [])]

    return arguments
