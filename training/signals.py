"""Stopping: what Ctrl-C and SIGTERM do, in one process and in several."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed

GRACE = 2.0
"""Seconds. A launcher passes on a Ctrl-C that the terminal has sent to every process already; a
signal so soon after the first one is taken for the same."""


class Cut(KeyboardInterrupt):
    """A stop that was asked for inside `Stop.at_once`."""


class Stop(threading.Event):
    """Set once a stop is asked for."""

    acts_at_once = False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """For work that may be cut anywhere: a stop raises Cut, there and then.

        One that was asked for before raises it here.
        """
        self.acts_at_once = True
        try:
            if self.is_set():
                raise Cut
            yield
        finally:
            self.acts_at_once = False


@contextlib.contextmanager
def interruptible(grace: float = 0.0) -> Iterator[Stop]:
    """A stop that the first Ctrl-C or SIGTERM asks for, so that no step is cut in two.

    The second signal acts at once, unless it follows within `grace` seconds. Outside the main
    thread signals stay as they are.
    """
    stop = Stop()
    main = threading.current_thread() is threading.main_thread()
    handlers: dict[int, Any] = {}
    first: float | None = None

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: object) -> None:
        nonlocal first
        stop.set()
        if first is None:
            first = time.monotonic()
            if not grace:
                restore()
            if stop.acts_at_once:
                raise Cut
        elif time.monotonic() - first > grace:
            restore()
            signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        # A job in the background ignores Ctrl-C, as it should.
        if main and signal.getsignal(number) is not signal.SIG_IGN:
            handlers[number] = signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that what is open is closed.

    Outside the main thread, and where SIGTERM is ignored, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_in_any_process(stop: threading.Event, processes: int) -> Callable[[], bool]:
    """A function that says whether `stop` is set in any process; all must call it, step by step.

    The processes exchange one number on their CPUs, so that no GPU is waited for.
    """
    if processes == 1:
        return stop.is_set
    group = torch.distributed.new_group(backend="gloo")

    def any_stop() -> bool:
        stops = torch.tensor(int(stop.is_set()))
        torch.distributed.all_reduce(stops, torch.distributed.ReduceOp.MAX, group=group)
        return bool(stops)

    return any_stop
