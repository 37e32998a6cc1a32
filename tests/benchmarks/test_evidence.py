"""One command for all tables: it resumes, takes rows from elsewhere, and writes between markers."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import bench, edits, evidence, inversion, results_page, rows, settling, spaces
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.non_inferiority import p_value
from facsimile import checkpoints, data, encoders, stylegan
from facsimile.refine import recipes

pytestmark = pytest.mark.usefixtures("small_identity")

TINY = {"resolution": 32, "channel_base": 256, "channel_max": 16}
JUDGE = """
import numpy as np

def identity(image):
    small = image[::8, ::8].astype(float).ravel() + 1
    return small / (small**2).sum() ** 0.5

def landmarks68(image):
    return np.stack([image.reshape(-1, 3).mean(0)[:2]] * 68)
"""


@pytest.fixture
def options(tmp_path: Path, make_encoder) -> evidence.Options:
    """Two photos, and a tiny generator with the encoders of all parts but reenactment."""
    photos, networks = tmp_path / "photos", tmp_path / "networks"
    photos.mkdir(), networks.mkdir()
    source = torch.Generator().manual_seed(0)
    for name in ("a.png", "b.png"):
        data.to_pil(torch.rand(3, 32, 32, generator=source) * 2 - 1).save(photos / name)
    generator = random_generator(**TINY, latent=24, mapping_layers=2)
    stylegan.save(generator, networks / "generator.safetensors")
    stylegan.save(random_discriminator(**TINY), networks / "discriminator.safetensors")
    generator = checkpoints.find(networks).generator
    layer = generator.default_feature_layer()
    for kind, changes in (("feature", {"layer": layer}), ("in-domain", {}), ("editor", {})):
        encoders.save(make_encoder(kind, generator, **changes), networks / f"{kind}.safetensors")
    (tmp_path / "judge.py").write_text(JUDGE)
    return evidence.Options(
        faces=photos,
        generator=str(networks),
        identity=tmp_path / "judge.py",
        out=tmp_path / "out",
        tiny=True,
    )


STUDIES = (
    "noise-orders",
    "starts",
    "damage",
    "classes",
    "local-edits",
    "expression",
    "path-length",
)
"""Parts that test_studies.py runs."""


def refuse(*_, **__) -> None:
    raise AssertionError("computed again")


@pytest.mark.slow
def test_all_parts_run_once(
    options: evidence.Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    parts = {name: part for name, part in evidence.PARTS.items() if name not in STUDIES}
    names = [f"{name}/{x}" for name, part in parts.items() for x in part.tables]
    markers = "".join(f"<!-- table: {name} -->\n<!-- end -->\nOf {name}.\n" for name in names)
    (docs / "results.md").write_text(markers)
    monkeypatch.setattr(edits, "STRENGTHS", [-2.0, 2.0])
    options = dataclasses.replace(options, docs=docs, parts=tuple(parts))
    with pytest.raises(SystemExit, match="1"):
        evidence.main(options)
    said = capsys.readouterr().err
    assert "left out: reenactment: this generator has no difference encoder" in said
    assert said.count("left out: ") == 1
    first = (docs / "results.md").read_text()
    assert first.count("Computed on ") == len(names) - 1
    assert "python -m benchmarks.spaces FACES.zip --count 2 --steps 2" in first
    assert all(f"\nOf {name}.\n" in first for name in names)
    assert "| f/z+ printed " in first
    assert (docs / "images" / "inversion.png").is_file()
    monkeypatch.setattr(bench, "refine", refuse)
    with pytest.raises(SystemExit, match="1"):
        evidence.main(dataclasses.replace(options, rows_only=True))
    evidence.main(dataclasses.replace(options, parts=("settling",)))
    assert (docs / "results.md").read_text() == first


def test_parts_are_known(options: evidence.Options) -> None:
    with pytest.raises(ValueError, match="there are no parts spice; choose from spaces, "):
        dataclasses.replace(options, parts=("spice",))


def space_options(options: evidence.Options, **changes) -> spaces.Options:
    told = evidence.page_options("spaces", options)
    return dataclasses.replace(told, recipes=("w+", "f/z+ printed"), **changes)


def test_rows_from_another_machine_are_taken(
    options: evidence.Options, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """With --stored, other batches and no latents will do; without it, the row is another."""
    spaces.main(space_options(options, rows_only=True, untimed=True, batch=1))
    out = space_options(options).out
    assert capsys.readouterr().out == ""
    assert not out.exists()
    monkeypatch.setattr(bench, "refine", refuse)
    with pytest.raises(AssertionError, match="computed again"):
        spaces.main(space_options(options))
    for path in space_options(options).rows.glob("w+-*.safetensors"):
        path.unlink()
    spaces.main(space_options(options, stored=True))
    said = capsys.readouterr().out
    assert "in batches of 1; seconds are left out where other work ran beside." in said
    assert (out / "spaces.png").is_file()
    line = next(x for x in said.splitlines() if x.startswith("| w+ "))
    record = json.loads(next(space_options(options).rows.glob("w+-*.json")).read_text())
    assert f"{record['mean']['mse']:.5f}" in line
    assert "nan" not in said


def test_the_method_as_printed(options: evidence.Options) -> None:
    """Section 3.3 of the F/Z+ paper, and its table of settings."""
    (phase,) = spaces.printed(recipes.get("f/z+"), "p", truncated=False).from_encoder().phases
    weights = {term.name: term.weight_for("lpips-vgg") for term in phase.terms}
    assert weights == {"pixel": 1, "perceptual": 10, "feature_reg": 10}
    assert (phase.betas, phase.steps) == ((0.9, 0.999), 1200)
    assert {variable.lr for variable in phase.variables} == {0.01}
    recipe = spaces.printed(recipes.get("f/p_n+"), "p", truncated=True)
    assert (recipe.truncation_psi, recipe.truncation_cutoff) == (0.7, 8)
    assert {t.name: t.weight for t in recipe.phases[0].terms}["p_norm"] == 0.01
    # The encoder gives the feature alone: every face begins at the same code.
    told = space_options(options, steps=0)
    row = spaces.run(bench.Bench.load(told), "f/z+ printed")
    assert torch.equal(row.latents.code[0], row.latents.code[1])
    assert not torch.equal(row.latents.feature[0], row.latents.feature[1])
    seeded = spaces.run(bench.Bench.load(told), "f/z+ seeded")
    assert torch.equal(seeded.latents.feature, row.latents.feature)
    assert not torch.equal(seeded.latents.code[0], seeded.latents.code[1])


def test_rows_for_which_there_are_encoders(options: evidence.Options) -> None:
    told = space_options(options)
    assert spaces.possible(bench.Bench.load(told)) == list(spaces.ROWS)
    for kind in ("feature", "in-domain"):
        (Path(options.generator) / f"{kind}.safetensors").unlink()
    names = spaces.possible(bench.Bench.load(told))
    assert {"z", "f/z+", "w+ printed"} < set(names)
    assert not {"in-domain", "f/z+ seeded", "f/z+ printed", "f/z+ truncated"} & set(names)


def test_statistics_are_kept(options: evidence.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.Bench.load(space_options(options)).generator.statistics
    monkeypatch.setattr(stylegan.statistics, "compute", refuse)
    again = bench.Bench.load(space_options(options)).generator.statistics
    assert torch.equal(first.p_std, again.p_std)
    assert torch.allclose(first.p_std, first.p_std.sort(descending=True).values)


def test_settings_without_defaults(options: evidence.Options) -> None:
    """A row is found again by a version that has more options, and not by other numbers."""
    loaded = bench.Bench.load(space_options(options))
    record = loaded._plan(recipes.get("w+"), 2, None).to_dict()
    plain = rows.plan_settings(record)
    (phase,) = plain["recipe"]["phases"]
    assert phase.keys() == {"name", "variables", "terms", "steps", "betas"}
    assert phase["variables"] == [{"name": "code", "lr": 0.01}]
    assert not {"generator", "identity"} & plain.keys()
    assert rows.plan_settings(plain) == plain
    record["recipe"]["phases"][0] |= {"eps": 1.0}
    assert rows.plan_settings(record) != plain


def test_stored_rows_are_not_computed(options: evidence.Options, capsys) -> None:
    """Unless they take no steps; a table says what is missing."""
    told = space_options(options, stored=True)
    with pytest.raises(rows.MissingRow, match="no row of w\\+ with 2 steps from mean for"):
        bench.Bench.load(told).run("w+")
    assert bench.Bench.load(told).run("w+", steps=0).mean["mse"] > 0
    spaces.main(space_options(options, rows_only=True))
    spaces.main(dataclasses.replace(told, recipes=("w+", "z+")))
    said = capsys.readouterr().out
    assert "| w+ " in said
    assert "left out: " in said
    assert "no row of z+ with 2 steps from random" in said


def test_steps_until_an_image_settles() -> None:
    (phase,) = recipes.get("w+").with_steps(3).for_networks({}).phases
    first = torch.tensor([[4.0], [2.0], [1.04], [1.0]])
    second = torch.tensor([[3.0, 1.0], [1.0, 0.5], [9.0, torch.nan], [2.0, 0.1]])
    histories = [{"code/pixel": first}, {"code/pixel": second}]
    assert bench.steps_to_settle(phase, histories) == [2, 1, 3]


def test_pictures_that_show_no_face() -> None:
    pictures = settling.pictures(32)
    assert pictures.images.shape[1:] == (3, 32, 32)
    assert pictures.names[:3] == ["a cat", "a cup", "a rocket"]
    assert -1 <= pictures.images.min() < -0.5 < 0.5 < pictures.images.max() <= 1


def test_non_inferiority_against_scipy() -> None:
    from scipy.stats import ttest_rel

    source = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 50, generator=source, dtype=torch.float64).tolist()
    for margin in (0.0, 0.3):
        shifted = [x + margin for x in a]
        wanted = ttest_rel(shifted, b, alternative="greater").pvalue
        assert p_value(a, b, margin) == pytest.approx(wanted)
    # Two pairs: Student's t of one degree of freedom is Cauchy's distribution.
    gains = [1.0, 2.0]  # mean 1.5, standard error 0.5
    assert p_value(gains, [0.0, 0.0], 0) == pytest.approx(0.5 - math.atan(3) / math.pi)
    assert (p_value([1, 1], [1, 1]), p_value([1, 1], [2, 2])) == (0.0, 1.0)
    with pytest.raises(ValueError, match="got 2 values and 3 others; expected two or more pairs"):
        p_value([1, 2], [1, 2, 3])


def test_tables_are_written_between_their_markers() -> None:
    page = (
        "Before.\n<!-- table: a/b -->\nold\n<!-- end -->\nBetween.\n<!-- table: c -->\n<!-- end -->"
    )
    filled = results_page.fill(page, {"a/b": "new"}, ["a/b", "c"])
    assert filled == page.replace("\nold\n", "\n\nnew\n\n")
    assert results_page.fill(filled, {"a/b": "new"}, ["a/b", "c"]) == filled
    with pytest.raises(ValueError, match="marks tables that nothing writes: c; expected some of a"):
        results_page.fill(page, {}, ["a/b"])
    with pytest.raises(ValueError, match="no markers for d; add <!-- table: d -->"):
        results_page.fill(page, {"d": ""}, ["a/b", "c", "d"])
    with pytest.raises(ValueError, match="has no <!-- end -->"):
        results_page.fill("<!-- table: c -->\n", {}, ["c"])


def test_output_becomes_markdown() -> None:
    text = "| a |\n| - |\nComputed on this, in batches of 1.\nholds: x\nFAILS: y\n"
    assert results_page.block(text, "run", "that").splitlines()[4:] == [
        *("| a |", "| - |", "Computed on this, in batches of 1.", "", "- holds: x", "- FAILS: y")
    ]
    assert results_page.block("| a |\n", "run", "that").endswith("| a |\n\nComputed on that.")


def test_the_documentation_has_every_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    names = [f"{name}/{x}" for name, part in evidence.PARTS.items() for x in part.tables]
    assert results_page.fill(page, {}, names) == page
    assert {match[1] for match in results_page.MARKED.finditer(page)} == set(names)


def test_commands_are_written_down(options: evidence.Options) -> None:
    told = evidence.page_options("inversion", options)
    line = evidence.command(inversion, told)
    assert line.startswith("python -m benchmarks.inversion FACES.zip --count 2 --steps 25")
    assert line.endswith("--alone 0 --identity JUDGE.py")
