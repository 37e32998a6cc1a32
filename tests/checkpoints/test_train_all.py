"""The script that trains all encoders of a generator, and the settings of the bundled ones."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from facsimile.checkpoints.registry import BUNDLED
from facsimile.encoders import KINDS
from facsimile.training.config_file import expand_config

SCRIPT = BUNDLED / "faces" / "train_all.sh"
ORDER = ("feature", "in-domain", "editor", "difference")
STUB = """#!/bin/sh
# Records its arguments; writes what it is asked to convert.
echo "$*" >> "$LOG"
if [ "$1" = train ]; then exit "${STATUS:-0}"; fi
for last; do :; done
touch "$last"
"""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("sh") is None, reason="a POSIX shell is needed"
)


@pytest.fixture
def train_all(tmp_path):
    """train_all(*arguments, **environment) -> (exit status, the commands so far, stderr)."""
    stub, log = tmp_path / "facsimile", tmp_path / "log"
    stub.write_text(STUB)
    stub.chmod(0o755)

    def run(*arguments, **environment):
        variables = os.environ | {"FACSIMILE": str(stub), "LOG": str(log)} | environment
        command = ["sh", str(SCRIPT), *arguments]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr

    return run


def images(kind):
    return json.loads((BUNDLED / "faces" / f"{kind}.json").read_text())["settings"]["images"]


def test_all_kinds_in_order(train_all, tmp_path):
    """Each is trained and written; the same command then has nothing left to do."""
    out = tmp_path / "out"
    arguments = ["--data", "a.zip", "--data", "b.zip", "--out", str(out), "--", "--threads", "1"]
    status, commands, _ = train_all(*arguments)
    assert status == 0
    assert [line.split()[:2] for line in commands[::2]] == [["train", kind] for kind in ORDER]
    for kind, train, convert in zip(ORDER, commands[::2], commands[1::2], strict=True):
        assert f"--data a.zip b.zip --images {images(kind)} " in train
        assert train.endswith(f"--out {out}/{kind} --threads 1")
        assert convert.startswith(f"convert {out}/{kind} --network encoder --half")
        assert (out / f"{kind}.safetensors").exists()
    assert f"--feature {out}/feature --in-domain {out}/in-domain" in commands[4]
    assert f"--in-domain {out}/in-domain" in commands[6]
    assert train_all(*arguments) == (0, commands, "")


def test_a_generator_that_was_replaced(train_all, tmp_path):
    """A quarter of the images, from the encoders there are."""
    arguments = [
        "--data",
        "a",
        "--out",
        str(tmp_path / "out"),
        "--adapt",
        "old",
        "--kinds",
        "editor",
    ]
    status, commands, _ = train_all(*arguments, "--generator", "new")
    assert status == 0
    assert f"--generator new --data a --images {images('editor') // 4} --init-from" in commands[0]
    assert "--init-from old/editor.safetensors" in commands[0]


def test_stops_in_time(train_all, tmp_path):
    """After --minutes the training is asked to stop; what follows is not begun."""
    arguments = ["--data", "a", "--out", str(tmp_path / "out"), "--minutes", "0"]
    status, commands, stderr = train_all(*arguments)
    assert (status, commands) == (130, [])
    assert "the same command goes on" in stderr


def test_a_failure_ends_it(train_all, tmp_path):
    status, commands, stderr = train_all("--data", "a", "--out", str(tmp_path / "x"), STATUS="2")
    assert (status, len(commands)) == (2, 1)
    assert "feature stopped with status 2" in stderr
    assert not (tmp_path / "x" / "feature.safetensors").exists()


@pytest.mark.parametrize("arguments", [(), ("--data", "a"), ("--wrong",), ("--data",)])
def test_wrong_use(train_all, arguments):
    status, commands, stderr = train_all(*arguments)
    assert (status, commands) == (2, [])
    assert "train_all.sh" in stderr


@pytest.mark.parametrize("kind", ORDER)
def test_settings_of_the_bundled_encoders(kind):
    """Every file names its kind and flags that the kind has."""
    kind_of_file, *flags = expand_config(["--config", str(BUNDLED / "faces" / f"{kind}.json")])
    assert kind_of_file == kind
    assert kind in KINDS
    assert "--images" in flags
