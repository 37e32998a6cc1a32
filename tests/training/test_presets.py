"""--preset: what it sets, and what overrides it."""

import json

import pytest

from facsimile.commands import train
from facsimile.training.config_file import expand_preset
from facsimile.training.settings import to_dict

PRESETS = {"small": {"batch": 8, "mirror": False, "widths": [1, 2]}}


def required(kind):
    """The flags without which there is no run."""
    return {
        "generator": ["--data", "faces.zip", "--resolution", "128", "--images", "9"],
        "landmarks": ["--data", "faces.zip", "--landmark-file", "faces.npz"],
        "regions": ["--data", "a.zip", "--mesh", "a.npz", "--person", "b.zip"],
    }.get(kind, [])


@pytest.mark.parametrize(
    ("flags", "expanded"),
    [
        ([], []),
        (["--preset", "paper"], ["--preset", "paper"]),
        (
            ["--preset", "small"],
            [*("--batch", "8", "--no-mirror", "--widths", "1", "2"), *("--preset", "small")],
        ),
        (
            ["--batch=2", "--preset=small", "--mirror", "--widths", "3"],
            ["--batch=2", "--preset=small", "--mirror", "--widths", "3"],
        ),
        # The last of several counts.
        (["--preset", "small", "--preset=paper"], ["--preset", "small", "--preset=paper"]),
    ],
)
def test_flags_override_a_preset(flags, expanded):
    assert expand_preset(["base", *flags], PRESETS) == ["base", *expanded]


@pytest.mark.parametrize("kind", train.kinds())
def test_every_kind_takes_its_preset(kind, tmp_path):
    """What it sets are flags of the kind, nothing else changes, and its batch can be divided."""
    args = [kind, "--out", str(tmp_path), *required(kind)]
    (_, paper), (_, small) = train.parse(args), train.parse([*args, "--preset", "small"])
    before, after = to_dict(paper), to_dict(small)
    changed = {name: after[name] for name in after if after[name] != before[name]}
    assert changed.pop("preset") == "small"
    preset = type(small).SMALL
    assert changed.items() <= preset.items()
    assert preset.keys() <= after.keys()
    group = getattr(small, small.GROUP_FLAG) if hasattr(small, small.GROUP_FLAG or " ") else 1
    assert small.batch % group == 0


def test_config_overrides_a_preset_and_flags_both(tmp_path, capsys):
    config = tmp_path / "settings.json"
    settings = {"kind": "base", "settings": {"preset": "small", "width": 16, "batch": 24}}
    config.write_text(json.dumps(settings))
    args = ["base", "--config", str(config), "--out", str(tmp_path / "run"), "--dry-run"]
    assert train.main([*args, "--batch", "16"]) == 0
    printed = json.loads(capsys.readouterr().out)["settings"]
    # The preset alone has a width of 64, a batch of 8, and groups of 8.
    assert (printed["width"], printed["batch"], printed["bn-group-size"]) == (16, 16, 8)
    # Its file repeats the run without the preset's help.
    assert train.main(args) == 0
    printed = json.loads(capsys.readouterr().out)
    (tmp_path / "again.json").write_text(json.dumps(printed))
    assert train.main(["--config", str(tmp_path / "again.json"), "--dry-run"]) == 0
    again = json.loads(capsys.readouterr().out)["settings"]
    assert again == printed["settings"] | {"config": str(tmp_path / "again.json")}


def test_a_small_generator_has_the_bundled_widths(tmp_path, capsys):
    from facsimile import checkpoints

    args = ["generator", *required("generator"), "--out", str(tmp_path)]
    assert train.main([*args, "--preset", "small", "--dry-run"]) == 0
    count = json.loads(capsys.readouterr().out)["parameters"]["generator"]
    bundled = checkpoints.find("faces").generator
    assert count == sum(x.numel() for x in bundled.parameters())


@pytest.mark.parametrize(
    ("kind", "flags", "remedy"),
    [
        ("base", ["--batch", "8"], "(--bn-group-size) it must be a multiple of 16, or give --bn-"),
        ("generator", ["--batch", "12"], "(--mbstd-group) it must be a multiple of 8, or give --m"),
        ("base", ["--batch", "9"], "(--bn-group-size) it must be a multiple of 16\n"),
    ],
)
def test_a_batch_that_cannot_be_divided_names_the_flag(kind, flags, remedy, tmp_path, capsys):
    args = [kind, "--out", str(tmp_path), *required(kind), *flags, "--dry-run"]
    assert train.main(args) == train.WRONG_USE
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize("kind", train.kinds())
def test_help_shows_types_and_no_none(kind, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        train.main([kind, "--help"])
    printed = capsys.readouterr().out
    assert "--threads INT" in printed
    assert "{None}" not in printed


def test_none_is_still_read(tmp_path):
    for given, value in (("None", None), ("0.2", 0.2)):
        _, settings = train.parse(["editor", "--out", str(tmp_path), "--gate", given])
        assert settings.gate == value
    _, settings = train.parse(["in-domain", "--out", str(tmp_path), "--critic", "trained"])
    assert settings.critic == "trained"


def test_a_misspelt_flag_is_about_this_recipe_alone(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.main(["base", "--image", "10", "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert "--images INT" in error
    assert "facsimile train base --help" in error
    assert "difference" not in error
    assert error.count("\n") < 30


def test_a_misspelt_kind(tmp_path, capsys):
    assert train.main(["featuer", "--out", str(tmp_path)]) == train.WRONG_USE
    assert 'there is no "featuer" to train; did you mean feature?' in capsys.readouterr().err
