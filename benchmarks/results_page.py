"""The tables of a page of the documentation, between markers; the prose around them is written by
hand.

    <!-- table: NAME -->
    ...
    <!-- end -->
"""

import re
from collections.abc import Iterable, Mapping

MARKED = re.compile(r"<!-- table: (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
FINDING = re.compile(r"(holds|FAILS|not shown|unknown|left out): ")


def fill(page: str, blocks: Mapping[str, str], known: Iterable[str]) -> str:
    """The page with these blocks between their markers; all else stays.

    known: names that markers may have. Raises ValueError for a marker of another name, and for a
    block without a marker.
    """
    names = [match[1] for match in MARKED.finditer(page)]
    if page.count("<!-- table: ") != len(names):
        raise ValueError("a table's marker has no <!-- end -->; add it after the table")
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(
            f"the page marks tables that nothing writes: {', '.join(unknown)}; expected some of "
            f"{', '.join(known)}"
        )
    if missing := sorted(blocks.keys() - set(names)):
        raise ValueError(
            f"the page has no markers for {', '.join(missing)}; add <!-- table: {missing[0]} --> "
            "and <!-- end -->"
        )

    def written(match: re.Match) -> str:
        if match[1] not in blocks:
            return match[0]
        return f"<!-- table: {match[1]} -->\n\n{blocks[match[1]]}\n\n<!-- end -->"

    return MARKED.sub(written, page)


def block(text: str, command: str, machine: str) -> str:
    """A benchmark's output as markdown: its command, tables, findings as a list, the machine."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        line = f"- {line}" if FINDING.match(line) else line
        starts_list = line.startswith("- ") and lines and not lines[-1].startswith("- ")
        lines += [""] * bool(starts_list and lines[-1]) + [line]
    if "Computed on " not in text:
        lines += ["", f"Computed on {machine}."]
    return "\n".join(["```bash", command, "```", "", *lines])
