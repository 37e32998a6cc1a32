"""What a checkpoint of an encoder does without. Oracle: the networks themselves."""

import pytest
import torch

from facsimile.commands import train
from facsimile.training import Checkpoints
from facsimile.training.checkpoint import run_state


@pytest.fixture(params=["base", "in-domain"])
def kind(request):
    """Kinds whose encoders have the frozen discriminator in them."""
    return request.param


def test_frozen_copies_are_not_stored_and_come_back(make_recipe, kind):
    recipe, other = make_recipe(kind), make_recipe(kind, seed=5)
    (name,) = recipe._discriminators()
    state = run_state(3, recipe)
    stored = state["modules"]["encoder"].keys()
    missing = recipe.encoder.state_dict().keys() - stored
    assert missing == {x for x in recipe.encoder.state_dict() if x.startswith(f"{name}.")} != set()
    assert state["recipe"]["ema"].keys() == stored
    trainable = other.trainables[-1]
    trainable.load(other.encoder, state["modules"]["encoder"])
    other.load_state(state["recipe"])
    for ours, theirs in ((recipe.encoder, other.encoder), (recipe.ema, other.ema)):
        theirs = theirs.state_dict()
        assert all(torch.equal(x, theirs[k]) for k, x in ours.state_dict().items())


def test_another_discriminator_is_refused(make_recipe, kind):
    recipe = make_recipe(kind)
    state = recipe.state()
    (name,) = recipe._discriminators()
    with torch.no_grad():
        next(recipe.encoder.get_submodule(name).parameters()).add_(1)
    with pytest.raises(ValueError, match=f"the discriminator of {name} was .* and is "):
        recipe.load_state(state)


def test_checkpoints_with_these_copies_still_resume(arguments, kind, tmp_path):
    """They were written before copies were left out."""
    out = tmp_path / "run"
    assert train.main(arguments(kind, out, images=4)) == 0
    content = torch.load(out / "checkpoint.pt", weights_only=True)
    state = content["state"]
    recipe_state = state["recipe"]
    (name,) = [k for k in recipe_state if k.startswith("discriminator of ")]
    del recipe_state[name]
    prefix = f"{name.removeprefix('discriminator of ')}."
    from facsimile import encoders

    full = encoders.files.read(out).state_dict()
    copies = {k: x for k, x in full.items() if k.startswith(prefix)}
    assert copies
    recipe_state["ema"] |= copies
    state["modules"]["encoder"] |= copies
    Checkpoints(out, content["settings"]).save(state)
    assert train.main(arguments(kind, out, images=8)) == 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["state"]["step"] == 2
