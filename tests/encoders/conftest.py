"""The smallest networks as a folder, and the smallest runs of `train.py` on them."""

import dataclasses

import pytest
import torch

import checkpoints
import stylegan
import train
from training import Host


@pytest.fixture(scope="session")
def networks(tmp_path_factory, make_generator, make_discriminator):
    """networks(**changes) -> a folder with a generator of 16 px and its discriminator."""

    def folder(**changes):
        path = tmp_path_factory.mktemp("networks")
        stylegan.save(make_generator(16, 8, 8, **changes), path / "generator.safetensors")
        both = {k: v for k, v in changes.items() if k in ("c_dim", "img_channels")}
        stylegan.save(make_discriminator(16, 8, **both), path / "discriminator.safetensors")
        return path

    return folder


@pytest.fixture(scope="session")
def folder(networks):
    return networks()


@pytest.fixture(scope="session")
def settings(folder):
    """settings(kind, out, **changes) -> the settings of a run, everything switched on."""

    def told(kind, out, **changes):
        special = {
            "base": {"layer": "b8.conv0"},
            "in-domain": {"latent_weight": 0.1, "r1_every": 2},
        }
        settings = {
            "generator": str(folder),
            "perceptual": "discriminator",
            "width": 4,
            "batch": 4,
            "group": 2,
            "images": 40,
            "precision": "fp32",
            "device": "cpu",
            "save_every": 8,
            "samples": 2,
            "score_images": 4,
            "out": out,
        }
        return settings | special[kind] | changes

    return told


@pytest.fixture(scope="session")
def arguments(settings):
    """arguments(kind, out, **changes) -> the same as arguments of train.py."""

    def told(kind, out, **changes):
        flags = settings(kind, out, **changes)
        pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in flags.items()]
        return [kind, *sum(pairs, [])]

    return told


@pytest.fixture(scope="session")
def make_recipe(settings):
    """make_recipe(kind, **changes) -> the recipe of such a run, its data opened."""

    def made(kind, **changes):
        run, recipe = train.RECIPES[kind]
        names = {field.name for field in dataclasses.fields(run)}
        told = {k: v for k, v in settings(kind, "unused", **changes).items() if k in names}
        made = recipe(run(**told), Host(device=torch.device("cpu"), find=checkpoints.find))
        made.open_data()
        return made

    return made
