"""The script that proves a GPU runs to its end on the CPU, and says what fails."""

import json

import pytest
import torch

from benchmarks import timing
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.page import Page
from benchmarks.peers import pti, w_projector


def test_the_script_runs_on_the_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "LEAST_PAIRS", 1)
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0.0)
    page = gpu.main(gpu.Options(device="cpu", tiny=True, minutes=2, out=tmp_path))
    assert page.failed == []
    assert {x["outcome"] for x in page.checks} == {"PASS"}
    content = json.loads((tmp_path / "gpu.json").read_text())
    units = {row["unit"].partition(",")[0] for row in content["numbers"]}
    assert units == {"refinement", "synthesis", "photos/s", "training", "peers"}
    assert (tmp_path / "gpu.md").read_text().count("|") > 50
    assert "FAIL  " not in capsys.readouterr().out


def test_what_fails_is_said_and_the_next_part_runs(capsys):
    page = Page("cpu", minutes=1)
    page.check("right", lambda: 0.5, 1.0)
    page.check("wrong", lambda: 2.0, 1.0)
    page.check("unknown", lambda: float("nan"), 1.0)
    page.check("broken", lambda: float("x"), 1.0)
    page.measure("broken row", "ms", lambda: {"ours": 1 / 0})
    page.minutes = 0
    page.check("late", lambda: 0.0, 1.0)
    outcomes = [x["outcome"] for x in page.checks]
    assert outcomes == ["PASS", "FAIL", "FAIL", "FAIL", "FAIL", "SKIP"]
    assert page.failed == ["wrong", "unknown", "broken", "broken row"]
    assert "1 PASS, 4 FAIL, 1 SKIP" in page.text()


def test_a_machine_without_a_gpu_says_so():
    if torch.cuda.is_available():
        pytest.skip("it has one")
    with pytest.raises(SystemExit, match='no "cuda"; choose --device cpu'):
        gpu.main(gpu.Options())


def test_the_peers_come_closer(tiny):
    """To the picture, by their own losses; the maps stay noise."""
    generator, perceptual = tiny.generator, tiny.perceptual
    target = tiny.targets[:1]
    settings = w_projector.Settings(steps=12, samples=100)
    found = w_projector.project(generator, target, perceptual, settings)
    for x in found.noise:
        torch.testing.assert_close(x.mean((2, 3)), torch.zeros_like(x.mean((2, 3))))
        torch.testing.assert_close(x.square().mean((2, 3)), torch.ones_like(x.mean((2, 3))))

    def distance(network, w, noise):
        image = network.synthesize(network.broadcast_ws(w), noise)
        return float(perceptual(image.clamp(-1, 1), target))

    begin = distance(generator, generator.mapping.w_avg[None], found.noise)
    assert distance(generator, found.w, found.noise) < begin
    tuned, w, noise = pti.invert(
        generator, target, perceptual, pti.Settings(pivot=settings, steps=10)
    )
    assert distance(tuned, w, noise) < distance(generator, w, noise)
    assert not any(x.requires_grad for x in generator.parameters())
