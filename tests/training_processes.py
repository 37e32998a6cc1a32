"""Trains in forked processes and stops them: run as a program, so that nothing else is in memory.

Reads one line of JSON after the other, such as {"kills": 5, "processes": 1, "args": [...]}, and
answers each with a line: "" or what failed. Every run but the last is stopped shortly after it has
written a checkpoint: all its processes by SIGKILL, or with "stop": "SIGTERM" only the last one,
after which all must leave by themselves. With "finish": false the last run, which trains to the
end, is left out.
"""

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

torch.set_num_threads(1)

import torch._dynamo  # noqa: E402, F401  optimizers import it, and every run would anew
import torch.utils.tensorboard  # noqa: E402, F401

from facsimile.commands import train  # noqa: E402


def fork_run(args, rank, processes, port):
    """The process id of one training process."""
    process = os.fork()
    if process:
        return process
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        os._exit(train.main(args))
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(99)


def main(kills, processes, args, stop="SIGKILL", finish=True):
    checkpoint = Path(args[args.index("--out") + 1], "checkpoint.pt")
    moments = random.Random(0)
    for number in range(kills + finish):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        before = time_written(checkpoint)
        ids = [fork_run(args, rank, processes, port) for rank in range(processes)]
        if number < kills:
            while time_written(checkpoint) == before:
                time.sleep(0.01)
                assert os.waitpid(ids[0], os.WNOHANG) == (0, 0), f"run {number} ended by itself"
            time.sleep(moments.uniform(0, 0.05))
            for process in ids if stop == "SIGKILL" else ids[-1:]:
                os.kill(process, signal.Signals[stop])
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ids]
        stopped = -signal.SIGKILL if stop == "SIGKILL" else train.INTERRUPTED
        expected = stopped if number < kills else train.OK
        assert statuses == [expected] * processes, f"run {number} ended with {statuses}"


def time_written(checkpoint):
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None


def answer(line):
    """ "" or the traceback of what failed."""
    try:
        main(**json.loads(line))
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    # What the runs print goes elsewhere than the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(line)), file=answers, flush=True)
