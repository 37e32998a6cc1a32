"""The registry of edits: what a page may declare, and what is refused."""

import re

import pytest

from facsimile import editing, stylegan
from facsimile.editing import EDITS, Edit, Parameter

PAGE = """
from facsimile.editing import Edit, Parameter


def brighten(generator, latents, amount):
    return latents.with_tensors(latents.tensors() | {"code": latents.code + amount})


EDIT = Edit(
    name="NAME",
    summary="Add a number to every code.",
    function=brighten,
    parameters=(Parameter(name="amount", default=0.5, minimum=-1, maximum=1, help="What to add."),),
)
"""


@pytest.fixture
def clean():
    """The registry as it was before the test."""
    before = dict(EDITS)
    yield
    EDITS.clear()
    EDITS.update(before)


@pytest.mark.usefixtures("clean")
def test_a_page_from_elsewhere(generator, tmp_path):
    path = tmp_path / "page.py"
    path.write_text(PAGE.replace("NAME", "brighten-a"))
    edit = editing.register_page(path)
    assert editing.get("brighten-a") is edit
    latents = stylegan.init_latents(generator, "w+", 2)
    assert (edit(generator, latents).code == latents.code + 0.5).all()
    assert (edit(generator, latents, amount=1).code == latents.code + 1).all()
    assert edit.complete({"amount": 1}) == {"amount": 1.0}


@pytest.mark.usefixtures("clean")
def test_refused_pages(tmp_path):
    for content, error, message in (
        (None, FileNotFoundError, "page.py does not exist; expected the page of an edit"),
        ("EDIT = 1", ValueError, re.escape("it must end in EDIT = Edit(...)")),
        (PAGE.replace("NAME", "morph"), ValueError, 'there is an edit "morph" already'),
        (PAGE.replace("NAME", "My Edit"), ValueError, "expected lower-case letters, digits and"),
    ):
        if content is not None:
            (tmp_path / "page.py").write_text(content)
        with pytest.raises(error, match=message):
            editing.register_page(tmp_path / "page.py")


def test_refused_calls(generator, make_generator):
    edit = Edit(
        name="none",
        summary="Nothing.",
        function=lambda generator, latents, **parameters: latents,
        parameters=(
            Parameter(name="steps", default=3, minimum=1, help="A count."),
            Parameter(name="text", default="", help="A text."),
        ),
    )
    latents = stylegan.init_latents(generator, "w", 2)
    for parameters, message in (
        ({"steps": 0}, "steps: got 0, expected 1 to inf"),
        ({"steps": 1.5}, "steps: got 1.5, expected a value of the type int"),
        ({"text": 1}, "text: got 1, expected a value of the type str"),
        ({"frames": 2}, 'the edit "none" has no parameter "frames"; choose of steps, text'),
    ):
        with pytest.raises(ValueError, match=message):
            edit(generator, latents, **parameters)
    with pytest.raises(ValueError, match='the edit "none" takes 1 input, got 2'):
        edit(generator, latents, latents)
    with pytest.raises(ValueError, match="load the generator with which they were made"):
        edit(make_generator(32, seed=5), latents)
    with pytest.raises(ValueError, match="takes latents of one image each, got 2 images"):
        editing.get("morph")(generator, latents, latents)
    with pytest.raises(ValueError, match='no edit "absent"; choose one of .*morph, .*style'):
        editing.get("absent")


def test_every_edit_describes_itself():
    for name, edit in EDITS.items():
        assert edit.name == name
        for text in (edit.summary, *(parameter.help for parameter in edit.parameters)):
            assert text.endswith(".")
