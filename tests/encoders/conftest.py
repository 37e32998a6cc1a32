"""The smallest networks as a folder, and the smallest training runs on them."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from facsimile import checkpoints, encoders, metrics, stylegan
from facsimile.data.landmark_network import LandmarkConfig, LandmarkNetwork
from facsimile.data.landmark_network import save as save_landmarks
from facsimile.editing import reenact_latents
from facsimile.training import BatchSlice, Distributed


@pytest.fixture(scope="session")
def make_landmarks():
    """make_landmarks(n, side, dtype) -> landmarks (n, 68, 2) of faces in images of that side."""

    def made(n, side, dtype=torch.float32):
        rng = torch.Generator().manual_seed(7)
        face = torch.rand(1, 68, 2, generator=rng) + 0.1 * torch.rand(n, 68, 2, generator=rng)
        return (face * side / 1.1).to(dtype)

    return made


@pytest.fixture(scope="session")
def predict(make_landmarks):
    """predict(encoder, generator, images) -> latents, whatever the kind; landmarks and codes, if it
    takes them, are always the same."""

    def predicted(encoder, generator, images, label=None):
        kind = encoders.kind_of(encoder)
        if kind.default_space is not None:
            return encoders.encode(encoder, generator, images, label=label)
        encoders.files.check(encoder, generator)
        landmarks = make_landmarks(len(images), generator.resolution, generator.dtype)
        source = images
        if kind.source == "w+":
            rng = torch.Generator().manual_seed(8)
            z = torch.randn(len(images), generator.z_dim, generator=rng).to(generator.dtype)
            source = generator.map(z, label)
        return reenact_latents(encoder, generator, source, landmarks)

    return predicted


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
def landmark_network(tmp_path_factory):
    """A landmark network of random weights that sees a face in most samples of the folder."""
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
def settings(folder, landmark_network):
    """settings(kind, out, **changes) -> the flags of a run with every term, as a flat dict."""

    def flat(kind, out, **changes):
        reenactment = {"landmark_network": landmark_network, "landmark_weight": 0.1}
        reenactment |= {"r1_interval": 2, "bn_group_size": 4, "max_width": 8}
        difference = reenactment | {"source_landmark_weight": 0.1}
        special = {
            "base": {"layer": "b8.conv0", "iterations": 2, "feature_mix_prob": 0.5},
            "feature": {"layer": "b8.conv0", "width": 8, "codes_width": 8, "identity": "off"}
            | {"adversarial_weight": 0.1, "adversarial_start": 0.0, "lr_decay_images": 40}
            | {"lr_warmup_images": 0, "inverse_width": 8},
            "in-domain": {
                "latent_weight": 0.1,
                "r1_interval": 2,
                "iterations": 2,
                "identity": "off",
            }
            | {"critic": "trained", "adversarial_weight": 0.1, "optimizer_hidden": 16}
            | {"turn_rank": 4, "lr": 1e-4, "lr_decay_images": 40, "lr_warmup_images": 0},
            "naive": reenactment,
            "difference": difference,
            "keypoint": difference | {"critic": "concat"},
        }
        common = {
            "generator": str(folder),
            "perceptual": "discriminator",
            "width": 4,
            "batch": 4,
            "bn_group_size": 2,
            "images": 40,
            "precision": "fp32",
            "device": "cpu",
            "save_every": 8,
            "num_samples": 2,
            "eval_images": 4,
            "out": out,
        }
        return common | special[kind] | changes

    return flat


@pytest.fixture(scope="session")
def arguments(settings):
    """arguments(kind, out, **changes) -> the same as arguments of `train`."""

    def listed(kind, out, **changes):
        flags = settings(kind, out, **changes)
        pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in flags.items()]
        return [kind, *sum(pairs, [])]

    return listed


def nested(section, flat):
    """The settings class with these flags, each in the section that has it; pops them."""
    values = {}
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(field.default):
            names = [x.name for x in dataclasses.fields(field.default) if x.name in flat]
            part = {name: flat.pop(name) for name in names}
            values[field.name] = dataclasses.replace(field.default, **part)
        elif field.name in flat:
            values[field.name] = flat.pop(field.name)
    return section(**values)


@pytest.fixture
def make_recipe(settings, tmp_path):
    """make_recipe(kind, **changes) -> the recipe of such a run, its data opened."""

    def made(kind, device="cpu", **changes):
        entry, flat = encoders.KINDS[kind], settings(kind, Path(tmp_path / "run"), **changes)
        built = nested(entry.settings, flat)
        assert not flat, f"no such flags: {flat}"
        distributed = Distributed(device=torch.device(device), load_networks=checkpoints.find)
        recipe = entry.recipe(built, distributed)
        recipe.setup_data()
        return recipe

    return made


@pytest.fixture(scope="session")
def losses_of():
    """losses_of(recipe, name, batch) -> the terms of one trainable, as the loop asks for them."""

    def terms(recipe, name, batch):
        losses = recipe.losses(name, batch, recipe.forward(batch))
        return {name: value for name, value in losses.items() if value.requires_grad}

    return terms


@pytest.fixture(scope="session")
def train_step():
    """train_step(recipe, step, size) -> the losses of all trainables, each updated once."""

    def stepped(recipe, step, size, start=None):
        batch = BatchSlice(step, step * size if start is None else start, size)
        rates = recipe.learning_rates(step * recipe.settings.batch)
        shared, values = recipe.forward(batch), {}
        for trainable in recipe.trainables:
            trainable.optimizer.zero_grad()
            losses = recipe.losses(trainable.name, batch, shared)
            losses = {name: value for name, value in losses.items() if value.requires_grad}
            sum(losses.values()).backward(inputs=trainable.parameters())
            for group in trainable.optimizer.param_groups:
                group["lr"] = rates[trainable.name]
            trainable.optimizer.step()
            values |= {name: float(value.detach()) for name, value in losses.items()}
        recipe.on_step_end(batch)
        return values

    return stepped


class TinyIdentity(metrics.IdentityNetwork):
    """An identity network of random weights."""

    name, note, threshold = "dlib", "identity: tiny", 0.6

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(48, 5, generator=rng), requires_grad=False)

    def _embed(self, images):
        return torch.tanh(F.adaptive_avg_pool2d(images, 4).flatten(1) @ self.weight)


@pytest.fixture
def tiny_identity(monkeypatch):
    """A tiny identity network, also in place of every one that is built by name."""
    monkeypatch.setattr(
        metrics, "build_identity", lambda name, *_: None if name == "off" else TinyIdentity()
    )
    return TinyIdentity().double()
