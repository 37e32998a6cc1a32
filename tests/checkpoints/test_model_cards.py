"""The model cards of the bundled networks: the files that they list, and their commands."""

import re
import shlex

import pytest
import tyro

from facsimile.checkpoints.registry import BUNDLED
from facsimile.commands.train import kinds

CARDS = sorted(BUNDLED.glob("*/README.md"))
COMMAND = re.compile(r"^    (?:python|torchrun --nproc_per_node \d) train\.py (\S+) (.*)$", re.M)


def expanded(card, arguments):
    """The arguments with the abbreviations that the card defines as NAME is `...`."""
    definitions = dict(re.findall(r"^- ([A-Z]+) is `(.*?)`", card, re.M))
    for _ in definitions:
        for name, text in definitions.items():
            arguments = re.sub(rf"\b{name}\b(?![-.])", text, arguments)
    return arguments


def commands():
    for path in CARDS:
        card = path.read_text(encoding="utf-8")
        for kind, arguments in COMMAND.findall(card):
            yield kind, expanded(card, arguments)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_a_card_names_every_file_and_the_terms(path):
    card = path.read_text(encoding="utf-8")
    for file in path.parent.iterdir():
        assert file == path or file.name in card, file.name
    terms = card.partition("## Data and terms")[2].partition("\n## ")[0]
    assert "Research use only" in terms


def test_commands_are_found():
    assert len(CARDS) == 3
    assert len(list(commands())) == 3 + 2 + 3 + 1


@pytest.mark.parametrize(("kind", "arguments"), list(commands()), ids=str)
def test_commands(kind, arguments):
    """They are commands of today, whatever the flags were called then."""
    arguments = shlex.split(arguments.replace("--images N ", "--images 100 ").removesuffix("..."))
    settings = tyro.cli(kinds()[kind].settings, args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    assert str(settings.out).startswith("runs/")
