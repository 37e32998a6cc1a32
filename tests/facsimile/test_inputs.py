"""Names of results: unique, also where case does not count, and allowed on Windows."""

import itertools
import os
import unicodedata

import pytest

from facsimile.inputs import (
    candidate_names,
    number_duplicates,
    one_line,
    path_key,
    path_keys,
    safe_name,
    unique_name,
)
from facsimile.json_files import read_json, write_json


@pytest.mark.parametrize("name", ["me", "me.2", "Zoë 1", "con-fetti", "console", "com", "lpt10x"])
def test_most_names_stay(name):
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("con", "_con"),
        ("ConOut$", "_ConOut$"),
        ("NUL.old", "_NUL.old"),
        ("com1", "_com1"),
        ("aux .x", "_aux .x"),
        ("me.", "me"),
        ("me. .", "me"),
        ("...", "_"),
        ("a:b?c", "a_b_c"),
        ('x<y>|"*', "x_y____"),
        ("tab\there", "tab_here"),
        ("back\\slash", "back_slash"),
        ("two\nlines", "two_lines"),
        (os.fsdecode(b"caf\xe9"), "caf_"),
        ("x" * 255, "x" * 200),
        ("é" * 127 + "x", "é" * 100),
    ],
)
def test_names_that_windows_refuses(name, expected):
    assert safe_name(name) == expected


def test_candidates():
    assert list(itertools.islice(candidate_names("me"), 3)) == ["me", "me-2", "me-3"]
    assert list(itertools.islice(candidate_names("nul"), 2)) == ["_nul", "_nul-2"]


def test_unique_names_ignore_case(tmp_path):
    taken = path_keys([tmp_path / "ME.png"])
    assert unique_name("me", tmp_path, taken) == "me-2"
    assert unique_name("Me", tmp_path, taken) == "Me-3"
    assert unique_name("you", tmp_path, taken) == "you"
    assert unique_name("me", tmp_path, taken, suffix="") == "me"
    assert path_key(tmp_path / "YOU.PNG") in taken


def test_duplicates_get_numbers():
    stems = ["me", "you", "ME", "me-2", "me", "nul"]
    assert number_duplicates(stems) == ["me", "you", "ME-2", "me-2-2", "me-3", "_nul"]


def test_the_forms_of_unicode_are_one_name(tmp_path):
    composed = "Zoë"
    parts = unicodedata.normalize("NFD", composed)
    assert parts != composed
    assert path_key(tmp_path / composed) == path_key(tmp_path / parts.upper())
    assert number_duplicates([composed, parts, "ZOË"]) == [composed, f"{parts}-2", "ZOË-3"]
    taken = set()
    assert unique_name(composed, tmp_path, taken) == composed
    assert unique_name(parts, tmp_path, taken) == f"{parts}-2"
    longest = "x" * 300
    assert number_duplicates([longest, longest]) == ["x" * 200, f"{'x' * 200}-2"]


def test_a_name_of_two_lines_is_told_in_one():
    assert one_line("a\nb\x1b[31m.png: gone") == r"a\nb\x1b[31m.png: gone"


def test_json_holds_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.png")
    write_json(tmp_path / "x.json", {name: name})
    assert read_json(tmp_path / "x.json") == {name: name}
    assert b"caf\\udce9 \xc3\xa9.png" in (tmp_path / "x.json").read_bytes()


def test_a_link_that_leads_in_a_circle_has_a_key(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    assert path_key(tmp_path / "circle").endswith("circle")
