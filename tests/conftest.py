"""A tiny frozen generator and discriminator, pictures, and training in processes of its own."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from facsimile import metrics, stylegan
from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator, freeze

# For networks this small, threads cost more than they bring; on a busy machine, far more.
torch.set_num_threads(1)


def pytest_configure() -> None:
    """A shell that starts the suite in the background has it ignore Ctrl-C, which tests send."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _generator(
    side=32,
    width=16,
    latent=32,
    *,
    channels=None,
    img_channels=3,
    c_dim=0,
    conv_clamp=None,
    seed=0,
    architecture="stylegan2",
    w_per_layer=False,
    fused_from=128,
    layers=4,
    radial=False,
):
    """Random weights, and nothing at its neutral value: biases, noise strengths and w_avg count.

    architecture: "stylegan1" has no conv_clamp; w_per_layer and fused_from are of StyleGAN1 alone,
    layers before toRGB and radial (configuration R instead of T) of StyleGAN3.
    """
    blocks = side.bit_length() - 2
    config = {
        "architecture": architecture,
        "z_dim": latent,
        "c_dim": c_dim,
        "w_dim": latent,
        "img_resolution": side,
        "img_channels": img_channels,
        "mapping_layers": 2,
        "channels": channels or [width] * blocks,
    }
    if architecture == "stylegan1":
        config |= {"w_per_layer": w_per_layer, "fused_from": fused_from}
    else:
        config |= {"conv_clamp": conv_clamp}
    if architecture == "stylegan3":
        widths = channels or [width] * layers
        config |= {
            "channels": [*widths, img_channels],
            "num_layers": len(widths),
            "num_critical": 2,
            "first_cutoff": 2,
            "first_stopband": 2**2.1,
            "last_stopband_rel": 2**0.3,
            "margin_size": 10,
            "output_scale": 0.25,
            "filter_size": 6,
            "lrelu_upsampling": 2,
            "conv_kernel": 1 if radial else 3,
            "use_radial_filters": radial,
        }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        generator = freeze(Generator(config))
        for name, weight in generator.named_parameters():
            if name.endswith("noise_strength"):
                weight.copy_(0.05 + 0.1 * torch.rand(weight.shape))
            elif name.endswith("bias"):
                # A learning-rate multiplier of 0.01 makes stored values of the mapping large.
                size = 10.0 if name.startswith("mapping.fc") else 0.1
                weight.add_(size * torch.randn(weight.shape))
            elif name.endswith("torgb.weight"):
                weight.mul_(0.3)
        for name, buffer in generator.named_buffers():
            if name.endswith("magnitude_ema"):
                buffer.copy_(0.3 + 0.4 * torch.rand([]))
        z = torch.randn(1000, latent)
        c = torch.eye(c_dim)[torch.arange(1000) % c_dim] if c_dim else None
        generator.mapping.w_avg.copy_(generator.mapping(z, c).mean(0))
    return generator


def _discriminator(side=32, width=16, *, seed=1, **options):
    blocks = side.bit_length() - 2
    options = {"img_channels": 3, "channels": (width,) * blocks, "mapping_layers": 2} | options
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = freeze(Discriminator(DiscriminatorConfig(img_resolution=side, **options)))
        for name, weight in network.named_parameters():
            if name.endswith("bias"):
                weight.add_(0.1 * torch.randn(weight.shape))
    return network


class ToyEncoder(nn.Module):
    """A stand-in for an encoder into W+, smooth: images (N, C, R, R) -> codes (N, L, w_dim)."""

    def __init__(self, generator):
        super().__init__()
        self.shape = (generator.num_ws, generator.w_dim)
        self.conv = nn.Conv2d(generator.img_channels, 4, 3, stride=2, padding=1)
        side = generator.resolution // 2
        self.dense = nn.Linear(4 * side * side, generator.num_ws * generator.w_dim)
        self.register_buffer("w_avg", generator.mapping.w_avg.clone())

    def forward(self, images):
        x = torch.tanh(self.conv(images)).flatten(1)
        return self.dense(x).unflatten(1, self.shape) + self.w_avg


def _toy_encoder(generator, seed=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return freeze(ToyEncoder(generator).to(generator.dtype))


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers in every order of the tests."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def alone():
    """accelerate keeps one state per process; every run begins with none."""
    yield
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(True)
        state.GradientState._reset_state()
        state.PartialState._reset_state()


@pytest.fixture(scope="session")
def make_generator():
    """make_generator(side, width, latent, ..) -> a frozen generator of random weights."""
    return _generator


@pytest.fixture(scope="session")
def make_discriminator():
    return _discriminator


@pytest.fixture(scope="session")
def make_encoder():
    """make_encoder(kind, generator, **changes) -> a frozen tiny encoder of random weights."""
    from facsimile.encoders import KINDS

    def made(kind, generator, *, layer=None, rgb_skip="zero", hidden=0, **changes):
        options = (2,)  # images per batch normalisation
        if kind == "base":
            sizes = {"layer": layer, "width": 4, "rgb_skip": rgb_skip}
        elif kind == "feature":
            sizes, options = {"layer": layer, "width": 8, "codes_width": 8, "hidden": 8}, ()
        elif kind == "editor":
            layer = layer or generator.default_feature_layer()
            sizes, options = {"layer": layer, "width": 8}, ()
        else:
            sizes = {"width": 4, "max_width": 8}
        if kind in ("difference", "keypoint"):
            sizes["hidden"] = hidden
        entry = KINDS[kind]
        config = entry.config.for_generator(generator, **sizes, **changes)
        encoder = entry.network(config, *options)
        if kind == "feature":  # a new one changes nothing
            torch.nn.init.normal_(encoder.fusion.last.weight, std=0.1)
        if kind in ("difference", "keypoint"):
            with torch.no_grad():
                # No batch has set its normalisation: at 0.02 the output would be close to 0.
                for weight in encoder.parameters():
                    weight.mul_(10 if weight.ndim > 1 else 1)
        encoder.to(generator.dtype)
        z = torch.randn(4, generator.z_dim, dtype=generator.dtype)
        label = torch.eye(generator.c_dim)[[0] * 4] if generator.c_dim else None
        encoder.init_normalization(generator, generator.map(z, label))
        return stylegan.freeze(encoder)

    return made


@pytest.fixture(scope="session")
def make_toy_encoder():
    """make_toy_encoder(generator) -> a frozen encoder of random weights into its W+."""
    return _toy_encoder


@pytest.fixture(scope="session")
def generator():
    """32 px, float32."""
    return _generator()


@pytest.fixture(scope="session")
def generator64():
    """The same in float64."""
    return _generator().double()


@pytest.fixture(scope="session")
def discriminator():
    return _discriminator()


@pytest.fixture(scope="session")
def perceptual(discriminator):
    return metrics.discriminator_features(discriminator)


@pytest.fixture(scope="module")
def small_identity():
    """dlib's face recognition network is a small one of random weights, as all others here are."""

    def init(self, path):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(6)
            for name, weight in self.named_parameters():
                weight.normal_(std=0.1 if name.endswith("bias") else weight[0].numel() ** -0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facsimile.metrics.dlib_identity.UNITS", ((4, False), (8, True)))
        patch.setattr("facsimile.metrics.dlib_identity.DlibIdentity._load", init)
        yield


@pytest.fixture(scope="session")
def targets():
    """(4, 3, 32, 32) smooth pictures in [-1, 1]."""
    coarse = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear", align_corners=True)


@pytest.fixture(scope="session")
def tiny():
    """The smallest world in which everything happens, in float64: 8 px, eight pictures.

    .generator, .perceptual, .targets (8, 3, 8, 8), .encoder: images -> codes in W+, .start(space)
    -> latents of 8 images, each with a code and a feature of its own.
    """
    generator = _generator(8, 8, 8).double()
    perceptual = metrics.discriminator_features(_discriminator(8, 8).double())
    # Pictures of the generator, some of them hard to draw.
    source = torch.Generator().manual_seed(4)
    ws = generator.map(torch.randn(8, 8, generator=source).double())
    noise = torch.randn(8, 3, 8, 8, generator=source).double()
    targets = generator.synthesize(ws) + noise * torch.linspace(0, 0.7, 8)[:, None, None, None]

    def start(space):
        source = torch.Generator().manual_seed(5)
        latents = stylegan.init_latents(generator, space, 8)
        tensors = {
            name: x + 0.1 * torch.randn(x.shape, generator=source).double()
            for name, x in latents.tensors().items()
        }
        return latents.with_tensors(tensors).retract()

    return SimpleNamespace(
        generator=generator,
        perceptual=perceptual,
        targets=targets.clamp(-1, 1),
        encoder=_toy_encoder(generator),
        start=start,
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """23 pictures of 16 px, some of them not square."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(23):
        pixels = random.integers(0, 255, (16 + index % 3, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def run_processes(tmp_path_factory):
    """run_processes((args, kills, processes), ..): train in other processes; all must end well.

    Each is stopped and started again `kills` times: see training_processes.py. One program forks
    the processes of all tests, as importing PyTorch takes longer than most of the runs.
    """
    names = ("args", "kills", "processes", "stop", "finish")
    log = tmp_path_factory.mktemp("processes") / "log"
    program = [sys.executable, str(Path(__file__).with_name("training_processes.py"))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (
        log.open("w") as file,
        subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        ) as server,
    ):

        def run(*jobs):
            for job in jobs:
                server.stdin.write(json.dumps(dict(zip(names, job, strict=False))) + "\n")
                server.stdin.flush()
                ready, _, _ = select.select([server.stdout], [], [], 300)
                assert ready, f"not done after 300 seconds:\n{log.read_text()[-3000:]}"
                failure = json.loads(server.stdout.readline() or '"the program has ended"')
                assert not failure, f"{failure}\n{log.read_text()[-3000:]}"

        yield run
        os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def tensors():
    """tensors(out) -> every tensor and number of a run's last checkpoint, by its path."""

    def flat(value, name=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flat(inner, f"{name}/{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from flat(inner, f"{name}/{index}")
        else:
            yield name, value

    def read(out):
        return dict(flat(torch.load(out / "checkpoint.pt", weights_only=True)["state"]))

    return read
