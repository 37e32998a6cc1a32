"""The tables of docs/results.md, from the networks that are bundled now: every part, one command.

Each part is a benchmark of its own. Its rows are files, so that the same command resumes, several
processes may share a folder, and rows that a GPU computed are scored and written down elsewhere.
"""

import dataclasses
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import tyro

from benchmarks import (
    classes,
    damage,
    encoders_alone,
    expression,
    feature_edits,
    identity,
    inversion,
    local_edits,
    noise,
    noise_orders,
    one_pass,
    path_length,
    reenactment,
    report,
    results_page,
    settling,
    spaces,
    starts,
)
from facsimile import checkpoints


@dataclass(frozen=True, kw_only=True)
class Part:
    """A benchmark, and the files NAME.md in its folder that hold its tables."""

    page: ModuleType
    tables: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options other than the benchmark's own defaults."""
    tiny: Mapping[str, Any] = field(default_factory=dict)
    """Options that make it run in seconds."""
    held_out: bool = False
    """Whether its faces are those of --held-out."""
    picture: str | None = None
    """A picture without faces, which goes to docs/images/PART.png, below the first table."""
    caption: str = ""
    """Of the picture."""


PARTS = {
    "spaces": Part(page=spaces, tables=("spaces",), tiny={"steps": 2, "statistics_samples": 1000}),
    "inversion": Part(
        page=inversion,
        tables=("inversion", "edits"),
        settings={"alone": 0},
        tiny={"steps": 25, "noise": False},
        picture="curves.png",
        caption="MSE and distance of every row, as the steps or seconds of an image go on",
    ),
    "one-pass": Part(page=one_pass, tables=("one_pass",), tiny={"steps": 25, "timed_steps": 1}),
    "settling": Part(page=settling, tables=("settling",), tiny={"steps": 2}),
    "noise": Part(page=noise, tables=("noise",), settings={"steps": 500}, tiny={"steps": 2}),
    "noise-orders": Part(page=noise_orders, tables=("orders",), tiny={"steps": 2}),
    "starts": Part(page=starts, tables=("starts", "losses", "weights"), tiny={"steps": 1}),
    "damage": Part(
        page=damage,
        tables=("transforms", "defects", "rounds"),
        tiny={"steps": 1, "rounds": 2},
    ),
    "classes": Part(
        page=classes,
        tables=("distances",),
        tiny={"steps": 1, "style_steps": 1},
        picture="distances.png",
        caption="distances in W+ between the codes of every two pictures",
    ),
    "local-edits": Part(
        page=local_edits,
        tables=("edits",),
        tiny={"steps": 2, "attribute_steps": 1, "edits": ("eyes", "moustache")},
    ),
    "expression": Part(page=expression, tables=("expression",), tiny={"steps": 2}),
    "path-length": Part(page=path_length, tables=("path_length",), tiny={"samples": 4}),
    "encoders-alone": Part(page=encoders_alone, tables=("encoders",)),
    "identity-term": Part(
        page=identity, tables=("identity",), tiny={"steps": 1, "fixed": ()}, held_out=True
    ),
    "feature-edits": Part(
        page=feature_edits, tables=("edits",), tiny={"directions": 1}, held_out=True
    ),
    "reenactment": Part(
        page=reenactment,
        tables=("reenactment",),
        settings={"preserve_source": True},
        tiny={"pairs": 2},
    ),
}
PAGE = "results.md"
TINY_COUNT = 2
STAND_INS = {
    "judge": "SQUEEZENET.safetensors",
    "identity": "JUDGE.py",
    "labels": "ATTRIBUTES.json",
    "labelled": "TRAINING_FACES",
}
"""What a command in the documentation says in place of a file."""
NOT_SHOWN = ("faces", "out", "rows", "rows_only", "stored", "untimed", "threads", "runs")
"""Options that a command in the documentation leaves out."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run the parts one after another, and write their tables.

    Rows that are there under the same settings are not computed again: stop it and start it again,
    or run different parts at once in the same folder.
    """

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces that no network was trained on."""
    held_out: Path | None = None
    """Training faces that were held out, for the parts whose settings were chosen on such:
    identity-term and feature-edits. Default: the faces."""
    parts: tuple[str, ...] = tuple(PARTS)
    out: Path = Path("runs/evidence")
    """Folder of the results; the rows of all parts are in its folder rows."""
    docs: Path | None = None
    """Folder with results.md, whose tables and picture are written anew from all parts in the
    folder of the results, such as docs; None: leave it as it is."""
    count: int | None = None
    """Faces of every part; None: each part's own number."""
    recipes: tuple[str, ...] = ()
    """Of the parts that have recipes as rows; none: all of them."""
    batch: int | None = None
    """Faces at once; None: each part's own number."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    judge: Path | None = None
    """SqueezeNet 1.1 weights with torchvision's names: a perceptual distance for scores only."""
    identity: Path | None = None
    """The judge of identity and landmarks, see benchmarks.judges."""
    labels: Path | None = None
    """JSON of the attributes of training faces, for the part local-edits: benchmarks.attributes."""
    labelled: Path | None = None
    """Folder or .zip of these training faces."""
    rows_only: bool = False
    """Compute the rows and stop: no tables, pictures or judges of identity."""
    stored: bool = False
    """Take rows that are there whatever their device, batch and precision, and refine none."""
    untimed: bool = False
    """Other work slows the machine: leave the seconds of rows computed now out of the tables."""
    device: str = "cpu"
    tf32: bool = False
    """Multiply in TensorFloat-32 on CUDA devices."""
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    tiny: bool = False
    """A few faces and steps, to try everything."""

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - PARTS.keys():
            raise ValueError(
                f"there are no parts {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}"
            )


def main(options: Options) -> None:
    if options.docs is not None and not (options.docs / PAGE).is_file():
        raise FileNotFoundError(f"there is no {options.docs / PAGE}; --docs names its folder")
    left_out = {}
    for name in options.parts:
        print(f"\n{name}\n", flush=True)
        try:
            run(name, options)
        except (FileNotFoundError, ValueError) as error:
            left_out[name] = error
    if options.docs is not None and not options.rows_only:
        write_docs(options.out, options.docs)
    for name, error in left_out.items():
        print(f"left out: {name}: {error}", file=sys.stderr)
    if left_out:
        sys.exit(1)


def run(name: str, options: Options) -> None:
    """A part, and how it came about, for the documentation."""
    part = PARTS[name]
    settings = page_options(name, options)
    if options.rows_only and not hasattr(settings, "rows_only"):
        print("it has no rows")
        return
    part.page.main(settings)
    if not options.rows_only:
        how = {"command": command(part.page, settings)}
        how["machine"] = report.describe(report.machine(options.device))
        report.write_json(settings.out / "how.json", how)


def page_options(name: str, options: Options) -> Any:
    """The options of a part's benchmark."""
    part = PARTS[name]
    known = {x.name: x for x in dataclasses.fields(part.page.Options)}
    same = ("generator", "judge", "identity", "labels", "labelled", "rows_only", "stored")
    how = ("untimed", "device", "tf32", "threads")
    given: dict[str, Any] = {x: getattr(options, x) for x in (*same, *how)}
    given |= {"rows": options.out / "rows", "out": options.out / name}
    given |= part.settings
    if options.tiny:
        given |= {"count": TINY_COUNT, "batch": TINY_COUNT} | part.tiny
    optional = {"count": options.count, "recipes": options.recipes, "batch": options.batch}
    given |= {k: x for k, x in optional.items() if x not in (None, ())}
    if part.page is reenactment:
        encoder = checkpoints.find(options.generator).encoders.get("difference")
        given["runs"] = (f"bundled={encoder.path}",)
        given["frechet_weights"] = options.judge
        given["frechet"] = "discriminator" if options.judge is None else "squeezenet"
    faces = options.held_out if part.held_out and options.held_out else options.faces
    given["faces"] = faces
    return part.page.Options(**{k: x for k, x in given.items() if k in known})


def command(page: ModuleType, settings: Any) -> str:
    """The command line of these options, with stand-ins for files."""
    words = ["python", "-m", page.__name__]
    words += ["FACES.zip"] * hasattr(settings, "faces")
    for x in dataclasses.fields(settings):
        value = getattr(settings, x.name)
        if x.name in NOT_SHOWN or value == x.default:
            continue
        flag = x.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{flag}", *(STAND_INS.get(x.name, str(v)) for v in values)]
    return shlex.join(words)


def write_docs(out: Path, docs: Path) -> None:
    """The tables and pictures of all parts that are in the folder."""
    blocks = {}
    for name, part in PARTS.items():
        folder = out / name
        if not (folder / "how.json").is_file():
            continue
        how = json.loads((folder / "how.json").read_text())
        for table in part.tables:
            if (path := folder / f"{table}.md").is_file():
                blocks[f"{name}/{table}"] = results_page.block(path.read_text(), **how)
        if part.picture is not None:
            (docs / "images").mkdir(exist_ok=True)
            shutil.copy(folder / part.picture, docs / "images" / f"{name}.png")
            blocks[f"{name}/{part.tables[0]}"] += f"\n\n![{part.caption}](images/{name}.png)"
    known = [f"{name}/{table}" for name, part in PARTS.items() for table in part.tables]
    page = docs / PAGE
    report.write_text(page, results_page.fill(page.read_text(encoding="utf-8"), blocks, known))


if __name__ == "__main__":
    main(tyro.cli(Options))
