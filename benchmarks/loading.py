"""Does a generator load as fast as its bare tensors, and in little memory?"""

import json
import math
import pickle  # to write files as NVIDIA does; nothing here reads one with it
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from benchmarks import report
from benchmarks.memory import resident
from benchmarks.networks import random_generator
from facsimile import stylegan

MODULE = "torch_utils.persistence"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time `stylegan.load` against `torch.load(weights_only=True)` of the generator's tensors.

    Every load is a process of its own, in turns; the files are in the system's cache. Exits with
    status 1 if a format takes more than the limits.
    """

    resolution: int = 1024
    channel_base: int = 32768
    channel_max: int = 512
    latent: int = 512
    rounds: int = 7
    slower: float = 1.3
    """Limit: multiple of torch.load's seconds, the fastest round of each."""
    memory: float = 2.2
    """Limit: peak memory as a multiple of the tensors' bytes."""
    out: Path | None = None
    """A JSON file for the numbers."""
    measure: tuple[str, Path] | None = None
    """Used by the processes that this starts: loader and file."""


def main(options: Options) -> None:
    if options.measure is not None:
        print(json.dumps(measure(*options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths, size = write(options, Path(folder))
        loads = compare(paths, options.rounds)
    rows, failed = [], False
    for name, (seconds, peaks) in loads.items():
        # The fastest of each: other work on the machine only adds time.
        ratio = min(seconds) / min(loads["torch.load"][0])
        peak = max(peaks) / size
        failed |= name != "torch.load" and (ratio > options.slower or peak > options.memory)
        rows.append((name, f"{min(seconds):.3f}", f"{ratio:.2f}", f"{peak:.2f}"))
    print(report.table(("loaded", "seconds", "ratio", "peak / tensors"), rows))
    print(f"tensors: {size / 1e6:.0f} MB; limits: {options.slower:g} and {options.memory:g}")
    if options.out:
        value = {name: {"seconds": s, "peaks": p} for name, (s, p) in loads.items()}
        report.write_json(options.out, report.machine("cpu") | {"tensors": size, "loads": value})
    if failed:
        sys.exit(1)


def compare(paths: dict[str, Path], rounds: int) -> dict[str, tuple[list[float], list[int]]]:
    """name -> (seconds, peak bytes) of every round."""
    loads = {name: ([], []) for name in paths}
    for _ in tqdm(range(rounds), desc="rounds"):
        for name, path in paths.items():
            command = [sys.executable, "-m", "benchmarks.loading", "--measure", name, str(path)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = json.loads(ran.stdout)
            loads[name][0].append(seconds)
            loads[name][1].append(peak)
    return loads


def measure(name: str, path: Path) -> tuple[float, int]:
    """(seconds, bytes that the peak lies above what was resident before)."""
    before, began = resident(), time.perf_counter()
    if name == "torch.load":
        torch.load(path, weights_only=True)
    else:
        stylegan.load(path)
    seconds = time.perf_counter() - began
    return seconds, round((resident(peak=True) - before) * 2**20)


def write(options: Options, folder: Path) -> tuple[dict[str, Path], int]:
    """(the same generator in every format, bytes of its tensors)."""
    generator = random_generator(
        options.resolution, options.channel_base, options.channel_max, latent=options.latent
    )
    state = generator.state_dict()
    names = ("torch.load", "safetensors", "rosinality .pt", "NVIDIA .pkl")
    paths = {name: folder / f"{index}.file" for index, name in enumerate(names)}
    torch.save(state, paths["torch.load"])
    stylegan.save(generator, paths["safetensors"])
    torch.save(rosinality(state), paths["rosinality .pt"])
    write_nvidia(state, paths["NVIDIA .pkl"])
    return paths, sum(x.nbytes for x in state.values())


def rosinality(state: dict[str, Tensor]) -> dict:
    """The tensors as rosinality/stylegan2-pytorch saves them."""
    tails = {
        "weight": ("conv.weight", (None,)),
        "bias": ("activate.bias", ()),
        "affine.weight": ("conv.modulation.weight", ()),
        "affine.bias": ("conv.modulation.bias", ()),
        "noise_strength": ("noise.weight", (None,)),
    }
    renamed = {"input.input": state["synthesis.b4.const"][None]}
    for name, x in state.items():
        room, block, *rest = name.split(".", 3) if name.startswith("synthesis") else (name, "")
        if not rest:
            index = name.split(".")[1].removeprefix("fc")
            if index.isdigit():
                renamed[f"style.{int(index) + 1}.{name.rpartition('.')[2]}"] = x
        elif len(rest) == 2:
            layer, tail = rest
            above = int(math.log2(int(block[1:]))) - 3  # blocks above the one of 8 pixels
            if tail == "noise_const":
                number = 2 * above + (1 if layer == "conv0" else 2)
                renamed[f"noises.noise_{number}"] = x[None, None]
            elif tail in tails:
                first = block == "b4"
                if layer == "torgb":
                    new_name = "to_rgb1" if first else f"to_rgbs.{above}"
                else:
                    new_name = "conv1" if first else f"convs.{2 * above + (layer == 'conv1')}"
                rgb = (layer, tail) == ("torgb", "bias")
                theirs, axes = ("bias", (None, slice(None), None, None)) if rgb else tails[tail]
                renamed[f"{new_name}.{theirs}"] = x[axes] if axes else x
    return {"g_ema": renamed, "latent_avg": state["mapping.w_avg"]}


class Persistent:
    """A module as NVIDIA pickles it: a call with its class's name, source text and attributes."""

    def __init__(self, name: str, state: dict):
        self.meta = {"type": "class", "version": 6, "module_src": "", "class_name": name}
        self.meta["state"] = state

    def __reduce__(self) -> tuple:
        return sys.modules[MODULE]._reconstruct_persistent_obj, (self.meta,)


def write_nvidia(state: dict[str, Tensor], path: Path) -> None:
    """A snapshot with two generators, of which the second is the one to load."""
    modules = {name: types.ModuleType(name) for name in ("torch_utils", MODULE)}

    def _reconstruct_persistent_obj() -> None: ...

    _reconstruct_persistent_obj.__module__ = MODULE
    _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
    modules[MODULE]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    other = {name: x.clone() for name, x in state.items()}
    sys.modules.update(modules)
    try:
        with path.open("wb") as file:
            pickle.dump({"G": nvidia(other), "D": None, "G_ema": nvidia(state)}, file, protocol=4)
    finally:
        for name in modules:
            del sys.modules[name]


def nvidia(state: dict[str, Tensor], name: str = "Generator") -> Persistent:
    """The tree of modules with these tensors."""
    parameters = {k: x for k, x in state.items() if "." not in k}
    parts = dict.fromkeys(k.partition(".")[0] for k in state if "." in k)
    for part in parts:
        inner = {k.partition(".")[2]: x for k, x in state.items() if k.startswith(f"{part}.")}
        parts[part] = nvidia(inner, "Module")
    attributes = {"conv_clamp": None, "_init_kwargs": {}}
    return Persistent(
        name, attributes | {"_parameters": parameters, "_buffers": {}, "_modules": parts}
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
