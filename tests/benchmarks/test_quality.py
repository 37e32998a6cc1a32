"""Faces from folders and archives; a recipe that is done is not run again."""

import dataclasses
import importlib
import json
import pkgutil
import re
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
import tyro

import benchmarks
from benchmarks import (
    batch,
    bench,
    edits,
    faces,
    identity,
    inversion,
    memory,
    noise,
    report,
    spaces,
)
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.rows import Row
from facsimile import checkpoints, data, encoders, stylegan
from facsimile.refine import recipes

pytestmark = pytest.mark.usefixtures("small_identity")

TINY = {"resolution": 32, "channel_base": 256, "channel_max": 16}
RECIPES = ("w+", "f/z+", "w+ +noise")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three square photos of different sides; the one named first is not the first in order."""
    folder = tmp_path / "photos"
    folder.mkdir()
    source = torch.Generator().manual_seed(0)
    for name, side in (("b.png", 32), ("a.png", 64), ("c.png", 48)):
        image = torch.rand(3, side, side, generator=source) * 2 - 1
        data.to_pil(image).save(folder / name)
    return folder


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / "networks"
    folder.mkdir()
    generator = random_generator(**TINY, latent=24, mapping_layers=2)
    stylegan.save(generator, folder / "generator.safetensors")
    stylegan.save(random_discriminator(**TINY), folder / "discriminator.safetensors")
    return folder


def test_an_archive_is_read_as_its_folder(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("read me.txt", "no photo")
        for name in ("c.png", "a.png", "b.png"):
            file.write(photos / name, name)
    a, b = (faces.read(path, 32, 2) for path in (photos, archive))
    assert a.names == b.names == ["a.png", "b.png"]
    assert a.images.shape == (2, 3, 32, 32)
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != faces.read(photos, 32, 3).fingerprint
    with pytest.raises(ValueError, match="has 3 photos, asked for 4; lower --count"):
        faces.read(archive, 32, 4)


@pytest.mark.exhaustive
def test_spaces_are_compared_once(
    photos: Path, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    options = spaces.Options(
        faces=photos,
        count=3,
        steps=2,
        batch=2,
        recipes=RECIPES,
        generator=str(networks),
        out=tmp_path / "out",
    )
    spaces.main(options)
    first = capsys.readouterr().out
    assert (options.out / "spaces.png").stat().st_size > 1000
    record = json.loads(next(options.out.glob("f_z+-*.json")).read_text())
    assert record["status"] == ["done"] * 3
    assert len(record["per_image"]["mse"]) == 3
    assert record["mean"]["mse"] == pytest.approx(sum(record["per_image"]["mse"]) / 3)
    assert record["metric_descriptions"].keys() == record["mean"].keys()

    def refuse(*_, **__) -> None:
        raise AssertionError("refined again")

    monkeypatch.setattr(bench, "refine", refuse)
    spaces.main(options)
    assert capsys.readouterr().out == first
    with pytest.raises(AssertionError, match="refined again"):
        spaces.main(dataclasses.replace(options, steps=3))


@pytest.mark.exhaustive
def test_noise_and_batch_run(photos: Path, networks: Path, tmp_path: Path, capsys) -> None:
    given = {"faces": photos, "count": 2, "steps": 2, "generator": str(networks), "out": tmp_path}
    noise.main(noise.Options(**given, recipes=("w+", "w+ +noise")))
    found = json.loads((tmp_path / "noise.json").read_text())
    assert found["w+"]["gain"] == [0, 0]
    assert found["w+ +noise"]["psnr_fresh"] == pytest.approx(found["w+"]["psnr_fresh"], abs=1e-3)
    batch.main(batch.Options(**given, batch=2, recipes=("f/z+",)))
    assert "all within 2%" in capsys.readouterr().out


JUDGE = """
def identity(image):
    if image.mean() > 250:
        return None
    small = image[::8, ::8].astype(float).ravel() + 1
    return small / (small**2).sum() ** 0.5
"""


@pytest.mark.exhaustive
def test_ways_of_inversion_are_compared(
    photos: Path, networks: Path, tmp_path: Path, make_encoder, capsys
) -> None:
    generator = checkpoints.find(networks).generator
    for kind in ("base", "in-domain"):
        encoders.save(make_encoder(kind, generator), networks / f"{kind}.safetensors")
    (tmp_path / "judge.py").write_text(JUDGE)
    options = inversion.Options(
        faces=photos,
        count=2,
        steps=20,
        alone=3,
        generator=str(networks),
        identity=tmp_path / "judge.py",
        without_critic=networks / "in-domain.safetensors",
        out=tmp_path / "out",
    )
    inversion.main(options)
    said = capsys.readouterr().out
    assert said.count("**") == 2 * len(inversion.WAYS + inversion.NOISE)
    assert "FAILS: in-domain MSE at most half the mean face's" in said
    for name in ("W+ from the encoder", "W+ from the mean", "Image2StyleGAN"):
        assert said.count(f"IDInvert preserves identity better than {name}") == 2
    assert said.count("F/Z+ preserves identity better than F/W+") == 2
    assert said.count("MSE of F/Z+ within 10 % of F/W+") == 1
    (record,) = (json.loads(path.read_text()) for path in options.out.glob("in-domain-*.json"))
    _, table = said.split("| identity after an edit")
    (line,) = re.findall(r"^\| IDInvert +\|.*$", table, re.MULTILINE)
    cells = line.strip("| ").split("|")
    assert len(cells) == 1 + len(edits.STRENGTHS) + 2
    similar = [float(cell) for cell in cells[1:-1]]
    assert similar[-1] == pytest.approx(sum(similar[:-1]) / len(edits.STRENGTHS), abs=2e-3)
    assert cells[-1].strip() == f"{record['mean']['mse']:.4f}"
    # Of the 20 steps others take one, and F/Z+ without encoder two; noise maps get none of one.
    assert {
        line.split("|")[2].strip() for line in re.findall(r"^\| \*\*.*$", said, re.MULTILINE)
    } == {*("20", "1", "2", "1 + 0")}
    for name in ("curves", "faces", "encoders", "edits"):
        assert (options.out / f"{name}.png").stat().st_size > 1000
    inversion.main(options)
    assert capsys.readouterr().out == said


def test_curves_are_of_the_best_so_far() -> None:
    recipe = recipes.get("w+").with_steps(3)
    (phase,) = recipe.for_networks({"perceptual": object()}).phases
    pixel = torch.tensor([[4.0, 3.0], [1.0, 5.0], [2.0, 1.0], [9.0, 9.0]])
    perceptual = torch.tensor([[10.0, 10.0], [10.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    # The first face is best (2 + 0) after two steps, though its pixels were better before.
    got = bench.curves(phase, [{"code/pixel": pixel, "code/perceptual": perceptual}])
    assert got["pixel"] == [3.5, 2.0, 1.5, 1.5]
    assert got["perceptual"] == [1.0, 1.0, 0.5, 0.5]


def test_seconds_and_steps_to_a_quality() -> None:
    curves = {"pixel": [1.0, 0.5, 0.2], "perceptual": [0.4, 0.3, 0.3]}
    record = {"curves": curves, "seconds_to_init": 2.0, "seconds_per_image": 12.0, "later": {}}
    row = Row("w+", None, record)
    assert inversion.seconds(row) == [2.0, 7.0, 12.0]
    assert inversion.noise_curve(row) == ([], [])
    noise = {"seconds_per_image": 4.0, "curves": {"pixel": [0.2, 0.1, 0.05]}}
    noisy = Row("w+ +noise", None, record | {"later": {"noise": noise}})
    assert inversion.seconds(noisy) == [2.0, 5.0, 8.0]
    assert inversion.noise_curve(noisy) == ([8.0, 10.0, 12.0], [0.2, 0.1, 0.05])
    assert inversion.steps_to(row, {"pixel": 0.5, "perceptual": 0.3}) == 1
    assert inversion.steps_to(row, {"pixel": 0.3, "perceptual": 0.3}) == 2
    assert inversion.steps_to(row, {"pixel": 0.1, "perceptual": 0.3}) is None


def test_the_reference_alone_takes_thousands_of_steps() -> None:
    steps = {way.name: round(5000 * way.share) for way in inversion.WAYS + inversion.NOISE}
    assert steps.pop("Image2StyleGAN") == 5000
    assert steps.pop("F/Z+ without encoder") == 500
    assert set(steps.values()) == {200}
    noisy = {name.removesuffix(" + noise") for name in steps if name.endswith(" + noise")}
    assert noisy == {"W+ from the encoder", "IDInvert", "F/W+", "F/P_N+", "F/Z+"}
    assert recipes.get(inversion.REFERENCE.recipe).phases[0].betas == (0.9, 0.999)
    assert {name for pair in edits.PAIRS for name in pair} < steps.keys() | {"Image2StyleGAN"}


@pytest.mark.parametrize("terms", [("pixel", "perceptual"), ("pixel",)])
@pytest.mark.parametrize(("unseeded", "held"), [(0.6, "holds"), (0.5, "FAILS")])
def test_findings_say_when_the_reference_is_reached(
    terms: tuple[str, ...], unseeded: float, held: str
) -> None:
    ends = {"W+ from the mean": 0.3, "F/Z+": 0.1, "F/Z+ without encoder": unseeded}
    rows = {}
    for way in inversion.WAYS:
        # Each falls evenly from 1, most to 0.2; every step takes a second.
        last, end = round(5000 * way.share), ends.get(way.name, 0.2)
        falling = [1 - (1 - end) * i / last for i in range(last + 1)]
        record = {"curves": dict.fromkeys(terms, falling), "later": {}, "seconds_to_init": 0.0}
        record["machine"] = report.machine("cpu")
        rows[way] = Row(way.recipe, None, record | {"seconds_per_image": float(last)})
    said = inversion.findings(rows)
    wanted = ", ".join(f"{name} 0.2000" for name in terms)
    assert said[1] == f"The reference's quality ({wanted}) after 5000 steps:"
    assert "- W+ from the mean: not within 200 steps" in said
    saved = "1/28 of the steps, 1/28 of the seconds"
    assert f"- F/Z+: after 178 steps, 178.00 s an image ({saved})" in said
    assert not any("Image2StyleGAN" in line for line in said)
    # Half of the way from 1 to 0.1, as 100 are half of the steps.
    assert said[-len(terms) :] == [
        f"{held}: F/Z+ {name} from the encoder after 100 steps is at most that without after 500 "
        f"(0.5500, {unseeded:.4f})"
        for name in terms
    ]


def test_edits_move_the_code_and_stay_on_the_space(networks: Path) -> None:
    generator = checkpoints.find(networks).generator
    latents = stylegan.init_latents(generator, "f/z+", 2)
    there = edits.edited(latents, 0, 2.0)
    torch.testing.assert_close(there.code.norm(dim=-1), latents.code.norm(dim=-1))
    assert (there.code - latents.code).norm(dim=-1).min() > 1
    assert torch.equal(there.feature, latents.feature)
    w = stylegan.init_latents(generator, "w+", 2)
    back = edits.edited(edits.edited(w, 1, 1.5), 1, -1.5)
    torch.testing.assert_close(back.code, w.code)


def test_findings_name_what_fails() -> None:
    mse = {"z": 0.3, "z+": 0.2, "w+": 0.25, "f/p_n+": 0.1, "f/z+": 0.12}
    rows = {}
    for name, value in mse.items():
        per_image = {"mse": [value, value], "ssim": [1 - value, 1 - value]}
        rows[name] = Row(name, None, {"mean": {"mse": value}, "per_image": per_image})
    said = [line.split(":")[0] for line in spaces.findings(rows)]
    assert said == ["holds", "FAILS", "FAILS", "not shown", "not shown"]


def test_memory_fails_when_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10 < memory.resident() < 100_000
    sizes = iter((100.0, 110.0, 121.0))
    monkeypatch.setattr(memory, "resident", lambda: next(sizes))
    monkeypatch.setattr(memory, "load", lambda options: (random_generator(**TINY), None))
    monkeypatch.setattr(memory, "invert", lambda *_: None)
    with pytest.raises(SystemExit, match="1"):
        memory.main(memory.Options(marks=(1, 2, 3)))


def commands() -> list[ModuleType]:
    """The benchmarks that are told a device or a number of threads."""
    names = [f"benchmarks.{x.name}" for x in pkgutil.iter_modules(benchmarks.__path__)]
    found = [importlib.import_module(name) for name in names]
    found = [x for x in found if hasattr(x, "main") and hasattr(x, "Options")]
    return [x for x in found if {"device", "threads"} & told(x)]


def told(module: ModuleType) -> set[str]:
    return {field.name for field in dataclasses.fields(module.Options)}


@pytest.mark.parametrize("module", commands(), ids=lambda module: module.__name__)
def test_command_lines_start(module: ModuleType, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        tyro.cli(module.Options, args=["--help"])
    said = capsys.readouterr().out
    for name in told(module) - {"faces"}:
        assert f"--{name.replace('_', '-')}" in said
    needed = {
        field.name
        for field in dataclasses.fields(module.Options)
        if field.default is dataclasses.MISSING
    }
    args = ["faces.zip"] * ("faces" in needed)
    args += [x for name in needed - {"faces"} for x in (f"--{name.replace('_', '-')}", "x")]
    options = tyro.cli(module.Options, args=[*args, "--threads", "3"])
    assert options.threads == 3
    assert getattr(options, "device", "cpu") == "cpu"


def test_every_module_is_documented() -> None:
    """A benchmark has a row in the documentation and a command under its table; a page that they
    share says what it is."""
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    for page in pkgutil.iter_modules(benchmarks.__path__):
        module = importlib.import_module(f"benchmarks.{page.name}")
        assert module.__doc__, page.name
        if hasattr(module, "Options") and hasattr(module, "main"):
            assert f"| `benchmarks.{page.name}` |" in text, page.name
            assert f"python -m benchmarks.{page.name}" in text, page.name


def test_every_command_line_is_tried() -> None:
    names = (
        "batch distance encoder_training identity inversion landmarks memory noise precision "
        "reenactment spaces speed streaming training video"
    )
    assert {x.__name__.removeprefix("benchmarks.") for x in commands()} >= set(names.split())


@pytest.mark.slow
def test_weights_of_the_identity_term_are_compared(
    photos: Path, networks: Path, tmp_path: Path, make_encoder, capsys
) -> None:
    generator = checkpoints.find(networks).generator
    encoders.save(make_encoder("in-domain", generator), networks / "in-domain.safetensors")
    (tmp_path / "judge.py").write_text(JUDGE)
    options = identity.Options(
        faces=photos,
        first=1,
        count=2,
        steps=2,
        generator=str(networks),
        recipes=("w+",),
        weights=(2.0,),
        fixed=(0.1,),
        identity=tmp_path / "judge.py",
        out=tmp_path / "out",
    )
    identity.main(options)
    names = ["w+", "w+ +identity-2", "w+ +fixed-identity-0.1"]
    records = json.loads((options.out / "identity.json").read_text())
    assert [record["name"] for record in records] == names
    assert records[0]["mse_change"] == 0
    assert all(len(record["judge"]) == 2 for record in records)
    printed = capsys.readouterr().out
    assert all(f"| {name}" in printed for name in names)
    record = json.loads(next(options.out.glob("w++identity-2-*.json")).read_text())
    (phase,) = record["settings"]["plan"]["recipe"]["phases"]
    weights = {term["name"]: term["weight"] for term in phase["terms"]}
    assert weights["identity"] == 2


def test_which_faces(photos: Path) -> None:
    assert faces.read(photos, 32, 2, first=1).names == ["b.png", "c.png"]
    assert faces.read(photos, 32, 2, every=2).names == ["a.png", "c.png"]
    with pytest.raises(ValueError, match="from number 2 on, one of 2, asked for 2"):
        faces.read(photos, 32, 2, first=2, every=2)
