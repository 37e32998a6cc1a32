"""The commands and the Python of README and documentation work.

Every block is read from the text. A command runs in a folder with small photos and networks, with
few steps in place of many; what stands in `ONLY_PARSED` is given to its parser and not run.
"""

import dataclasses
import importlib
import pkgutil
import re
import shlex
import typing
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image
from skimage.data import astronaut

import benchmarks
from facsimile import cli, editing, encoders, studio, stylegan
from facsimile.checkpoints import registry
from facsimile.commands import edit, train
from facsimile.data.video_writer import VideoWriter

pytestmark = pytest.mark.usefixtures("small_identity")

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{x.name}" for x in (ROOT / "docs").glob("*.md")))

# Beginning of a command -> why nothing of it is run or parsed.
NOT_TRIED = {
    "make ": "builds environments; the suite itself is one of its targets",
    "pip install": "installs packages; make wheel-test does so with the wheel",
    "pre-commit": "a tool of the contributor",
    "git show": "the history is not in every checkout",
    "checkpoints/faces/train_all.sh": "tests/checkpoints/test_train_all.py runs it",
}
# Beginning of a command -> why it is only given to its parser.
ONLY_PARSED = {
    "python -m benchmarks.": "measures for minutes; tests/benchmarks has a small run of each",
    "facsimile info ffhq.pkl": "needs a file of NVIDIA's; tests/facsimile/test_convert.py has such",
    "facsimile convert ffhq.pkl": "the same",
    "facsimile sample --generator ffhq": "the same",
    "accelerate launch train.py": "starts processes; tests/training does",
    "facsimile train": "every recipe is trained in tests/ and by make wheel-test",
    **{
        f"facsimile edit {name} ": "needs masks and faces; tests/facsimile/test_local_edits.py"
        for name in (
            "inpaint",
            "crossover",
            "scribble",
            "local-style",
            "expression",
            "transfer",
            "channels",
        )
    },
    "facsimile edit style-embedding ": "refines; tests/editing/test_local_pages.py",
    "facsimile edit style me.jpg painted": "needs its latents",
    "facsimile info projected_w": "needs codes; tests/facsimile/test_codes.py has such",
    "facsimile convert projected_w": "the same",
    "facsimile convert out/me/latents.safetensors --to": "needs the latents of a run",
    "facsimile invert me.jpg --out out --init": "tests/facsimile/test_initial_file.py",
    "facsimile convert runs/": "needs a trained encoder; tests/facsimile/test_convert.py has one",
}
# Command -> flags that make it small, in place of those of the same name.
SMALL = {
    "invert": {"--steps": "1", "--perceptual": "discriminator"},
    "edit": {"--steps": "1", "--perceptual": "discriminator", "--recipe": "w"},
    "reenact": {"--frames": "2", "--landmarks": "small", "--fps": "2", "--source-steps": "1"},
    "landmarks": {"--landmarks": "small"},
    "align": {"--size": "64"},
    "prepare-data": {"--resolution": "32", "--processes": "1"},
    "sample": {"--count": "2"},
}
# What a small flag may be added to although the text does not have it.
ADDED = {"--steps", "--perceptual", "--landmarks", "--size", "--fps", "--recipe", "--source-steps"}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    bare = (re.sub(r"\s+# .*$", "", line).strip() for line in lines)
    return [line for line in bare if line]


def reason(command: str, table: dict[str, str]) -> str | None:
    return next((why for start, why in table.items() if command.startswith(start)), None)


ALL = [(page, command) for page in PAGES for command in commands(page)]
TRIED = [(page, x) for page, x in ALL if not reason(x, NOT_TRIED)]
PARSED = [x for _, x in dict.fromkeys(TRIED)]
RUN = [x for x in dict.fromkeys(PARSED) if not reason(x, ONLY_PARSED)]


def test_blocks_are_found() -> None:
    assert len(ALL) > 40
    assert len(RUN) > 10
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w+)", text, re.MULTILINE)) <= {"bash", "json", "python"}, page


@pytest.mark.parametrize("table", [NOT_TRIED, ONLY_PARSED], ids=["not tried", "only parsed"])
def test_no_exception_is_left_over(table: dict[str, str]) -> None:
    for start in table:
        assert any(command.startswith(start) for _, command in ALL), start


class Parsed(Exception):
    """A command line was understood."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parsers stop before anything is done."""

    def stopping(parser: Callable) -> Callable:
        def parse(*args: object, **options: object) -> None:
            raise Parsed(parser(*args, **options))

        return parse

    monkeypatch.setattr(tyro, "cli", stopping(tyro.cli))
    dispatch = tyro.extras.subcommand_cli_from_dict
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", stopping(dispatch))


def parse(command: str) -> None:
    words = shlex.split(command)
    if words[:2] == ["python", "-m"]:
        module = importlib.import_module(words[2])
        tyro.cli(module.Options, args=words[3:])
    elif "train.py" in words:
        cli.main(["train", *words[words.index("train.py") + 1 :]])
    else:
        assert words[0] == "facsimile", command
        cli.main(words[1:])


@pytest.mark.parametrize("command", dict.fromkeys(PARSED))
def test_flags_are_known(command: str, parse_only: None) -> None:
    with pytest.raises(Parsed):
        parse(command)


def test_an_old_flag_is_refused(parse_only: None) -> None:
    with pytest.raises(SystemExit):
        parse("facsimile invert me.jpg --out out --start mean")


def all_flags() -> set[str]:
    """Of every command, recipe and benchmark; a switch has a second name with no-."""
    settings = [kind.settings for kind in train.kinds().values()]
    settings += [options for options in cli.COMMANDS.values() if isinstance(options, type)]
    settings += [edit.EditOptions]
    for page in pkgutil.iter_modules(benchmarks.__path__):
        module = importlib.import_module(f"benchmarks.{page.name}")
        settings += [module.Options] if hasattr(module, "Options") else []
    names = {x.name for entry in editing.EDITS.values() for x in entry.parameters}
    names |= {name for options in settings for name in fields(options)}
    flags = {name.replace("_", "-") for name in names} | {"help", "version"}
    return flags | {f"no-{name}" for name in flags}


def fields(options: type) -> Iterator[str]:
    """Names of all fields, those of sections too."""
    types = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(types[field.name]):
            yield from fields(types[field.name])
        else:
            yield field.name


CARDS = sorted(str(x.relative_to(ROOT)) for x in ROOT.glob("checkpoints/*/README.md"))
# Flags of torchrun, of accelerate launch, and of the networks' script.
FOREIGN = {"nproc_per_node", "num_processes", "mixed_precision", "dynamo_backend", "cpu"}
FOREIGN |= set(
    re.findall(r"^  --([a-z]+)", (ROOT / "checkpoints/faces/train_all.sh").read_text(), re.M)
)


@pytest.mark.parametrize("page", [*PAGES, *CARDS])
def test_every_flag_in_the_text_exists(page: str) -> None:
    """Also in sentences, and in the commands of model cards."""
    text = (ROOT / page).read_text(encoding="utf-8")
    used = set(re.findall(r"(?<![\w|-])--([a-z][a-z0-9_-]*)", text))
    assert used - all_flags() - FOREIGN == set()


@pytest.fixture(scope="module")
def bundled(
    tmp_path_factory: pytest.TempPathFactory, make_generator, make_discriminator, make_encoder
) -> Path:
    """Small networks with the files of those that are bundled."""
    path, generator = tmp_path_factory.mktemp("bundled"), make_generator(32)
    (path / "faces").mkdir()
    stylegan.save(generator, path / "faces" / registry.GENERATOR)
    stylegan.save(make_discriminator(32), path / "faces" / registry.DISCRIMINATOR)
    for real in (registry.BUNDLED / "faces").glob("*.safetensors"):
        if real.stem in encoders.KINDS:
            encoders.save(make_encoder(real.stem, generator), path / "faces" / real.name)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_generator, make_discriminator) -> Path:
    """The files that the documentation names, small."""
    path = tmp_path_factory.mktemp("docs")
    photo = Image.fromarray(astronaut()[:256, 96:352])
    for name in ("me.jpg", "other.jpg"):
        photo.save(path / name)
    for name in ("holiday", "family", "photos"):
        (path / name).mkdir()
        photo.save(path / name / "one.jpg")
    with VideoWriter(path / "driver.mp4", 25.0) as writer:
        for _ in range(2):
            writer.write(photo)
    stylegan.save(make_generator(32), path / "my-generator.safetensors")
    stylegan.save(make_discriminator(32), path / "discriminator.safetensors")
    (path / "aligned").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path / "aligned" / "a.png")
    with zipfile.ZipFile(path / "aligned.zip", "w") as archive:
        archive.write(path / "aligned" / "a.png", "a.png")
    return path


def small(words: list[str]) -> list[str]:
    """The command with little work."""
    flags = dict(SMALL.get(words[0], {}))
    if "--fast" in words:
        del flags["--steps"]
    if words[:2] == ["edit", "replay"]:
        del flags["--steps"], flags["--recipe"]  # those of the history
    for index, word in enumerate(words[:-1]):
        if word in flags and words[index + 1] != "0":
            words[index + 1] = flags[word]
        flags.pop(word, None)
    added = {name: value for name, value in flags.items() if name in ADDED}
    return [*words, *(x for pair in added.items() for x in pair)]


@pytest.mark.slow
def test_commands_run(folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, as later ones open what earlier ones wrote."""
    monkeypatch.setattr(registry, "BUNDLED", bundled)
    monkeypatch.chdir(folder)
    for command in RUN:
        words = small(shlex.split(command)[1:])
        try:
            status = cli.main(words)
        except SystemExit as left:
            status = left.code
        assert status in (0, None), f"{' '.join(words)}: exit status {status}"
    out = folder / "out" / "me"
    assert {"target.png", "latents.safetensors", "scores.json"} <= {x.name for x in out.iterdir()}


# Pages whose programs look for a face in a generated picture, for which small networks do not do.
WITH_A_FACE = {"docs/paste-back.md"}
PROGRAMS = [(page, index) for page in PAGES for index in range(len(blocks(page, "python")))]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "index"), PROGRAMS)
def test_python_runs(
    page: str, index: int, folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page not in WITH_A_FACE:
        monkeypatch.setattr(registry, "BUNDLED", bundled)
    monkeypatch.chdir(folder)
    monkeypatch.setitem(studio.Studio.reenact.__kwdefaults__, "source_steps", 1)
    code = blocks(page, "python")[index]
    # LPIPS may be a download; few steps.
    code = code.replace(
        'facsimile.load("faces"', 'facsimile.load("faces", perceptual="discriminator"'
    )
    code = re.sub(r"steps=\d+", "steps=1", code)
    if "out/me/latents.safetensors" in code and not Path("out/me/latents.safetensors").exists():
        flags = ("--steps", "0", "--out", "out")
        with pytest.raises(SystemExit, match="0"):
            cli.main(["invert", "me.jpg", *flags])
    exec(compile(code, f"{page}, block {index}", "exec"), {})
