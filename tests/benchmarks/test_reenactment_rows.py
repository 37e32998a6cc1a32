"""The table of reenactment, where a judge reads landmarks and persons from known pixels: the points
are further right the redder a picture is, and a person is the greens and blues. White is no face.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from benchmarks import judges, reenactment, reenactment_rows
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.reenacted import Pairs, pair_up
from benchmarks.reenactment_rows import STILL, STRANGERS
from facsimile import checkpoints, encoders, stylegan
from facsimile.data.landmark_network import LandmarkConfig, LandmarkNetwork
from facsimile.data.landmark_network import save as save_landmarks

SIDE = 32
JUDGE = """
import numpy as np

FACE = np.random.default_rng(0).uniform(5, 20, (68, 2))

def landmarks68(image):
    if image.mean() > 250:
        return None
    return FACE + [image[..., 0].mean() / 20, 0]

def identity(image):
    if image.mean() > 250:
        return None
    person = image[..., 1:].mean((0, 1)) - 120
    return person / np.linalg.norm(person)
"""
COLOURS = [(20, 130, 200), (60, 200, 130), (100, 50, 110), (255, 255, 255), (140, 140, 140)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures of one colour; the fourth shows nobody."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, colour in enumerate(COLOURS):
        Image.new("RGB", (48, 48), colour).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def networks(tmp_path: Path, make_encoder) -> Path:
    """A folder of networks for 32 px; in every picture the landmark network sees a face."""
    folder = tmp_path / "networks"
    folder.mkdir()
    sizes = {"resolution": SIDE, "channel_base": 256, "channel_max": 16}
    generator = random_generator(**sizes, latent=24, mapping_layers=2)
    stylegan.save(generator, folder / "generator.safetensors")
    stylegan.save(random_discriminator(**sizes), folder / "discriminator.safetensors")
    generator = checkpoints.find(folder).generator
    encoders.save(make_encoder("in-domain", generator), folder / "in-domain.safetensors")
    for kind, cycle in (("difference", "latent"), ("naive", "none"), ("keypoint", None)):
        (folder / kind).mkdir()
        encoders.save(make_encoder(kind, generator), folder / kind / encoders.FILE)
        if cycle:
            said = json.dumps({"settings": {"cycle": cycle}})
            (folder / kind / "config.json").write_text(said)
    landmarks = LandmarkNetwork(LandmarkConfig(side=16, width=4, depth=1))
    with torch.no_grad():
        landmarks.votes.bias.normal_(generator=torch.Generator().manual_seed(9))
        landmarks.presence.bias.fill_(50.0)
    save_landmarks(landmarks, folder / "landmarks.safetensors")
    return folder


@pytest.fixture
def options(photos: Path, networks: Path, tmp_path: Path) -> reenactment.Options:
    (tmp_path / "judge.py").write_text(JUDGE)
    return reenactment.Options(
        faces=photos,
        runs=(str(networks / "naive"), str(networks / "difference")),
        generator=str(networks),
        landmark_network=networks / "landmarks.safetensors",
        identity=tmp_path / "judge.py",
        frechet="discriminator",
        pairs=8,
        batch=3,
        out=tmp_path / "out",
    )


@pytest.fixture
def pairs(options: reenactment.Options) -> Pairs:
    return reenactment.prepare(options, checkpoints.find(options.generator))[0]


def test_pairs_are_of_two_faces_and_come_once() -> None:
    sources, targets = pair_up(7, 42, seed=3)
    assert len({*zip(sources.tolist(), targets.tolist(), strict=True)}) == 42
    assert not (sources == targets).any()
    for start in range(0, 42, 7):
        for numbers in (sources, targets):
            assert sorted(numbers[start : start + 7].tolist()) == list(range(7))
    few = pair_up(7, 3, seed=3)
    assert torch.equal(few[0], sources[:3])
    assert not torch.equal(pair_up(7, 42, seed=4)[0], sources)
    with pytest.raises(ValueError, match="got 7 faces for 43 pairs; they make 42 at most"):
        pair_up(7, 43, seed=3)


def test_faces_that_a_judge_does_not_see_are_in_no_pair(pairs: Pairs) -> None:
    assert pairs.usable.tolist() == [0, 1, 2, 4]
    assert {*pairs.source.tolist(), *pairs.target.tolist()} == {0, 1, 2, 4}
    assert pairs.once == 4
    assert pairs.judged[3].isnan().all()


def shifts(pairs: Pairs) -> torch.Tensor:
    """How far right of the source's the target's landmarks are, in sides: each of five groups."""
    reds = torch.tensor([float(colour[0]) for colour in COLOURS])
    return (reds[pairs.target] - reds[pairs.source]) / 20 / SIDE


def test_a_source_that_stays_is_itself(pairs: Pairs) -> None:
    """Whole likeness, no error, and all of the way to the target is left."""
    found = pairs.measure("stays", lambda images, codes, own, wanted: images)
    values = found["per_pair"]
    torch.testing.assert_close(values["hausdorff"].float(), 5 * shifts(pairs).abs())
    torch.testing.assert_close(values["csim"], torch.ones(8))
    assert torch.equal(values["mse"], torch.zeros(4))
    # White, too, is one of the faces to which the distance is.
    distances = found["frechet"]
    assert distances["reconstruction"] == pytest.approx(distances["manipulation"])
    assert distances["reconstruction"] > 0
    pairs.usable = torch.arange(5)
    del pairs.real
    pairs.source = pairs.target = torch.arange(5)
    whole = pairs.measure("all", lambda images, codes, own, wanted: images)["frechet"]
    assert whole["reconstruction"] == pytest.approx(0, abs=1e-4 * distances["reconstruction"])


def test_a_source_that_becomes_the_target_is_a_stranger(pairs: Pairs) -> None:
    """Told by its landmarks: those wanted are the target's, and with the own ones it stays."""
    pairs.condition_landmarks = torch.arange(5.0)[:, None, None].expand(-1, 68, 2).contiguous()

    def become(images, codes, own, wanted):
        assert torch.equal(pairs.images_of(own[:, 0, 0].long()), images)
        assert torch.equal(pairs.codes[own[:, 0, 0].long()], codes)
        return pairs.images_of(wanted[:, 0, 0].long())

    found, others = pairs.measure("becomes", become)["per_pair"], pairs.strangers()["per_pair"]
    torch.testing.assert_close(found["hausdorff"], torch.zeros(8).double(), atol=1e-6, rtol=0)
    assert torch.equal(found["mse"], torch.zeros(4))
    torch.testing.assert_close(found["csim"], others["csim"])
    torch.testing.assert_close(others["hausdorff"].float(), 5 * shifts(pairs).abs())
    persons = np.array([colour[1:] for colour in COLOURS], dtype=float) - 120
    persons /= np.linalg.norm(persons, axis=1, keepdims=True)
    wanted = (persons[pairs.source] * persons[pairs.target]).sum(1)
    torch.testing.assert_close(found["csim"].double(), torch.tensor(wanted))


def test_results_without_a_face_are_counted(pairs: Pairs) -> None:
    def vanish(images, codes, own, wanted):
        same = (images == pairs.images_of(torch.tensor([2]))).flatten(1).all(1)
        return torch.where(same[:, None, None, None], 1.0, images)

    found = reenactment.summary(pairs.measure("vanishes", vanish))
    gone = pairs.source == 2
    assert found["hausdorff without a face"] == int(gone.sum()) == 2
    assert found["hausdorff"] == pytest.approx(float(5 * shifts(pairs)[~gone].abs().mean()))
    assert found["csim"] == pytest.approx(1)


@pytest.mark.slow
def test_the_table_is_made_once(
    options: reenactment.Options, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    reenactment.main(options)
    first = capsys.readouterr().out
    assert "5 faces, 1 left out" in first
    assert "judge.py, independent" in first
    for name in ("naive + image cycle", "difference + image cycle", "keypoint + latent cycle"):
        assert name in next(line for line in first.splitlines() if "left out, as --runs" in line)
    rows = [line.split(" | ")[0].strip("| ") for line in first.splitlines() if "|" in line][2:]
    assert rows == [STILL, STRANGERS, "naive", "difference + latent cycle"]
    assert "0.480" in first.splitlines()[-8]
    written = json.loads((options.out / "reenactment.json").read_text())
    assert written["rows"].keys() == set(rows)
    for name in ("sheet.png", "motions.png"):
        assert (options.out / name).stat().st_size > 1000
    assert (options.out / "reenactment.md").read_text() == first

    def refuse(*_, **__) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Pairs, "measure", refuse)
    monkeypatch.setattr(reenactment, "detect_faces", refuse)
    reenactment.main(options)
    assert capsys.readouterr().out == first
    with pytest.raises(AssertionError, match="measured again"):
        reenactment.main(dataclasses.replace(options, pairs=7))


@pytest.mark.slow
def test_own_landmarks_may_move_nothing(options: reenactment.Options, capsys) -> None:
    """With --preserve-source the error is that of the in-domain encoder; w + d has its own."""
    for preserve_source in (True, False):
        told = dataclasses.replace(options, preserve_source=preserve_source, runs=options.runs[1:])
        reenactment.main(told)
        rows = json.loads((options.out / "reenactment.json").read_text())["rows"]
        same = rows["difference + latent cycle"]["mse"] == pytest.approx(rows[STILL]["mse"])
        assert same is preserve_source
        said = "holds: difference + latent cycle, source's landmarks" in capsys.readouterr().out
        assert said or not preserve_source


@pytest.mark.exhaustive
def test_strength(options: reenactment.Options) -> None:
    """Of none of a difference the source is left, of half of it something between."""
    found = {}
    for strength in (0.0, 0.5, 1.0):
        told = dataclasses.replace(options, strength=strength, runs=options.runs[1:])
        reenactment.main(told)
        rows = json.loads((options.out / "reenactment.json").read_text())["rows"]
        found[strength] = rows["difference + latent cycle"]
    still = rows[STILL]
    for name in ("hausdorff", "mse", "manipulation"):
        assert found[0.0][name] == pytest.approx(still[name])
        assert len({round(row[name], 9) for row in found.values()}) == 3


def test_rows_have_names(networks: Path) -> None:
    found = checkpoints.find(networks)

    def named(*runs: str) -> list[str]:
        return list(reenactment_rows.trained(runs, found))

    known = str(networks / "difference")
    assert named(f"ours={known}", known) == ["difference + latent cycle", "ours"]
    path = networks / "keypoint"
    assert named(f"keypoint + latent cycle={path / encoders.FILE}") == ["keypoint + latent cycle"]
    with pytest.raises(ValueError, match="does not say how it was trained.*write NAME="):
        named(str(path))
    with pytest.raises(ValueError, match="would be a second row difference"):
        named(known, known)
    with pytest.raises(ValueError, match="without landmarks as input"):
        named(str(networks / "in-domain.safetensors"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        named("nowhere")


@pytest.mark.slow
def test_without_a_judge_the_encoders_own_landmarks_count(
    options: reenactment.Options, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(judges, "identity_judge", lambda path: None)
    reenactment.main(dataclasses.replace(options, identity=None))
    said = capsys.readouterr().out
    assert "which flatters the encoders" in said
    assert "encoders' input by a Hausdorff distance of 0.000" in said
    assert "identity (CSIM): none" in said
    assert "unknown: naive, CSIM at least twice" in said


def record(hausdorff: list, csim: list, mse: list) -> dict:
    return {"per_pair": {"hausdorff": hausdorff, "csim": csim, "mse": mse}, "frechet": {}}


def test_findings_compare_pairs_that_both_have() -> None:
    records = {
        STILL: record([0.4, 0.4, 8.0], [1.0], [0.1, 0.2]),
        STRANGERS: record([1.0], ["nan", 0.1, 0.2], []),
        "good": record([0.1, 0.2, "nan"], [0.9, 0.31, 0.3], [0.1, 0.22]),
        "bad": record([0.2, 0.3, 9.0], [0.9, 0.3, 0.29], [0.2, 0.2]),
    }
    said = [line.partition(":")[0] for line in reenactment.findings(records, ("good", "bad"))]
    assert said == ["holds"] * 3 + ["FAILS"] * 3
    assert "(0.1500, 0.4000)" in reenactment.findings(records, ("good",))[0]


def test_the_command_line_starts(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        tyro.cli(reenactment.Options, args=["--help"])
    assert "--identity" in capsys.readouterr().out
