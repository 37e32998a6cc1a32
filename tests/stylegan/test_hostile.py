"""Oracles: files that would run something, or eat memory or time, are refused by name of the fault.

The payloads are live: Python's own reader is shown to run them.
"""

import contextlib
import io
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import payloads
import payloads_of_scanners
import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import files

SECONDS = 5.0
MOST_MEMORY = 2**30


def everything(canary):
    """name -> (content, what the refusal must say)"""
    return payloads.everything(canary) | payloads_of_scanners.everything(canary)


NAMES = sorted(everything(Path("canary")))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(canary, name -> (content, what the refusal must say))"""
    canary = tmp_path_factory.mktemp("hostile") / "canary"
    return canary, everything(canary)


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


def test_there_are_many():
    assert len(NAMES) >= 300
    assert len(payloads_of_scanners.everything(Path("canary"))) >= 90


@pytest.mark.parametrize("name", NAMES)
def test_refused(made, tmp_path, name):
    canary, everything = made
    content, expected = everything[name]
    path = canary.parent / "network.pkl"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(ValueError, match=expected) as caught:
        stylegan.load(path)
    assert time.perf_counter() - began < SECONDS
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 700
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "posix.system", "subprocess.check_output", "builtins.eval"]
)
@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_payloads_are_live(tmp_path, name, form):
    canary = tmp_path / "canary"
    body, _ = payloads.running(canary)[name]
    content = payloads.CONTAINERS[form](body)
    assert not canary.exists()
    if form == "pickle":
        pickle.loads(content)
    else:
        torch.load(io.BytesIO(content), weights_only=False)
    assert canary.exists()


def test_shapes_that_scanners_miss_are_live(tmp_path):
    canary = tmp_path / "canary"
    made = payloads_of_scanners.everything(canary)
    for name in (
        "a popped call",
        "a call in the memo alone",
        "a circle before a call",
        "a frame in a frame",
        "a module of two parts of the memo",
        "a call before a broken stream",  # which is an error only after the call
        "a pickle and a zip",
    ):
        with contextlib.suppress(pickle.UnpicklingError):
            pickle.loads(made[name][0])
        assert canary.exists(), name
        canary.unlink()
    torch.load(io.BytesIO(made["a broken CRC in the local header"][0]), weights_only=False)
    assert canary.exists()


@pytest.mark.slow
def test_memory(tmp_path):
    """All of them in one process, whose largest resident size is read at its end."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak of a process of its own is known on Linux only")
    folder = Path(__file__).parent
    code = f"""
import sys
sys.path[:0] = [{str(folder)!r}, {str(folder.parents[1])!r}]
from pathlib import Path
import payloads
import payloads_of_scanners
from facsimile.stylegan import files
folder = Path({str(tmp_path)!r})
everything = payloads.everything(folder) | payloads_of_scanners.everything(folder)
for name, (content, _) in everything.items():
    (folder / "network").write_bytes(content)
    try:
        files.read(folder / "network", "generator")
    except ValueError:
        continue
    raise AssertionError(name)
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) * 1024 < MOST_MEMORY


def test_wrong_files(tmp_path):
    """What people pass by mistake: each is named, with what to do."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 381673535\n"
    for content, expected in {
        pointer: "is a Git LFS pointer, not the file of 382 MB: run git lfs pull",
        b"": "is empty; download or copy it again",
        b"\n <!DOCTYPE html><html>": "is a web page, not a network; the download went wrong",
        b"<?xml version='1.0'?><Error>": "is a web page",
        b"\x89PNG\r\n\x1a\n": "is a picture",
        b"\xff\xd8\xff\xe0..JFIF": "is a picture",
        b"\0\0\0\x20ftypisom": "is a film",
        b"\0\0\0\x18ftypheic": "is a picture",
        b"\0\0\0\x18ftypavif": "is a picture",
        b"\x08\x07\x12\x07pytorch": "is an ONNX model, not a network; pass the .pkl or .pt file",
        b"\x1f\x8b\x08\0": "is a compressed archive, not a network; unpack it",
        b"\x93NUMPY\1\0": "is a single numpy array",
        b'{"architecture": "stylegan2"}': "is a text file",
        b"Not found": r"is a text file \(9 bytes, beginning with b'Not foun'\); expected NVIDIA's",
        b"\x7fELF\2\1\1\0": "in an unknown format .* expected NVIDIA's .pkl",
        pickle.dumps({"a": 1}): "holds a dict with the keys a: no StyleGAN generator in a support",
        pickle.dumps([1, 2]): "holds a list of 2 values: no StyleGAN generator",
    }.items():
        path = tmp_path / "network.pkl"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=expected):
            stylegan.load(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 2", "pickle 4", "pickle 5"])
def test_truncated_downloads(tmp_path, form):
    content = payloads.networks()[form]
    path = tmp_path / "network.pkl"
    for part in (0.3, 0.6, 0.9):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(ValueError, match="cut short.*download it again"):
            files.contents(path)


def test_too_large(tmp_path, monkeypatch):
    path = tmp_path / "network.pkl"
    with path.open("wb") as file:
        file.truncate(2**32 + 1)  # a hole: it takes no room on the disk
    with pytest.raises(ValueError, match=r"has 4.3 GB; expected a network of at most 4 GB"):
        stylegan.load(path)
