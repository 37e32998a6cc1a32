"""Settings are composed of sections, and are flat on the command line and in files."""

import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import pytest
import torch
import tyro

from facsimile.commands import train
from facsimile.training import EmaSettings, OptimizerSettings, TrainingSettings
from facsimile.training.config_file import expand_config
from facsimile.training.settings import resume_key, to_dict


@dataclass(frozen=True, kw_only=True)
class ToySettings(TrainingSettings):
    data: tuple[str, ...] = ("a.zip", "b")
    optimizer: OptimizerSettings = OptimizerSettings(lr=0.1, lr_decay_images=1000)
    ema: EmaSettings = EmaSettings(ema_images=500)


def test_sections_are_flattened():
    settings = ToySettings(out=Path("run"), images=8)
    values = to_dict(settings)
    assert values["out"] == "run"
    assert values["data"] == ["a.zip", "b"]
    assert values["lr-decay-images"] == 1000
    assert values["ema-images"] == 500
    assert not {"optimizer", "ema"} & values.keys()
    assert values.keys() - resume_key(settings).keys() == {
        *("out", "images", "accumulate", "device", "threads", "data-memory", "data-workers"),
        *(
            "log-every",
            "save-every",
            "sample-every",
            "score-every",
            "dry-run",
            "config",
            "preset",
            "quiet",
            "resume-anyway",
        ),
    }


@pytest.mark.parametrize("kind", train.kinds())
def test_no_kind_has_a_flag_twice(kind):
    """The names of all fields, those of its sections included, are distinct."""

    def names(settings):
        for field in fields(settings):
            section = field.default if is_dataclass(field.default) else field.type
            if is_dataclass(section):
                yield from names(section)
            else:
                yield field.name

    flags = list(names(train.kinds()[kind].settings))
    assert len(flags) == len(set(flags)) > 20


@pytest.mark.parametrize("kind", train.kinds())
def test_the_file_of_a_run_repeats_its_settings(tmp_path, kind):
    """As JSON and back by flags: empty lists, None and booleans as well."""
    required = {
        "generator": ["--data", "a", "--resolution", "8", "--images", "8", "--no-mirror"],
        "landmarks": ["--data", "a", "--landmark-file", "b.npz"],
        "regions": ["--data", "a", "--mesh", "b.npz", "--person", "c.zip"],
    }

    def parse(args):
        constructor = train.kinds()[kind].settings
        return to_dict(tyro.cli(constructor, args=args, config=(tyro.conf.OmitArgPrefixes,)))

    settings = parse(["--out", "run", *required.get(kind, [])])
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"kind": kind, "settings": settings}))
    _, *args = expand_config([kind, "--config", str(path)])
    assert parse(args) == settings | {"config": str(path)}


def test_learning_rates_fall_to_four_fifths():
    optimizer = OptimizerSettings(lr=0.1, lr_decay_images=1000)
    assert [optimizer.decay(x) for x in (0, 1000, 2000)] == pytest.approx([1, 0.8, 0.64])
    assert OptimizerSettings(lr=0.1).decay(10**9) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "--batch is 0; it must be at least 1"),
        ({"score_every": 0}, "--score-every is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(out=Path("run"), images=8, **changes)
    with pytest.raises(ValueError, match="--ema-rampup is -1; it must be at least 0"):
        EmaSettings(ema_images=1, ema_rampup=-1)


def test_precision_and_device():
    settings = TrainingSettings(out=Path("run"), images=8, precision="fp64", device="cpu")
    assert settings.dtype == torch.float64
    assert settings.torch_device() == torch.device("cpu")
    settings = TrainingSettings(out=Path("run"), images=8)
    with settings.autocast(torch.device("cpu")):
        assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.bfloat16


def test_flags_of_a_file(tmp_path):
    """Each value as tyro reads it; a flag overrides the file, also where it says no."""
    path = tmp_path / "config.json"
    path.write_text(
        '{"settings": {"data": ["a", "b"], "mirror": true, "freeze": false, "lr": 0.1, '
        '"threads": null, "seed": 3, "config": "other.json"}}'
    )
    args = ["generator", "--config", str(path), "--no-mirror", "--seed=4"]
    assert expand_config(args) == [
        *("generator", "--data", "a", "b", "--no-freeze", "--lr", "0.1", "--threads", "None"),
        *args[1:],
    ]
    assert expand_config(["generator", "--seed", "4"]) == ["generator", "--seed", "4"]
    assert expand_config([]) == []


def test_a_file_that_names_its_kind(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"kind": "generator", "settings": {"seed": 3}}')
    args = ["--config", str(path)]
    assert expand_config(args) == ["generator", "--seed", "3", *args]
    path.write_text('{"seed": 3}')
    with pytest.raises(ValueError, match="does not name its kind; say what to train"):
        expand_config(args)
