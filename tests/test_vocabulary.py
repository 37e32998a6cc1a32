"""The field's words: names that hide what they hold, or that a reader would misread, do not return.

Only identifiers count (NAME tokens, locals included), not comments, strings or messages.
"""

import ast
import dataclasses
import io
import tokenize
import typing
from collections import Counter
from pathlib import Path

import pytest

from facsimile.commands.train import kinds

ROOT = Path(__file__).parents[1]
ROOMS = (
    "stylegan",
    "metrics",
    "data",
    "training",
    "encoders",
    "refine",
    "editing",
    "checkpoints",
    "facsimile",
    "benchmarks",
)
PRIVATE = (
    *("found", "told", "own", "said", "kept", "wanted", "held", "shown"),
    *("glance", "together", "spread", "near", "apart", "eyes"),
)
"""Words that say what was done and not what the name holds."""
LIMIT = 60
"""Occurrences of all private words that are allowed in all rooms."""

# Old name -> what a reader would take it for. No definition may have one of these names again.
MISREAD = {
    "Place": "a position in the picture",
    "GroupNorm": "groups of channels, as in torch.nn.GroupNorm",
    "fit": "training",
    "draw": "a random draw",
    "Draws": "pictures that are drawn",
    "guess": "something less than an encoder's prediction",
    "Host": "a machine",
    "Player": "an agent or a media player",
    "spread": "variance",
    "healthy": "a state of health",
    "verdict": "a decision and not logits",
    "Line": "a line of text",
    "Kept": "a list of things that stay",
    "Eye": "a part of the face",
    "Handmade": "an unknown craft",
    "Unfinished": "an unknown state",
    "Seen": "a flag",
    "Moving": "a flag",
}
FLAGS = {
    "average": "--ema-images",
    "average_ramp": "--ema-rampup",
    "start": "--init or --init-from",
    "labels": "--landmark-file",
    "spread": "--per-layer-w-mix",
    "vision": "--vision-aided",
    "passes": "--iterations",
    "path": "--pl-weight",
    "mixing": "--style-mixing-prob",
    "flip": "--mirror",
    "group": "--bn-group-size or --mbstd-group",
    "photos": "--eval-data",
    "truncation": "--truncation-psi",
    "cutoff": "--truncation-cutoff",
}
"""Old fields of a training run, and the flag that says the same in the field's words."""


def sources() -> list[Path]:
    files = [ROOT / "train.py"]
    for room in ROOMS:
        inside = sorted((ROOT / room).rglob("*.py"))
        assert inside, f"the room {room} has no code; is it called otherwise now?"
        files += inside
    return files


def names(text: str) -> Counter:
    """How often each identifier occurs."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return Counter(token.string for token in tokens if token.type == tokenize.NAME)


def test_only_identifiers_count() -> None:
    text = '"""found"""\nfound = told.own  # said\nx = f(kept=1, other="wanted")\n'
    counts = names(text)
    assert {word: counts[word] for word in PRIVATE if counts[word]} == {
        "found": 1,
        "told": 1,
        "own": 1,
        "kept": 1,
    }


def test_private_words_are_rare() -> None:
    places = Counter()
    for path in sources():
        counts = names(path.read_text(encoding="utf-8"))
        for word in PRIVATE:
            places[f"{path.relative_to(ROOT)}: {word}"] += counts[word]
    worst = [f"{place} ({count})" for place, count in places.most_common(10) if count]
    assert places.total() <= LIMIT, f"{places.total()} private words: {'; '.join(worst)}"


def definitions(tree: ast.AST) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_nothing_is_called_what_it_is_not() -> None:
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in sorted(definitions(tree) & MISREAD.keys()):
            pytest.fail(f"{path.relative_to(ROOT)} defines {name}, which reads as {MISREAD[name]}")


def fields(settings: type) -> set[str]:
    """Names of all fields; a section's fields are flags too."""
    names = set()
    for name, kind in typing.get_type_hints(settings).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            names |= fields(kind)
        elif name in {field.name for field in dataclasses.fields(settings)}:
            names.add(name)
    return names


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_training_flags_are_the_fields(kind: str) -> None:
    names = fields(kinds()[kind].settings)
    assert {"out", "images", "batch", "seed"} <= names
    assert {FLAGS[name] for name in names & FLAGS.keys()} == set()
