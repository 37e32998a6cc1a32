"""Rules of the source code: who imports whom, and what no room may hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room, and the rooms that it may import. The front door may import all of them.
ALLOWED = {
    "stylegan": set(),
    "metrics": set(),
    "data": {"stylegan", "metrics"},
    "training": {"stylegan", "metrics", "data"},
    "encoders": {"stylegan", "metrics", "data", "training"},
    "refine": {"stylegan", "metrics"},
    "editing": {"stylegan", "metrics", "data", "refine"},
    "checkpoints": {"stylegan", "encoders"},
}
ROOMS = [*ALLOWED, "facsimile"]
ALLOWED["facsimile"] = set(ALLOWED)
# The program for a checkout only calls the front door.
ALLOWED["train"] = {"facsimile"}
# Nothing that is installed may import these.
OUTSIDE = {"train", "benchmarks", "tests"}


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


def room_of(name):
    """The room of a dotted name: facsimile.data.photos and data.photos are in data."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    return second if first == "facsimile" and second in ROOMS else first


def test_imported_names():
    """The reader itself: every way of writing an import."""
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom ..h import i\n"
    read = list(imported(Path("room/sub/file.py"), ast.parse(text)))
    names = ["a.b", "c.d", "room.sub.e", "room.sub.f.g", "room.h.i"]
    assert read == list(enumerate(names, start=1))
    rooms = ["facsimile.data.photos.read", "data.photos", "facsimile.studio", "torch.nn"]
    assert [room_of(name) for name in rooms] == ["data", "data", "facsimile", "torch"]


def against_the_arrows(room, path, tree):
    """A sentence for every import that the table does not allow."""
    forbidden = {*ROOMS, *OUTSIDE} - ALLOWED[room] - {room}
    for line, name in imported(path, tree):
        if room_of(name) in forbidden:
            yield f"{path}:{line} imports {name}"


def test_the_table_forbids():
    text = "from facsimile.encoders import load\nimport benchmarks.speed\nimport facsimile.stylegan"
    breaches = list(against_the_arrows("refine", Path("refine/x.py"), ast.parse(text)))
    assert breaches == [
        "refine/x.py:1 imports facsimile.encoders.load",
        "refine/x.py:2 imports benchmarks.speed",
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room):
    files = list(sources(room))
    assert len(files) > 1, f"the room {room} is missing"
    assert [x for path, tree in files for x in against_the_arrows(room, path, tree)] == []


def test_the_program_calls_the_front_door():
    path = Path("train.py")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert list(against_the_arrows("train", path, tree)) == []


def import_graph(files):
    """Module -> the modules of `files` that it imports, also late or for types only."""
    names = {
        path: ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path, _ in files
    }
    modules = set(names.values())
    graph = {}
    for path, tree in files:
        reached = set()
        for _, name in imported(path, tree):
            if room_of(name) != path.parts[0]:
                continue
            while name and name not in modules:
                name = name.rpartition(".")[0]
            reached |= {name} & modules
        graph[names[path]] = reached - {names[path]}
    return graph


def cycle(graph):
    """A cycle as a list of modules, the first of them again at the end; empty where none is."""
    done, stack = set(), []

    def visit(module):
        if module in stack:
            return [*stack[stack.index(module) :], module]
        if module in done:
            return []
        stack.append(module)
        for other in sorted(graph[module]):
            if path := visit(other):
                return path
        done.add(stack.pop())
        return []

    return next((path for module in sorted(graph) if (path := visit(module))), [])


def test_a_cycle_is_seen():
    text = {
        "a/b.py": "from .c import x",
        "a/c.py": "def f():\n    from a import b",
        "a/d.py": "import a.b",
    }
    graph = import_graph([(Path(path), ast.parse(code)) for path, code in text.items()])
    assert graph == {"a.b": {"a.c"}, "a.c": {"a.b"}, "a.d": {"a.b"}}
    assert cycle(graph) == ["a.b", "a.c", "a.b"]
    assert cycle(graph | {"a.c": set()}) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_itself_through_others(room):
    assert cycle(import_graph(list(sources(room)))) == []


def test_light_rooms_import_nothing_heavy():
    heavy = ("torchvision", "lpips", "facenet_pytorch", "face_alignment", "av")
    names = ", ".join(f"facsimile.{room}" for room in ("stylegan", "encoders", "refine"))
    code = f"import sys, {names}; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def sizes(tree):
    """Lines with 18, 512 or 1024 that are not in a named constant with a docstring."""
    explained = set()
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper()
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            explained |= set(ast.walk(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int and node not in explained:
            yield from [node.lineno] * (node.value in (18, 512, 1024))


@pytest.mark.parametrize("room", ["stylegan", "refine", "encoders"])
def test_sizes_come_from_the_file(room):
    """The count and width of style inputs, and the resolution, are the generator's."""
    text = 'SIDE = 1024\n"""Of the paper."""\nWIDTH = 512\nx = 18'
    assert list(sizes(ast.parse(text))) == [3, 4]
    assert [f"{path}:{n}" for path, tree in sources(room) for n in sizes(tree)] == []


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
    text = text[text.index("[tool.setuptools]") :]
    listed, *_ = re.findall(r"^packages = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    packages = set(re.findall(r'"(.*?)"', listed))
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages == {n if n.startswith("facsimile") else f"facsimile.{n}" for n in names}
    mapped = dict(re.findall(r'^"(facsimile[.\w]*)" = "(.*?)"$', text, re.MULTILINE))
    assert mapped == {room if room == "facsimile" else f"facsimile.{room}": room for room in ROOMS}
    for folder in folders:
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"
