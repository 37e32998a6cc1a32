"""The identity term on a toy network. Oracle: the formula, written out."""

import pytest
import torch
from refine_helpers import go, one_phase, total
from torch import nn

from facsimile.metrics import IdentityNetwork
from facsimile.refine import Term
from facsimile.refine.recipes import get
from facsimile.refine.terms import evaluate, prepare

TERM = Term("identity", 2.0)


class ToyIdentity(IdentityNetwork):
    """Images (N, 3, 8, 8) -> embeddings (N, 5), smooth and frozen, in float64."""

    name, title, threshold = "toy", "a toy", 0.5

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(192, 5).double()
        self.eval().requires_grad_(False)

    def _embed(self, images):
        return torch.tanh((images.flatten(1)[:, None] * self.dense.weight).sum(2))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ToyIdentity()


@pytest.fixture
def losses(tiny, network):
    """losses(code, **networks) -> (8,) values of the term for codes in W+."""
    start = tiny.start("w+")

    def compute(code, target="target", **networks):
        term = Term("identity", 2.0, target=target)
        networks = {"identity": network} | networks
        recipe, images = one_phase(terms=(term,)), {target: tiny.targets}
        targets = prepare(tiny.generator, start, images, {}, networks, recipe)
        (value,) = evaluate(targets.inputs(start.with_tensors({"code": code})), (term,)).values()
        return value

    return compute


def test_the_formula(tiny, network, losses):
    start = tiny.start("w+")
    image = start.synthesize(tiny.generator)
    distance = network.distance(image, tiny.targets)
    error = (image - tiny.targets).square().mean((1, 2, 3))
    torch.testing.assert_close(losses(start.code), 2 * error * (distance / 0.5) ** 2)
    torch.testing.assert_close(losses(start.code, "other"), losses(start.code))


def test_the_gradient_is_that_of_the_embedding_alone(tiny, network, losses):
    """Finite differences with the pixel error left where it is."""
    start = tiny.start("w+")
    code = start.code.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses(code).sum(), code)
    image = start.synthesize(tiny.generator)
    error = (image - tiny.targets).square().mean((1, 2, 3))
    direction = torch.randn(code.shape, dtype=torch.float64)

    def distance_sq(step):
        moved = start.with_tensors({"code": start.code + step * direction})
        return network.distance(moved.synthesize(tiny.generator), tiny.targets).square()

    slopes = 2 * error / 0.25 * (distance_sq(1e-5) - distance_sq(-1e-5)) / 2e-5
    torch.testing.assert_close(slopes, (gradient * direction).sum((1, 2)), rtol=1e-6, atol=1e-8)


def test_only_targets_that_show_a_face(tiny, losses):
    code = tiny.start("w+").code
    faces = torch.tensor([True, False] * 4)
    values = losses(code, shows_face=lambda images: faces[: len(images)])
    assert torch.equal(values, losses(code) * faces)


def test_it_lowers_the_distance(tiny, network):
    """Beside the pixel term, in the same number of steps; no image becomes less alike."""
    plain = one_phase(steps=30, terms=(Term("pixel", 1.0),))
    with_term = one_phase(steps=30, terms=(Term("pixel", 1.0), TERM))
    networks = {"identity": network}
    distances = [
        network.distance(
            go(tiny, recipe, networks=networks).latents.synthesize(tiny.generator), tiny.targets
        )
        for recipe in (plain, with_term)
    ]
    assert distances[1].mean() < 0.9 * distances[0].mean()


def test_images_do_not_influence_one_another(tiny, network):
    recipe = get("w+ +identity").with_steps(6)
    shows_face = lambda images: images.mean((1, 2, 3)) < 0.1  # noqa: E731
    networks = {"identity": network, "shows_face": shows_face}
    whole = go(tiny, recipe, networks=networks)
    assert 0 < shows_face(tiny.targets).sum() < 8
    for rows in ([0], [5], [2, 3, 4]):
        alone = go(tiny, recipe, rows=rows, networks=networks)
        assert torch.equal(alone.latents.code, whole.latents.code[rows])
        assert torch.equal(total(alone, "code"), total(whole, "code")[:, rows])


def test_what_it_needs(tiny, network):
    recipe = get("w+ +identity").with_steps(1)
    sentence = 'the term "identity", which needs the network "identity"'
    with pytest.raises(ValueError, match=sentence):
        go(tiny, recipe)
    with pytest.raises(ValueError, match="identity network is in training mode.*eval"):
        go(tiny, recipe, networks={"identity": ToyIdentity().train()})
