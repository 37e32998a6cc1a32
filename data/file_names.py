"""Names for files that every operating system accepts."""

import re

RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
"""Names of devices on Windows, with any extension."""
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
"""Characters that Windows refuses or that separate folders."""


def safe_name(stem: str) -> str:
    """`stem` as the name of a file without its extension, changed only where it has to be.

    Each of <>:"/\\|?* and each control character becomes "_"; blanks and dots at the end, which
    Windows drops, become "_" too; a device's name such as CON or nul.tar gets "_" before it. Two
    names that differ only in their capitals stay different: compare them with `str.casefold`.
    """
    name = FORBIDDEN.sub("_", stem)
    end = len(name.rstrip(" ."))
    name = name[:end] + "_" * (len(name) - end)
    if RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")):
        name = f"_{name}"
    return name or "_"
