"""The house's own rules, read from its source: who imports whom, and what no room may hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The arrows of the design: a room and the rooms that it may import.
ALLOWED = {
    "stylegan": set(),
    "metrics": set(),
    "data": {"stylegan"},
    "training": {"stylegan", "metrics", "data"},
    "encoders": {"stylegan", "metrics", "data", "training"},
    "refine": {"stylegan", "metrics"},
    "editing": {"stylegan", "metrics", "refine"},
    "checkpoints": {"stylegan", "encoders"},
    "facsimile": {"stylegan", "metrics", "data", "encoders", "refine", "editing", "checkpoints"},
}
# Nothing that is imported may import these.
OUTSIDE = {"train", "benchmarks", "tests"}
ROOMS = [room for room in ALLOWED if any((ROOT / room).rglob("*.py"))]


def sources(*rooms):
    """(path from the root, syntax tree) of every file of the rooms."""
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(path, tree):
    """(line, absolute dotted name) of everything that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # from .. import x, inside a/b/c.py, is a.x
            above = list(path.parts[: -node.level]) if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def rooms_of(name):
    """The room of a dotted name: facsimile.data.photos and data.photos are in data."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    return second if first == "facsimile" and second in ALLOWED else first


def test_imported_names():
    """The reader itself: every way of writing an import."""
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom ..h import i\n"
    found = list(imported(Path("room/sub/file.py"), ast.parse(text)))
    names = ["a.b", "c.d", "room.sub.e", "room.sub.f.g", "room.h.i"]
    assert found == list(enumerate(names, start=1))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room):
    known = ALLOWED.keys() | OUTSIDE
    for path, tree in sources(room):
        for line, name in imported(path, tree):
            other = rooms_of(name)
            assert other not in known - ALLOWED[room] - {room}, f"{path}:{line} imports {name}"


def test_rooms_are_there():
    assert {"stylegan", "metrics", "data", "refine"} <= set(ROOMS)
    assert len(list(sources("stylegan"))) > 5


def test_light_rooms_import_nothing_heavy():
    heavy = ("torchvision", "lpips", "facenet_pytorch", "face_alignment")
    rooms = [room for room in ("stylegan", "encoders", "refine") if room in ROOMS]
    names = ", ".join(f"facsimile.{room}" for room in rooms)
    code = f"import sys, {names}; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("room", [r for r in ("stylegan", "refine", "encoders") if r in ROOMS])
def test_sizes_come_from_the_file(room):
    """No literal 18, 512 or 1024: the count and width of style inputs, and the side."""
    for path, tree in sources(room):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                assert node.value not in (18, 512, 1024), f"{path}:{node.lineno}"


def pickles(path, tree):
    """Lines that use more of pickle than the error which a refused file raises."""
    for line, name in imported(path, tree):
        module, _, rest = name.partition(".")
        if module in ("_pickle", "cPickle", "dill", "cloudpickle"):
            yield line
        if module == "pickle" and rest not in ("", "UnpicklingError"):
            yield line
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (node.lineno for x in node.names if x.name == "pickle" and x.asname)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            yield from [node.lineno] * (node.attr != "UnpicklingError")


def test_no_pickle():
    harmless = "import pickle\nfrom pickle import UnpicklingError\npickle.UnpicklingError"
    assert list(pickles(Path("x"), ast.parse(harmless))) == []
    harmful = "from pickle import load\nimport pickle as p\npickle.Unpickler\nimport dill"
    assert sorted(pickles(Path("x"), ast.parse(harmful))) == [1, 2, 3, 4]
    for path, tree in [*sources(*ROOMS), *_programs()]:
        assert list(pickles(path, tree)) == [], path


def unsafe_loads(tree):
    """Lines of torch.load(...) without weights_only=True."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if keywords.get("weights_only") != "True":
                yield node.lineno


def test_torch_loads_weights_only():
    text = "torch.load(a, weights_only=True)\ntorch.load(a)\ntorch.load(a, weights_only=False)"
    assert list(unsafe_loads(ast.parse(text))) == [2, 3]
    for path, tree in [*sources(*ROOMS), *_programs()]:
        assert list(unsafe_loads(tree)) == [], path
        for line, name in imported(path, tree):
            assert name != "torch.load", f"{path}:{line}: say torch.load(..., weights_only=True)"


def _programs():
    for path in ROOT.glob("*.py"):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def test_the_wheel_holds_the_rooms():
    """One top-level package; every folder with code below the rooms is one of its packages."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^packages = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    packages = set(re.findall(r'"(.*?)"', listed))
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages == {n if n.startswith("facsimile") else f"facsimile.{n}" for n in names}
    mapped = dict(re.findall(r'^"(facsimile[.\w]*)" = "(.*?)"$', text, re.MULTILINE))
    assert mapped == {room if room == "facsimile" else f"facsimile.{room}": room for room in ROOMS}
    for folder in folders:
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"
