"""Training on more images than fit into memory, against a small set: memory, speed, resuming."""

import io
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
import tyro
from PIL import Image

from benchmarks import report

ROOT = Path(__file__).parents[1]
PICTURES = 64
"""Different pictures in a set. The files differ all the same, by a comment in each."""
LOG_EVERY = 5
"""Steps between two readings of the rate."""
WARM_UP = 2
"""Readings of the rate that do not count."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small generator on a large set in a zip, the same in a folder, and a part in memory.

    Writes the sets into SCRATCH unless they are there, and runs the training program on each.
    Prints images a second, and the peak of the memory of all processes together. Then stops a run
    half-way, resumes it, and compares its networks with those of a run that was not stopped, bit
    for bit. Exits with status 1 if one of the three misses its bound. 200,000 images of 256 px take
    7 GB on the disk.
    """

    scratch: Path
    """Folder for the sets and runs; may be deleted afterwards."""
    count: int = 200_000
    """Images of the large set."""
    in_memory: int = 20_000
    """Images of the part that is trained on in memory."""
    resolution: int = 256
    channel_base: int = 1024
    channel_max: int = 16
    """Both are of the network, which is small: the larger it is, the less decoding matters."""
    batch: int = 16
    steps: int = 60
    """Of each timed run."""
    repeats: int = 2
    """Timed runs of each set, in turns."""
    resume_steps: int = 8
    """Of the two runs that are compared, on the CPU. 0: none."""
    max_gb: float = 3.0
    """Bound of the memory of a run on the large set."""
    least: float = 0.9
    """Bound of its rate, in rates of the run in memory."""
    data_workers: int | None = None
    """Processes that decode. Default: the CPU cores."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads of the training process."""
    out: Path | None = None
    """JSON file with every number."""


def write_sets(options: Options) -> dict[str, Path]:
    """Paths of the large set as a zip and as a folder, and of its part as a zip."""
    options.scratch.mkdir(parents=True, exist_ok=True)
    pictures = [_jpeg(options.resolution, seed) for seed in range(PICTURES)]
    names = [f"{i // 1000:04}/{i:08}.jpg" for i in range(options.count)]
    parts = {"zip": names, "in memory": names[: options.in_memory]}
    paths = {name: options.scratch / f"{len(part)}.zip" for name, part in parts.items()}
    for name, part in parts.items():
        if not paths[name].exists():
            unfinished = paths[name].with_suffix(".part")
            with zipfile.ZipFile(unfinished, "w") as archive:
                for index, entry in enumerate(part):
                    archive.writestr(entry, _numbered(pictures[index % PICTURES], index))
            unfinished.replace(paths[name])
    folder = paths["folder"] = options.scratch / f"{options.count} files"
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        for index, name in enumerate(names):
            path = unfinished / name
            if index % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_numbered(pictures[index % PICTURES], index))
        unfinished.replace(folder)
    return paths


def _jpeg(resolution: int, seed: int) -> bytes:
    """Coloured clouds and some grain, which make a file as large as a photo's."""
    rng = np.random.default_rng(seed)
    clouds = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(clouds).resize((resolution,) * 2, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (resolution, resolution, 1))
    pixels = (np.asarray(photo) + grain).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _numbered(jpeg: bytes, number: int) -> bytes:
    """The file with a number in a comment after its first marker."""
    text = str(number).encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


@dataclass(frozen=True)
class TrainingRun:
    rate: float
    """Images a second, the median of the readings; NaN if there are none."""
    pss: float
    """Peak memory in GB of all processes, where shared pages count once."""
    rss: float
    """The same, where every process counts the pages that it shares."""
    seconds: float
    """All together, the opening of the set included."""


def train(
    options: Options, source: Path, out: Path, steps: int, *, memory: float, device: str
) -> TrainingRun:
    """Run the training program until so many steps are done, and watch its memory."""
    flags = {
        "data": source,
        "out": out,
        "resolution": options.resolution,
        "channel-base": options.channel_base,
        "channel-max": options.channel_max,
        "batch": options.batch,
        "mbstd-group": min(8, options.batch),
        "images": steps * options.batch,
        "precision": "fp32",
        "device": device,
        "data-memory": memory,
        "log-every": LOG_EVERY,
        "frechet": "none",
        **{f"{name}-every": 10**9 for name in ("save", "sample", "score")},
    }
    for name in ("threads", "data_workers"):
        if (value := getattr(options, name)) is not None:
            flags[name.replace("_", "-")] = value
    arguments = [x for name, value in flags.items() for x in (f"--{name}", str(value))]
    began, peak = time.perf_counter(), (0.0, 0.0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), "generator", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        while process.poll() is None:
            peak = tuple(map(max, peak, memory_of(process.pid)))
            time.sleep(0.25)
    if process.returncode:
        raise RuntimeError(f"training failed:\n{out.with_suffix('.log').read_text()[-3000:]}")
    readings = rates(out)[WARM_UP:]
    rate = median(readings) if readings else float("nan")
    return TrainingRun(rate, *peak, time.perf_counter() - began)


def memory_of(pid: int) -> tuple[float, float]:
    """(PSS, RSS) in GB of a process and its descendants; PSS is RSS where there is none."""
    pss = rss = 0
    try:
        processes = [root := psutil.Process(pid), *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    for process in processes:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        pss, rss = pss + getattr(memory, "pss", memory.rss), rss + memory.rss
    return pss / 1e9, rss / 1e9


def rates(out: Path) -> list[float]:
    """Images a second as the run logged them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "curves"), size_guidance={"scalars": 0}).Reload()
    if "images/s" not in events.Tags()["scalars"]:
        return []
    return [event.value for event in events.Scalars("images/s")]


def resumes_exactly(options: Options, source: Path, folder: Path) -> bool:
    """Whether a run that is stopped half-way and resumed gives the networks of one that is not."""
    steps, networks = options.resume_steps, {}
    for name, stops in (("whole", [steps]), ("resumed", [steps // 2, steps])):
        for stop in stops:
            train(options, source, folder / name, stop, memory=0, device="cpu")
        checkpoint = torch.load(folder / name / "checkpoint.pt", weights_only=True)["state"]
        networks[name] = checkpoint["modules"]
    return all(
        torch.equal(weight, networks["resumed"][module][name])
        for module, weights in networks["whole"].items()
        for name, weight in weights.items()
    )


def main(options: Options) -> None:
    sources = write_sets(options)
    runs_folder = options.scratch / f"runs-{os.getpid()}"
    runs: dict[str, list[TrainingRun]] = {name: [] for name in ("in memory", "zip", "folder")}
    for repeat in range(options.repeats):
        for name, done in runs.items():
            memory = 1000 if name == "in memory" else 0
            out = runs_folder / f"{name} {repeat}".replace(" ", "-")
            done.append(
                train(
                    *(options, sources[name], out, options.steps),
                    memory=memory,
                    device=options.device,
                )
            )
            print(f"{name}: {done[-1]}", flush=True)
    rate = {name: max(run.rate for run in done) for name, done in runs.items()}
    peak = {name: max(run.pss for run in done) for name, done in runs.items()}
    rows = [
        (
            f"{options.in_memory if name == 'in memory' else options.count:,} images, {name}",
            f"{rate[name]:.1f}",
            f"{rate[name] / rate['in memory']:.2f}",
            f"{peak[name]:.2f}",
            f"{min(run.seconds for run in done):.0f}",
        )
        for name, done in runs.items()
    ]
    head = ("set", "images/s", "ratio", "peak GB, all processes", "s in all")
    print(report.table(head, rows))
    same = resumes_exactly(options, sources["zip"], runs_folder) if options.resume_steps else None
    print(f"stopped and resumed: {'not run' if same is None else 'equal' if same else 'DIFFERENT'}")
    machine = report.machine(options.device) | {"cores": os.cpu_count()}
    print(machine)
    if options.out is not None:
        values = {name: [vars(run) for run in done] for name, done in runs.items()}
        report.write_json(options.out, {"machine": machine, "runs": values, "resumed": same})
    large = ("zip", "folder")
    slow = any(not rate[name] >= options.least * rate["in memory"] for name in large)
    if slow or any(peak[name] > options.max_gb for name in large) or same is False:
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
