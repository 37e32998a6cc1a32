"""The whole command line where machines are odd: locale C, no home, no network, ASCII output.

Every command runs in a process of its own on the bundled networks, on a photo whose name no ASCII
output can show, and must do its work. Prints PASS or FAIL by line.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from PIL import Image
from skimage.data import astronaut

NAME, OTHER = "Zoë 写真 🙂.png", "other.png"
NO_NETWORK = """
import socket

def refuse(*_, **__):
    raise OSError("there is no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
COMMANDS = {
    "invert": ("invert", NAME, "--steps", "2", "--out", "out"),
    "invert fast": ("invert", NAME, "--fast", "--out", "fast"),
    "edit": ("edit", "morph", "out", "fast", "--frames", "3", "--out", "morph", "--video", "mp4"),
    "edit locally": ("edit", "transfer", NAME, OTHER, "--mask", "mouth", "--steps", "0")
    + ("--out", "transferred"),
    "reenact": ("reenact", NAME, "smile:1", "--source-steps", "1", "--out", "smile"),
    "align": ("align", NAME, "--out", "aligned"),
    "landmarks": ("landmarks", NAME, "--out", "points"),
    "sample": ("sample", "--count", "2", "--out", "samples.png"),
    "info": ("info", "faces"),
    "convert": ("convert", "faces", "--out", "faces.safetensors"),
    "prepare-data": ("prepare-data", NAME, "--out", "prepared.zip", "--resolution", "64")
    + ("--processes", "1"),
    "train": ("train", "in-domain", "--out", "run", "--preset", "small", "--images", "8")
    + ("--batch", "4", "--bn-group-size", "4"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run every command at every odd place; status 1 if one fails."""

    places: tuple[str, ...] = ("locale C", "no home", "no network", "ASCII")
    commands: tuple[str, ...] = tuple(COMMANDS)
    timeout: float = 600.0
    """Seconds for a command."""


def main(options: Options) -> None:
    failures = 0
    for place in options.places:
        with TemporaryDirectory() as name:
            folder = Path(name)
            photo = Image.fromarray(astronaut())
            photo.save(folder / NAME)
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / OTHER)
            environment = environment_of(place, folder)
            for command in options.commands:
                failures += not passes(place, command, folder, environment, options.timeout)
    sys.exit(1 if failures else 0)


def environment_of(place: str, folder: Path) -> dict[str, str]:
    """Environment variables that make the machine odd."""
    hidden = ("LANG", "PYTHONUTF8", "TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME")
    ours = {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith("LC_")}
    if place == "locale C":
        # Without these two Python takes C for UTF-8.
        return ours | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    if place == "no home":
        (folder / "home").write_text("a file, in which nobody can make a folder")
        return ours | {"HOME": str(folder / "home")}
    if place == "no network":
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(NO_NETWORK)
        return ours | {"PYTHONPATH": str(folder / "site")}
    if place == "ASCII":
        return ours | {"PYTHONIOENCODING": "ascii"}
    raise ValueError(f'there is no place "{place}"')


def passes(
    place: str, command: str, folder: Path, environment: dict[str, str], timeout: float
) -> bool:
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "facsimile", *COMMANDS[command]],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    passed = ran.returncode == 0 and b"Traceback" not in ran.stderr
    seconds = time.perf_counter() - began
    print(f"{'PASS' if passed else 'FAIL'} {place}: {command} ({seconds:.0f} s)", flush=True)
    if not passed:
        print((ran.stdout + ran.stderr).decode(errors="backslashreplace")[-2000:], flush=True)
    return passed


if __name__ == "__main__":
    main(tyro.cli(Options))
