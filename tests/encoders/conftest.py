"""The smallest networks as a folder, and the smallest runs of `train.py` on them."""

import dataclasses

import pytest
import torch

import train
from facsimile import checkpoints, encoders, stylegan
from facsimile.data.landmark_network import LandmarkConfig, LandmarkNetwork
from facsimile.data.landmark_network import save as save_landmarks
from facsimile.training import Distributed


@pytest.fixture(scope="session")
def make_landmarks():
    """make_landmarks(n, side, dtype) -> landmarks (n, 68, 2) of faces in images of that side."""

    def made(n, side, dtype=torch.float32):
        rng = torch.Generator().manual_seed(7)
        face = torch.rand(1, 68, 2, generator=rng) + 0.1 * torch.rand(n, 68, 2, generator=rng)
        return (face * side / 1.1).to(dtype)

    return made


@pytest.fixture(scope="session")
def guess(make_landmarks):
    """guess(encoder, generator, images) -> its latents of these; where it takes them, of codes and
    landmarks that are always the same."""

    def guessed(encoder, generator, images, label=None):
        if isinstance(encoder, encoders.FeatureEncoder | encoders.InDomainEncoder):
            return encoders.encode(encoder, generator, images, label=label)
        landmarks = make_landmarks(len(images), generator.resolution, generator.dtype)
        source = images
        if isinstance(encoder, encoders.DifferenceEncoder):
            rng = torch.Generator().manual_seed(8)
            z = torch.randn(len(images), generator.z_dim, generator=rng).to(generator.dtype)
            source = generator.map(z, label)
        return encoders.reenact_codes(encoder, generator, source, landmarks)

    return guessed


@pytest.fixture(scope="session")
def networks(tmp_path_factory, make_generator, make_discriminator, make_encoder):
    """networks(**changes) -> a folder with a generator of 16 px, its discriminator and encoder."""

    def folder(**changes):
        path = tmp_path_factory.mktemp("networks")
        generator = make_generator(16, 8, 8, **changes)
        stylegan.save(generator, path / "generator.safetensors")
        encoders.save(make_encoder("in-domain", generator), path / "in-domain.safetensors")
        both = {k: v for k, v in changes.items() if k in ("c_dim", "img_channels")}
        stylegan.save(make_discriminator(16, 8, **both), path / "discriminator.safetensors")
        return path

    return folder


@pytest.fixture(scope="session")
def folder(networks):
    return networks()


@pytest.fixture(scope="session")
def landmark_weights(tmp_path_factory):
    """A landmark network of random weights; in most samples of the folder it sees a face."""
    path = tmp_path_factory.mktemp("landmarks") / "landmarks.safetensors"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = LandmarkNetwork(LandmarkConfig(side=16, width=4, depth=1))
        network.votes.weight.mul_(10)
        network.votes.bias.normal_()
        network.presence.weight.normal_(generator=torch.Generator().manual_seed(1))
        network.presence.bias.fill_(2.2)
    save_landmarks(network, path)
    return path


@pytest.fixture(scope="session")
def settings(folder, landmark_weights):
    """settings(kind, out, **changes) -> the settings of a run, everything switched on."""

    def told(kind, out, **changes):
        special = {
            "base": {"layer": "b8.conv0", "passes": 2, "mixed": 0.5},
            "in-domain": {"latent_weight": 0.1, "r1_every": 2, "passes": 2},
        }
        moving = {"landmark_weights": str(landmark_weights), "landmark_weight": 0.1, "r1_every": 2}
        moving |= {"group": 4, "max_width": 8}
        special |= {"naive": moving, "difference": moving | {"identity_weight": 0.1}}
        special["keypoint"] = special["difference"] | {"critic": "concat"}
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
        made = recipe(run(**told), Distributed(device=torch.device("cpu"), find=checkpoints.find))
        made.open_data()
        return made

    return made
