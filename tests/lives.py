"""Trains in forked processes and kills them: run as a program, so that nothing else is in memory.

    python lives.py '[{"kills": 5, "processes": 1, "args": [...]}, ...]'
Every life but the last is killed with SIGKILL shortly after it has written a checkpoint.
"""

import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)

import torch._dynamo  # noqa: E402, F401  optimisers import it, and every life would anew
import torch.utils.tensorboard  # noqa: E402, F401

import train  # noqa: E402


def life(args, rank, processes, port):
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


def main(kills, processes, args):
    checkpoint = Path(args[args.index("--out") + 1], "checkpoint.pt")
    moments = random.Random(0)
    for number in range(kills + 1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        before = written(checkpoint)
        lives = [life(args, rank, processes, port) for rank in range(processes)]
        if number < kills:
            while written(checkpoint) == before:
                time.sleep(0.01)
                assert os.waitpid(lives[0], os.WNOHANG) == (0, 0), f"life {number} ended by itself"
            time.sleep(moments.uniform(0, 0.1))
            for process in lives:
                os.kill(process, signal.SIGKILL)
        endings = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in lives]
        wanted = -signal.SIGKILL if number < kills else 0
        assert endings == [wanted] * processes, f"life {number} ended with {endings}"


def written(checkpoint):
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        main(**job)
