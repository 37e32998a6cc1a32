"""The benchmarks of training run on tiny networks, and measure what they say."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import distance, encoder_training, precision, training
from benchmarks.networks import random_discriminator, random_generator
from facsimile import data, stylegan

TINY = {"resolution": 16, "channel_base": 64, "channel_max": 8}


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / "networks"
    folder.mkdir()
    generator = random_generator(**TINY, latent=16, mapping_layers=2)
    stylegan.save(generator, folder / "generator.safetensors")
    stylegan.save(random_discriminator(**TINY), folder / "discriminator.safetensors")
    return folder


def test_both_ways_of_training_take_the_same_step() -> None:
    """What is compared is the same work: after a step the weights agree."""
    options = training.Options(channel_base=64, channel_max=8, batch=8)
    pairs = [training.Trained(16, options, ours=ours, half=False) for ours in (True, False)]
    source = torch.Generator().manual_seed(0)
    z = torch.randn(8, pairs[0].generator.z_dim, generator=source)
    real = torch.randn(8, 3, 16, 16, generator=source)
    before = [x.clone() for x in pairs[0].generator.parameters()]
    for pair in pairs:
        pair.step(z, real)
    for name in ("generator", "critic"):
        ours, theirs = (getattr(pair, name).state_dict() for pair in pairs)
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, atol=2e-3, rtol=1e-3)
    after = pairs[0].generator.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_training_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "training.json"
    sizes = {"resolutions": (16,), "batch": 4, "channel_base": 64, "channel_max": 8}
    training.main(training.Options(**sizes, pairs=5, seconds=0.0, peak=1.0, out=out))
    rows = json.loads(out.read_text())["rows"]
    assert [row["what"] for row in rows] == [
        "16 px, batch 4, ours in bf16",
        "16 px, batch 4, ours in fp32",
    ]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["ratio"])
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
        assert row["operations"] > 1e6
    assert capsys.readouterr().out.count(" %)") == 2  # the share of the peak


@pytest.mark.exhaustive
def test_encoder_training_is_timed(networks: Path, tmp_path: Path) -> None:
    out = tmp_path / "times.json"
    options = {"generator": str(networks), "width": 4, "batch": 16, "turns": 1, "precision": "fp32"}
    encoder_training.main(encoder_training.Options(**options, out=out))
    times = json.loads(out.read_text())
    assert times.keys() == {"base", "feature", "in-domain", "machine"}
    for kind in ("base", "feature", "in-domain"):
        assert times[kind].keys() == {"step", "generator", "encoder", "losses"}
        # A part is less work than the step that it is a part of.
        assert 0 < times[kind]["generator"] < 3 * times[kind]["step"]


@pytest.mark.exhaustive
def test_precisions_are_compared(networks: Path, tmp_path: Path, capsys) -> None:
    options = precision.Options(
        recipes=("base",), generator=str(networks), width=4, images=64, out=tmp_path / "out"
    )
    precision.main(options)
    table = (tmp_path / "out" / "precision.md").read_text().splitlines()
    assert len(table) == 2 + len(precision.RUNS)
    assert [row.split("|")[2:4] for row in table[2:]] == [
        [f" {name.rjust(9)} ", f" {str(seed).rjust(4)} "] for name, seed in precision.RUNS
    ]
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    # A run that is done is not done again, and has the same curves.
    capsys.readouterr()
    precision.main(options)
    assert (tmp_path / "out" / "precision.md").read_text().splitlines() == table


def test_distance_of_samples_and_of_faces(networks: Path, tmp_path: Path) -> None:
    """Samples are nearer to other samples of the same generator than to black pictures."""
    generator = stylegan.load(networks / "generator.safetensors")
    z = torch.randn(64, generator.z_dim, generator=torch.Generator().manual_seed(5))
    images = generator.synthesize(generator.map(z)).clamp(-1, 1)
    distances = {}
    for name, pictures in {"samples": images, "black": -torch.ones_like(images)}.items():
        (tmp_path / name).mkdir()
        for index, image in enumerate(pictures):
            data.to_pil(image).save(tmp_path / name / f"{index:02}.png")
        out = tmp_path / f"{name}.json"
        options = {"generators": (str(networks),), "frechet": "discriminator", "images": 32}
        faces = (str(tmp_path / name),)
        distance.main(distance.Options(faces=faces, **options, out=out))
        distances[name] = json.loads(out.read_text())["distance"]
    assert distances["samples"].keys() == {str(networks), "other faces"}
    assert distances["samples"][str(networks)] < distances["black"][str(networks)] / 2
    assert distances["black"]["other faces"] == pytest.approx(0, abs=1e-6)
