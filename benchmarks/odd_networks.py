"""The network files and codes of `benchmarks.odd_folder`, as people have them, and hostile ones."""

import io
import os
import pickle
import re
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from facsimile import checkpoints
from facsimile.commands.info import describe

MOST_SECONDS = 5.0


class Network(NamedTuple):
    """A network file that is made for the folder."""

    name: str
    kind: str = ""
    """What `facsimile info` calls it; "": it is refused."""
    reason: str = ""
    """A pattern in the refusal."""


class Runs:
    """A pickled call of a function."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def make(folder: Path, generator: str) -> list[Network]:
    """Write the files into the folder."""
    network = checkpoints.find(generator).generator
    state = network.state_dict()
    wrapped = {f"module._orig_mod.{name}": x for name, x in state.items()}
    ws = torch.zeros(1, network.num_ws, network.w_dim)
    canary = folder / "canary"
    trees = {
        "state.pt": {"G_ema": state},
        "wrapped.pt": {"state_dict": wrapped},
        "arguments.pt": {"G_ema": state, "args": {"path": Path("a"), "when": slice(1, 2)}},
        "codes.pt": ws,
        "narrow.pt": {**state, "synthesis.b4.const": state["synthesis.b4.const"][..., :2]},
        "runs.pt": {"G_ema": Runs(os.system, f"touch '{canary}'")},
    }
    for name, tree in trees.items():
        torch.save(tree, folder / name)
    np.savez(folder / "projected_w.npz", w=ws.numpy())
    run = pickle.dumps(Runs(os.system, f"touch '{canary}'"))
    popped = run[:-1] + b"0}."
    (folder / "popped.pkl").write_bytes(popped)
    whole = (folder / "state.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with tarfile.open(folder / "legacy.pt", "w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("pickle")
        member.size = len(run)
        archive.addfile(member, io.BytesIO(run))
    with zipfile.ZipFile(folder / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", run)
    (folder / "polyglot.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}" + whole[:1000])
    (folder / "page.pkl").write_bytes(b"<!DOCTYPE html><html>")
    refused = r"asks to run (posix|nt)\.system; refused"
    return [
        Network("state.pt", "generator, stylegan2"),
        Network("wrapped.pt", "generator, stylegan2"),
        Network("arguments.pt", "generator, stylegan2"),
        Network("codes.pt", "latent codes of another program: e4e"),
        Network("projected_w.npz", "latent codes of another program: NVIDIA's projector"),
        Network("narrow.pt", reason="starts from a constant of 4x2 pixels"),
        Network("runs.pt", reason=refused),
        Network("popped.pkl", reason=refused),
        Network("cut.pt", reason="is cut short"),
        Network("legacy.pt", reason="is a tar archive"),
        Network("packed.pt", reason="is compressed, unlike those of torch.save"),
        Network("polyglot.safetensors", reason="damaged .safetensors file"),
        Network("page.pkl", reason="is a web page"),
    ]


def checks(folder: Path, networks: list[Network]) -> Iterator[tuple[str, bool, str]]:
    """(claim, whether it holds, what was found) of each file."""
    for network in networks:
        began = time.perf_counter()
        try:
            observed = describe(str(folder / network.name))["kind"]
            passed = bool(network.kind) and observed.startswith(network.kind)
        except ValueError as error:
            observed = str(error).replace(f"{folder}/", "")
            passed = bool(network.reason) and bool(re.search(network.reason, observed))
        seconds = time.perf_counter() - began
        yield network.name, passed and seconds < MOST_SECONDS, f"{observed[:110]} ({seconds:.1f} s)"
    yield "nothing was run", not (folder / "canary").exists(), "no trace of it"
