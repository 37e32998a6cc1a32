"""The smallest run of `train.py generator` on a folder of little pictures."""

import pytest


@pytest.fixture(scope="session")
def tiny(pictures):
    """tiny(out, **changes) -> arguments of train.py: 8 px, batch 4, everything switched on."""

    def arguments(out, **changes):
        told = {
            "data": pictures,
            "resolution": 8,
            "channel_base": 32,
            "channel_max": 4,
            "latent": 8,
            "mapping_layers": 2,
            "group": 2,
            "batch": 4,
            "images": 80,
            "precision": "fp32",
            "device": "cpu",
            "r1_every": 4,
            "path_every": 3,
            "augment_images": 100,
            "save_every": 8,
            "log_every": 5,
            "samples": 2,
            "frechet": "none",
            "frechet_images": 16,
            "out": out,
        } | changes
        flags = [[f"--{name.replace('_', '-')}", str(value)] for name, value in told.items()]
        return ["generator", *sum(flags, [])]

    return arguments
