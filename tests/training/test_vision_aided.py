"""The vision-aided critic: frozen features, heads that learn, losses of both trainables."""

import pytest
import torch
from torchvision.models import squeezenet1_1

from facsimile.commands import train
from facsimile.training import vision_aided


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights with torchvision's names."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(squeezenet1_1().state_dict(), path)
    return path


def test_features_have_a_mean_square_of_one(weights):
    network = vision_aided.backbone(weights)
    assert not any(x.requires_grad for x in network.parameters())
    image = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    features = vision_aided.extract_features(network, image)
    assert [tuple(x.shape[1:]) for x in features] == [(128, 31, 31), (256, 15, 15), (512, 7, 7)]
    for feature in features:
        energy = feature.square().mean(1)
        torch.testing.assert_close(energy, torch.ones_like(energy), rtol=1e-3, atol=1e-3)
    heads = vision_aided.Heads([x.shape[1] for x in features])
    logits = heads(features)
    assert logits.shape == (2, 3)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert gradient.abs().sum() > 0


def test_a_run_with_it(tmp_path, tiny, weights, tensors):
    changes = {"images": 8, "mbstd_group": 2, "log_every": 1}
    assert train.main(tiny(tmp_path / "with", **changes, vision_aided=weights)) == 0
    state = tensors(tmp_path / "with")
    heads = [name for name in state if name.startswith("/modules/critic/heads")]
    assert len(heads) == 9
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "with" / "curves")).Reload()
    tags = {"loss/critic/vision fake", "loss/critic/vision real", "loss/generator/vision"}
    assert tags <= set(events.Tags()["scalars"])
