"""Names of results: unique, also where case does not count, and allowed on Windows."""

import itertools

import pytest

from facsimile.inputs import (
    candidate_names,
    number_duplicates,
    path_key,
    path_keys,
    safe_name,
    unique_name,
)


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
