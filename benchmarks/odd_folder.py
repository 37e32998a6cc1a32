"""A folder as people have them, with good, odd and hostile files: is every good one done, and every
bad one named with its true reason?
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pillow_heif
import tyro

from benchmarks import odd_networks, odd_photos, report
from benchmarks.odd_photos import Case
from facsimile.exit_status import SOME_FAILED

Check = tuple[str, bool, str]
"""(claim, whether it holds, what was found)"""
MOST_MB = 3000
"""Of memory, for the networks and for whatever a file makes of itself."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make the folder, invert it twice by the real command, and read its network files; check.

    Prints PASS or FAIL for each claim. Exits with status 1 if one fails.
    """

    out: Path = Path("runs/odd_folder")
    """Is made anew."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    batch: int = 8


def main(options: Options) -> None:
    pillow_heif.register_heif_opener()
    shutil.rmtree(options.out, ignore_errors=True)
    folder = options.out.resolve() / "photos"
    cases = [*odd_photos.good(), *odd_photos.names_and_links(), *odd_photos.bad()]
    cases += odd_photos.zips()
    make(folder, cases)
    networks = odd_networks.make(folder, options.generator)
    files = sum(len(names) for _, _, names in os.walk(folder))
    print(f"{files} files in {folder}")
    checks = [*photos(folder, cases, options), *odd_networks.checks(folder, networks)]
    for claim, passed, observed in checks:
        print(f"{'PASS' if passed else 'FAIL'}  {claim}: {observed}")
    passed = sum(passed for _, passed, _ in checks)
    print(f"{passed} of {len(checks)} passed")
    print(report.machine("cpu"))
    if passed < len(checks):
        sys.exit(1)


def make(folder: Path, cases: list[Case]) -> None:
    """The files; and beside the folder those to which its links lead."""
    picture = odd_photos.saved("PNG")
    for name in ("outside.png", "album/a.png"):
        odd_photos.content(picture)(folder.parent / "beside" / name)
    folder.mkdir()
    for case in cases:
        case.make(path_of(folder, case))


def path_of(folder: Path, case: Case) -> Path:
    return folder / case.name.removeprefix("@")


def photos(folder: Path, cases: list[Case], options: Options) -> Iterator[Check]:
    """Invert the folder and its zips, twice."""
    out = options.out.resolve() / "results"
    zips = [path_of(folder, case) for case in cases if case.name.startswith("@")]
    command = ["invert", str(folder), *map(str, zips), "--out", str(out), "--no-align", "--fast"]
    command += ["--generator", options.generator, "--batch", str(options.batch)]
    began = time.perf_counter()
    first = facsimile(command)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    for case in cases:
        yield check(folder, case, summary)
    yield "exit status", first.returncode == SOME_FAILED, str(first.returncode)
    output = first.stdout + first.stderr
    yield (
        "no traceback",
        "Traceback" not in output,
        "Traceback" if "Traceback" in output else "none",
    )
    results = sum(case.results for case in cases)
    refused = sum(bool(case.reason) for case in cases)
    observed = f"{summary['done']} done, {len(summary['failed'])} failed"
    expected = (results, refused)
    whole = (summary["done"], len(summary["failed"])) == expected
    yield "the summary is whole", whole, f"{observed}; expected {results} and {refused}"
    folders = {record["name"].casefold() for record in summary["photos"]}
    yield "no two share a result", len(folders) == results, f"{len(folders)} names"
    yield f"memory below {MOST_MB} MB", memory < MOST_MB, f"{memory:.0f} MB, {seconds:.0f} s"
    before = stamps(out)
    poor = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    second = facsimile(command, poor)
    again = re.search(r"\d+ inverted.*", second.stdout)
    observed = again[0] if again else second.stderr[-200:]
    yield "the second run, in the locale C, does nothing", stamps(out) == before, observed
    yield "its exit status", second.returncode == SOME_FAILED, str(second.returncode)


def facsimile(
    arguments: list[str], changes: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """The real command; changes: of the environment."""
    return subprocess.run(
        [sys.executable, "-m", "facsimile", *arguments],
        env=os.environ | (changes or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
    )


def check(folder: Path, case: Case, summary: dict) -> Check:
    """Whether as much of a file is used as can be, and the rest is named with its reason."""
    path = path_of(folder, case)
    real = os.path.realpath(path)
    sources = [record["source"] for record in summary["photos"]]
    used = sum(x == real or x.startswith(f"{real}{os.sep}") for x in sources)
    if path.is_dir() and case.results == 0:
        used = 0  # a circle: what lies in it has a line of its own
    reasons = [
        reason
        for name, reason in summary["failed"].items()
        if name == str(path) or name.startswith(f"{path}{os.sep}")
    ]
    named = [reason for reason in reasons if case.reason and re.search(case.reason, reason)]
    passed = used == case.results and len(reasons) == len(named) == bool(case.reason)
    observed = f"{used} used" if used or not reasons else ""
    cut = [reason.replace(str(folder), "")[:110].encode("unicode_escape") for reason in reasons]
    words = ", ".join([observed, *(x.decode("ascii") for x in cut)]).strip(", ")
    return case.name.encode("unicode_escape").decode("ascii")[:40], passed, words


def stamps(out: Path) -> dict[str, int]:
    """When each result's files were written."""
    return {str(x): x.stat().st_mtime_ns for x in out.glob("*/*")}


if __name__ == "__main__":
    main(tyro.cli(Options, description=Options.__doc__))
