"""Many processes share a folder: every photo once, none lost where one is killed, and how fast.

The faces are samples of the bundled generator, inverted by the encoder alone, on the CPU, by
processes of one thread each. Prints PASS or FAIL by line; the exit status is 1 after a FAIL.

    python -m benchmarks.processes --photos 200 --kills 10 --out runs/processes
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from PIL import Image

import facsimile
from facsimile import cli
from facsimile.claims import FOLDER
from facsimile.data import to_pil

INVERT = ("--fast", "--no-align", "--device", "cpu", "--threads", "1", "--quiet")


def make_faces(folder: Path, count: int) -> None:
    """Aligned faces 0000.png, 0001.png, .. of seeds of the bundled generator."""
    generator = facsimile.load("faces", perceptual="none", device="cpu").generator
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        path = folder / f"{seed:04d}.png"
        if not path.exists():
            z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                image = generator.synthesize(generator.map(z, truncation_psi=0.7))
            to_pil(image[0].clamp(-1, 1)).save(path)


def start(arguments: list[str]) -> int:
    """The number of a process that runs the command; torch is imported already."""
    process = os.fork()
    if process:
        return process
    random.seed()  # a fork has its parent's numbers
    try:
        cli.main(arguments)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    finally:
        os._exit(99)


def run(faces: Path, out: Path, processes: int, kill_after: float | None = None) -> list[int]:
    """Exit statuses of so many processes; the first one is killed after so many seconds."""
    numbers = [start(["invert", str(faces), "--out", str(out), *INVERT]) for _ in range(processes)]
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(numbers[0], signal.SIGKILL)
    return [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in numbers]


def processor_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def written(out: Path) -> dict[str, int]:
    """Name -> time at which its result was written, in ns."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("[!.]*/scores.json")}


def faults(faces: Path, out: Path) -> list[str]:
    """What is wrong with the results in `out` of all faces."""
    expected, results = {path.stem for path in faces.iterdir()}, set(written(out))
    summary = json.loads((out / "summary.json").read_text())
    wrong = [f"{len(expected - results)} are missing"] if expected - results else []
    if results - expected:
        wrong.append(f"{len(results - expected)} were done twice")
    if summary["done"] != len(expected) or summary["failed"]:
        wrong.append(f"the summary has {summary['done']} and {len(summary['failed'])} failed")
    for name in results:
        with Image.open(out / name / "reconstruction.png") as picture:
            picture.load()
    if (out / FOLDER).exists():
        wrong.append(f"{FOLDER} is left")
    return wrong


def report(what: str, wrong: list[str]) -> bool:
    print(
        f"{'FAIL' if wrong else 'PASS'}  {what}{': ' * bool(wrong)}{'; '.join(wrong)}", flush=True
    )
    return not wrong


def rate(faces: Path, out: Path, processes: int) -> tuple[float, float]:
    """Photos per second, from the first result to the last one, and processor seconds a photo."""
    shutil.rmtree(out, ignore_errors=True)
    before = processor_seconds()
    statuses = run(faces, out, processes)
    assert statuses == [0] * processes, statuses
    times = sorted(written(out).values())
    seconds = (times[-1] - times[0]) / 1e9
    return (len(times) - 1) / seconds, (processor_seconds() - before) / len(times)


def check_killed(faces: Path, out: Path, processes: int, kills: int, seconds: float) -> bool:
    """One process is killed at a random moment; then the command is run again."""
    moments, good = random.Random(0), True
    for number in range(kills):
        shutil.rmtree(out, ignore_errors=True)
        moment = moments.uniform(0, seconds)
        statuses = run(faces, out, processes, moment)
        wrong = [] if set(statuses[1:]) <= {0} else [f"the others ended with {statuses[1:]}"]
        before = written(out)
        again = run(faces, out, processes)
        after = written(out)
        wrong += [] if set(again) == {0} else [f"the second run ended with {again}"]
        changed = sum(after.get(name) != stamp for name, stamp in before.items())
        wrong += [f"{changed} were done again"] if changed else []
        words = f"{processes} processes, one killed after {moment:.1f} s, {len(before)} done before"
        good &= report(
            f"{words} the second run ({number + 1} of {kills})", [*wrong, *faults(faces, out)]
        )
    return good


def check_launcher(faces: Path, out: Path) -> bool:
    """`accelerate launch -m facsimile invert`, two processes."""
    shutil.rmtree(out, ignore_errors=True)
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "facsimile",
    ]
    command = [sys.executable, *launch, "invert", str(faces), "--out", str(out), *INVERT[:-1]]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    summaries = ended.stdout.count("overview.png")
    wrong = [] if ended.returncode == 0 else [ended.stderr[-500:]]
    wrong += [] if summaries == 1 else [f"{summaries} summaries"]
    return report("accelerate launch, 2 processes, one summary", [*wrong, *faults(faces, out)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/processes"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    faces, out = args.out / f"faces{args.photos}", args.out / "out"
    make_faces(faces, args.photos)
    good, seconds = True, 0.0
    for processes in (2, 4):
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        statuses = run(faces, out, processes)
        seconds = time.monotonic() - began
        wrong = [] if set(statuses) == {0} else [f"exit statuses {statuses}"]
        good &= report(f"{processes} processes: {seconds:.1f} s", [*wrong, *faults(faces, out)])
    for processes in (2, 4):
        good &= check_killed(faces, out, processes, args.kills, seconds)
    good &= check_launcher(faces, out)
    results = [rate(faces, out, processes) for processes in (1, 2, 1, 2)]
    for (one, alone), (two, shared) in (results[:2], results[2:]):
        share = two / (2 * one)
        good &= report(
            f"two processes {two:.1f} photos/s, one {one:.1f}: {share:.2f} of twice (at least 0.9, "
            f"where nothing else runs); processor seconds a photo {shared:.3f} and {alone:.3f}; "
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            [] if share >= 0.9 else ["too slow"],
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
