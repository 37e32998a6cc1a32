"""Scores against the functions they are made of, and as strict JSON."""

import json
import math
import subprocess
import sys

import pytest
import torch

from facsimile import metrics
from facsimile.metrics import (
    DESCRIPTIONS,
    Perceptual,
    gather,
    jsonable,
    mean,
    metric_descriptions,
    score,
)


class Identity(torch.nn.Module):
    """The image as its own feature."""

    def forward(self, image):
        return [image]


@pytest.fixture
def perceptual():
    return {"plain": Perceptual("plain", Identity(), "the image itself", max_size=None)}


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_scores_are_the_functions_on_clipped_outputs(perceptual):
    output, target = 1.5 * images(2, 3, 176, 176), images(2, 3, 176, 176, seed=1)
    scores = score(output.requires_grad_(), target, perceptual)
    clipped = output.detach().clamp(-1, 1)
    assert set(scores) == {*DESCRIPTIONS, "plain"}
    for name in DESCRIPTIONS:
        torch.testing.assert_close(scores[name], getattr(metrics, name)(clipped, target))
    torch.testing.assert_close(scores["plain"], 3 * scores["mse"])
    assert not any(values.requires_grad for values in scores.values())


def test_small_images_leave_out_what_does_not_fit():
    assert set(score(images(1, 3, 160, 160), images(1, 3, 160, 160))) == {"mse", "psnr", "ssim"}
    assert set(score(images(1, 3, 8, 8), images(1, 3, 8, 8))) == {"mse", "psnr"}


def test_a_failed_image_shows_as_nan_and_does_not_stop_the_others():
    output, target = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    output[0, 0, 0, 0] = math.nan
    values = score(output, target)["mse"]
    assert values.isnan().tolist() == [True, False]


def test_wrong_ranges_are_refused_but_overshoot_is_not():
    output, target = images(1, 3, 16, 16), images(1, 3, 16, 16, seed=1)
    score(4 * output, target)
    with pytest.raises(ValueError, match=r"expected them in \[-1, 1\]; convert 0..255"):
        score((output + 1) * 127.5, target)
    with pytest.raises(ValueError, match=r"expected them in \[-1, 1\]; convert 0..255"):
        score(output, (target + 1) * 127.5)


def test_every_card_tells_the_direction(perceptual):
    for sentence in DESCRIPTIONS.values():
        assert "is better" in sentence
        assert "\n" not in sentence
    assert metric_descriptions(["mse", "plain"], perceptual) == {
        "mse": DESCRIPTIONS["mse"],
        "plain": "the image itself",
    }


def test_batches_become_lists_and_means():
    target = images(3, 3, 16, 16)
    output = images(3, 3, 16, 16, seed=1)
    whole = score(output, target)
    parts = gather([score(output[:2], target[:2]), score(output[2:], target[2:])])
    assert list(parts) == list(whole)
    for name, values in parts.items():
        assert values == pytest.approx(whole[name].tolist(), rel=1e-5)
        assert mean(values) == pytest.approx(whole[name].mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="got no scores"):
        mean([])


def test_json_is_strict():
    target = images(2, 3, 16, 16)
    output = target.clone()
    output[1] = -output[1]
    scores = gather([score(output, target)])
    written = json.dumps(jsonable(scores), allow_nan=False)
    assert json.loads(written)["psnr"] == ["inf", pytest.approx(scores["psnr"][1])]
    assert jsonable(mean(scores["psnr"])) == "inf"
    assert jsonable([math.nan, -math.inf, 1, "name"]) == ["nan", "-inf", 1, "name"]
    assert jsonable({"mse": torch.tensor([0.5])}) == {"mse": [0.5]}


def test_importing_metrics_imports_nothing_heavy():
    code = (
        "import sys, facsimile.metrics; "
        "print({'torchvision', 'lpips', 'facenet_pytorch', 'face_alignment'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "set()\n", ran.stderr
