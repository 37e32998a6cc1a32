"""What files about the project say agrees with the project."""

import re
from pathlib import Path

import yaml

import facsimile

ROOT = Path(__file__).parents[1]
ROOMS = {"checkpoints", "data", "editing", "encoders", "metrics", "refine", "stylegan", "training"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(read("README.md").encode()) <= 6000


def test_links_lead_to_files() -> None:
    """Those of README and CONTRIBUTING; mkdocs checks the documentation's."""
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", read(page)):
            assert (ROOT / target).exists(), f"{page} links to {target}"


def test_the_walks_lead_through_files() -> None:
    files = set(
        re.findall(r"`([a-z_]+(?:/[a-z_]+)*/[a-z_0-9]+\.py)`", read("docs/architecture.md"))
    )
    assert len(files) > 25
    assert [name for name in sorted(files) if not (ROOT / name).is_file()] == []


def test_the_workflow_tests_the_declared_pythons() -> None:
    declared = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml"))
    assert len(declared) == 4
    workflow = yaml.safe_load(read(".github/workflows/test.yml"))
    for job in workflow["jobs"].values():
        assert job["strategy"]["matrix"]["python"] == declared
    assert f'requires-python = ">={declared[0]}"' in read("pyproject.toml")
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any(command.startswith("make test") for command in commands)


def test_files_of_tests_have_names_of_their_own() -> None:
    """The folders of tests are no packages: pytest takes two files of one name for one module."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == facsimile.__version__
    assert len(citation["references"]) == 4
    for reference in citation["references"]:
        # The README has the same titles, over line breaks.
        assert reference["title"] in " ".join(read("README.md").split())


def test_the_makefile_knows_the_rooms() -> None:
    (rooms,) = re.findall(r"^ROOMS := (.*)$", read("Makefile"), re.MULTILINE)
    assert set(rooms.split()) == ROOMS
    assert all((ROOT / room / "__init__.py").is_file() for room in ROOMS)


def test_the_projects_files_name_no_machine() -> None:
    pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"]
    for page in [*pages, *(f"docs/{x.name}" for x in (ROOT / "docs").glob("*.md"))]:
        assert not re.search(r"(^|[\s(`])/(home|work|root|Users)/", read(page)), page
        assert "github.com/" not in read(page), page
