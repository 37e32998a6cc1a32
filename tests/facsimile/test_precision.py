"""Precision: the plan has it, networks compute in it, and everything else stays as it was."""

import pytest
import torch

import facsimile
from facsimile.precision import computing_in
from facsimile.stylegan.layers import ModulatedConv


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="none", device="cpu")


def test_products_are_set_and_set_back():
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    for name, allowed in (("fp32", False), ("tf32", True), ("bf16", True)):
        with computing_in(name):
            assert (products.allow_tf32, convolutions.allow_tf32) == (allowed, allowed)
        assert (products.allow_tf32, convolutions.allow_tf32) == before


def test_16_bits_are_the_generators_alone(studio, monkeypatch):
    """The picture is nearly the same, and what comes out is in single precision."""
    seen, forward = set(), ModulatedConv.forward

    def spy(self, x, style, noise):
        result = forward(self, x, style, noise)
        seen.add(result.dtype)
        return result

    monkeypatch.setattr(ModulatedConv, "forward", spy)
    target = torch.rand(1, 3, 32, 32) * 2 - 1
    results = {}
    for name in ("fp32", "bf16"):
        seen.clear()
        plan = studio.plan("w+", steps=2, precision=name, identity="off")
        results[name] = result = studio.invert(target, plan)
        assert seen == {torch.bfloat16 if name == "bf16" else torch.float32}
        assert result.images.dtype == result.latents.code.dtype == torch.float32
    exact, rough = results["fp32"].images, results["bf16"].images
    assert 0 < float((exact - rough).abs().max()) < 0.1 * float(exact.abs().max())
    mse = [x.scores["mse"][0] for x in results.values()]
    assert mse[1] == pytest.approx(mse[0], rel=0.02)


def test_the_plan_records_what_was_asked_for(studio):
    plain, rough = (studio.plan("w+", precision=x) for x in (None, "bf16"))
    assert "precision" not in plain.to_dict()
    assert rough.to_dict()["precision"] == "bf16"
    assert not rough.gives_same_result(plain.to_dict())
    assert rough.phases_done(plain.to_dict()) is None
    assert "precision: bf16" in rough.describe()
    with pytest.raises(ValueError, match='got the precision "fp8"; choose fp32, tf32, bf16'):
        studio.plan("w+", precision="fp8")
