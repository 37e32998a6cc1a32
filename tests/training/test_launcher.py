"""What `accelerate launch` asks for is obeyed, or refused in a sentence."""

import json

import pytest

from facsimile.commands import train
from facsimile.training import TrainingSettings
from facsimile.training.launcher import obey_launcher

# What `accelerate launch train.py ...` sets when nobody chose anything.
DEFAULTS = {
    "ACCELERATE_USE_CPU": "False",
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
}


def settings(**changes):
    return TrainingSettings(out="run", images=8, **changes)


def test_defaults_change_nothing():
    for precision in ("bf16", "fp32", "fp64"):
        given = settings(precision=precision)
        assert obey_launcher(given, DEFAULTS) is given
    assert obey_launcher(given, {}) is given


@pytest.mark.parametrize(
    ("changes", "variable", "value", "message"),
    [
        ({}, "ACCELERATE_MIXED_PRECISION", "fp16", "--mixed_precision fp16, and --precision is"),
        ({}, "ACCELERATE_MIXED_PRECISION", "fp8", "train offers bf16 or none"),
        (
            {"precision": "fp32"},
            "ACCELERATE_MIXED_PRECISION",
            "bf16",
            "--mixed_precision bf16, and --precision is fp32; give --precision bf16 too",
        ),
        ({}, "ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "--dynamo_backend inductor"),
        ({}, "ACCELERATE_USE_FSDP", "true", "asks for FSDP"),
        ({}, "ACCELERATE_USE_DEEPSPEED", "true", "asks for DeepSpeed"),
        ({}, "ACCELERATE_USE_MEGATRON_LM", "true", "asks for Megatron-LM"),
        ({}, "ACCELERATE_USE_PARALLELISM_CONFIG", "true", "asks for a parallelism configuration"),
        ({"device": "cuda"}, "ACCELERATE_USE_CPU", "True", "asks for the CPU, and --device is"),
        (
            {"accumulate": 4},
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
            "2",
            "2 gradient accumulation steps, and --accumulate is 4",
        ),
    ],
)
def test_refused(changes, variable, value, message):
    with pytest.raises(ValueError, match=message):
        obey_launcher(settings(**changes), DEFAULTS | {variable: value})


@pytest.mark.parametrize(
    ("changes", "variable", "value", "name", "expected"),
    [
        ({}, "ACCELERATE_MIXED_PRECISION", "bf16", "precision", "bf16"),
        ({}, "ACCELERATE_USE_CPU", "True", "device", "cpu"),
        ({}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", "accumulate", 2),
        ({"accumulate": 2}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", "accumulate", 2),
        ({"accumulate": 2}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", "accumulate", 2),
    ],
)
def test_obeyed(changes, variable, value, name, expected):
    obeyed = obey_launcher(settings(**changes), DEFAULTS | {variable: value})
    assert getattr(obeyed, name) == expected


def test_the_program_asks(tmp_path, tiny, capsys, monkeypatch, tensors):
    """Refusals end the program; accumulation by the launcher is that of the flag, bit for bit."""
    with monkeypatch.context() as launched:
        launched.setenv("ACCELERATE_USE_FSDP", "true")
        assert train.main(tiny(tmp_path / "run")) == train.WRONG_USE
    assert "train: the launcher asks for FSDP" in capsys.readouterr().err
    with monkeypatch.context() as launched:
        launched.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
        assert train.main(tiny(tmp_path / "launched", images=8)) == 0
    assert train.main(tiny(tmp_path / "flag", images=8, accumulate=2)) == 0
    one, two = tensors(tmp_path / "launched"), tensors(tmp_path / "flag")
    weights = [name for name in one if name.startswith("/modules")]
    assert all((one[name] == two[name]).all() for name in weights)
    config = json.loads((tmp_path / "launched" / "config.json").read_text())
    assert config["settings"]["accumulate"] == 2
