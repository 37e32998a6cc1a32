"""Rules of Windows for file names, as its documentation lists them."""

import pytest

from facsimile.data import safe_name


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("me", "me"),
        ("Größe 3.5 m", "Größe 3.5 m"),
        (".hidden", ".hidden"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("a/b\\c", "a_b_c"),
        ("line\nend\x00", "line_end_"),
        ("me. .", "me___"),
        ("..", "__"),
        ("", "_"),
        ("CON", "_CON"),
        ("nul.tar", "_nul.tar"),
        ("Com1 .x", "_Com1 .x"),
        ("lpt²", "_lpt²"),
        ("CONsole", "CONsole"),
        ("com10", "com10"),
    ],
)
def test_names_that_windows_accepts(stem, expected):
    assert safe_name(stem) == expected
    assert safe_name(expected) == expected
