"""A recipe and a term, each one file in a folder of one's own. Oracle: the formula, by hand."""

import sys
from dataclasses import replace

import pytest
import torch
from refine_helpers import go

from facsimile.refine import recipes, terms

TERM = '''
"""The squared distance of the mean colours."""

from . import register


@register(networks=("colour",), prepare=lambda networks, images: [networks["colour"](images)])
def mean_colour(inputs, term):
    (target,) = inputs.target_features(term)
    return (inputs.network("colour")(inputs.image) - target).square().sum(1)
'''

RECIPE = '''
"""Colours first, then pixels."""

from facsimile.refine import Phase, Recipe, Term, Variable

from . import register

CODE = Variable("code", 0.02)
register(
    Recipe(
        name="colours",
        space="w+",
        phases=(
            Phase(name="colours", variables=(CODE,), terms=(Term("mean_colour", 2.0),), steps=3),
            Phase(name="pixels", variables=(CODE,), terms=(Term("pixel", 1.0),), steps=5),
        ),
    )
)
'''


def mean(images):
    return images.mean((2, 3))


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Each page in a folder of its own, loaded, and forgotten after the test."""
    for package, registry, text in ((terms, "TERMS", TERM), (recipes, "RECIPES", RECIPE)):
        folder = tmp_path / registry
        folder.mkdir()
        (folder / "colours_page.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, registry, dict(getattr(package, registry)))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        package.load_pages()
    yield
    for package in (terms, recipes):
        del sys.modules[f"{package.__name__}.colours_page"]


@pytest.mark.usefixtures("pages")
def test_a_recipe_and_a_term_are_one_file_each(tiny):
    recipe = recipes.get("colours")
    result = go(tiny, recipe, networks={"colour": mean})
    colours = result.history["colours/mean_colour"]
    image = tiny.start("w+").synthesize(tiny.generator)
    expected = 2 * (image - tiny.targets).mean((2, 3)).square().sum(1)
    torch.testing.assert_close(colours[0], expected.float())
    assert (colours.min(0).values < colours[0]).all()
    assert result.history["pixels/pixel"].shape == (6, 8)


@pytest.mark.usefixtures("pages")
def test_suffixes_and_errors_follow_from_the_pages(tiny):
    recipe = recipes.get("colours +noise")
    assert recipe.name == "colours +noise"
    assert [phase.name for phase in recipe.phases] == ["colours", "pixels", "noise"]
    recipe = replace(recipe, phases=tuple(replace(phase, steps=2) for phase in recipe.phases))
    noise = go(tiny, recipe, rows=[0], networks={"colour": mean}).latents.noise
    assert len(noise) == 3
    with pytest.raises(ValueError, match='"mean_colour", which needs the network "colour"; pass'):
        go(tiny, recipe)


def test_pages_of_others_are_gone():
    assert "mean_colour" not in terms.TERMS
    with pytest.raises(ValueError, match='there is no recipe "colours"'):
        recipes.get("colours")


def test_two_terms_of_one_name():
    def pixel(inputs, term):
        return inputs.image

    with pytest.raises(ValueError, match=r'a second term "pixel".*terms\.pixel; give it another'):
        terms.register()(pixel)
