"""Who does what: processes, of one machine or of several, that share work over one output folder.

Every process at work has a file in OUT/.claims, which it touches every few seconds. What it does is
claimed by a file of its own, KEY~PROCESS: who has written one and then sees that of another living
process takes its own away. So no two do the same; two that claim at the same moment may both step
back, and come again later. A process is dead if its machine no longer has it, or, on another
machine, if it has not touched its file for a while; its claims count no more.

Entering and leaving are claimed too, so that exactly one process finds that it is the last.
"""

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psutil

from .json_files import read_json, write_json

T = TypeVar("T")

FOLDER = ".claims"
TOUCH_EVERY = 10.0
"""Seconds between two signs of life."""
DEAD_AFTER = 120.0
"""Seconds without one after which a process of another machine counts as dead."""
RETRY = 0.5
"""Seconds, on average, after which what another process does is looked at again."""
CLOCK_ERROR = 5.0
"""Seconds by which two processes may see the start of a third one apart."""
DOOR = "door"
WAITING, WORKING = "waiting", "working"
"""Endings of a process's file: before it has entered and after it has left, and between."""


def key_of(*parts: str) -> str:
    """The name under which something is claimed; equal for equal parts."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:20]


def wait_a_moment() -> None:
    """Until what another process does is looked at again."""
    time.sleep(random.uniform(RETRY, 3 * RETRY) / 2)


@dataclass
class Claims:
    """What this process does of the work on the results in `out`; a context: enter, work, leave.

    After it was entered, `position` says how many others were at work; after it was left, `last`
    whether none is any more.
    """

    out: Path
    host: str = field(default_factory=socket.gethostname)
    position: int = 0
    last: bool = False

    def __post_init__(self) -> None:
        self.folder = self.out / FOLDER
        # Apart from the claims, whose folder is listed for every one: these are many.
        self.names, self.endings = self.folder / "names", self.folder / "told"
        self.process = uuid4().hex[:12]
        self._state, self._ended = WAITING, threading.Event()

    # Entering and leaving -------------------------------------------------------------------------

    def __enter__(self) -> "Claims":
        while True:
            with contextlib.suppress(FileNotFoundError):  # the last one has just removed the folder
                self._write_file()
                break
        self._toucher = threading.Thread(target=self._touch, name="claims", daemon=True)
        self._toucher.start()
        with self._door():
            self.position = len(self.others())
            if not self.position:
                self._clear()
            self._change(WORKING)
        return self

    def leave(self, finish: Callable[[], None] = lambda: None) -> None:
        """End the work. `finish` is called if no other process is at work; none enters then."""
        if self._ended.is_set():
            return
        for claim in self.folder.glob(f"*~{self.process}"):
            claim.unlink(missing_ok=True)
        try:
            with self._door():
                self._change(WAITING)
                self.last = not self.others()
                if self.last:
                    finish()
                    self._clear()
        finally:
            self._ended.set()
            self._toucher.join()
            self._file.unlink(missing_ok=True)
            self._remove_folders()

    def __exit__(self, *_: object) -> None:
        self.leave()

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        while not self.take(DOOR):
            time.sleep(random.uniform(0, RETRY / 5))
        try:
            yield
        finally:
            self.release(DOOR)

    def _clear(self) -> None:
        """Remove what earlier runs have left: nobody is at work."""
        for path in [x for y in (self.folder, self.names, self.endings) for x in y.glob("*")]:
            process = path.name.rpartition("~")[2].partition(".")[0]
            if path.is_file() and not self._lives(process):
                path.unlink(missing_ok=True)

    def _remove_folders(self) -> None:
        with contextlib.suppress(OSError):  # others are in it
            if not any(path.is_file() for path in self.folder.iterdir()):
                for folder in self.folder.iterdir():
                    folder.rmdir()
                self.folder.rmdir()

    # Claims ---------------------------------------------------------------------------------------

    def take(self, key: str) -> bool:
        """Claim something; False where another living process has it."""
        mine = self.folder / f"{key}~{self.process}"
        if not self._file.exists():
            self._write_file()  # this one was taken for dead
        mine.touch()
        for other in self.folder.glob(f"{key}~*"):
            if other != mine:
                if self._lives(other.name.partition("~")[2]):
                    mine.unlink(missing_ok=True)
                    return False
                other.unlink(missing_ok=True)
        return True

    def holds(self, key: str) -> bool:
        """Whether the claim stands: a process that slept for long may have been taken for dead."""
        return (self.folder / f"{key}~{self.process}").exists()

    def release(self, key: str) -> None:
        (self.folder / f"{key}~{self.process}").unlink(missing_ok=True)

    def tell(self, key: str, outcome: dict) -> None:
        """Let the others know how what was claimed has ended, and release it."""
        if self.holds(key):
            self.endings.mkdir(exist_ok=True)
            write_json(self.endings / f"{key}.json", outcome)
        self.release(key)

    def outcome(self, key: str) -> dict:
        """What a process has told, since the first one began that is at work; {} if nothing."""
        return read_json(self.endings / f"{key}.json")

    def outcomes(self) -> list[dict]:
        return [read_json(path) for path in sorted(self.endings.glob("*.json"))]

    def reserve(self, name: str, key: str) -> bool:
        """Give a name to what is claimed as `key`, which keeps it until all have left."""
        self.names.mkdir(exist_ok=True)
        path = self.names / key_of(name)
        content = key.encode("utf-8", "surrogateescape")  # a path may be no UTF-8
        with contextlib.suppress(FileExistsError), path.open("xb") as file:
            file.write(content)
            return True
        return path.read_bytes() == content

    def share(self, items: Sequence[T], key: Callable[[T], str]) -> Iterator[T]:
        """The items that this process is to do, each claimed until the next is asked for.

        Last come those that other processes have begun and not ended, once these are dead.
        """
        later = list(items)
        while later:
            busy = []
            for item in later:
                name = key(item)
                if not self.take(name):
                    busy.append(item)
                elif self.outcome(name):
                    self.release(name)
                else:
                    yield item
                    if not self.outcome(name):
                        self.tell(name, {"ended": True})
            later = busy
            if later:
                wait_a_moment()

    def start_of(self, count: int) -> int:
        """Where in so many items this process begins: 0, 1/2, 1/4, 3/4, .. of them, by `position`.

        Processes that go through the same list so rarely meet.
        """
        fraction, step, number = 0.0, 0.5, self.position
        while number:
            fraction += step * (number % 2)
            number, step = number // 2, step / 2
        return int(fraction * count)

    # Life and death -------------------------------------------------------------------------------

    def others(self) -> list[str]:
        """The living processes that are at work, without this one."""
        names = {path.stem for path in self.folder.glob(f"*.{WORKING}")} - {self.process}
        return [name for name in sorted(names) if self._lives(name)]

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.process}.{self._state}"

    def _write_file(self) -> None:
        pid = os.getpid()
        started = psutil.Process(pid).create_time()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file, {"host": self.host, "pid": pid, "started": started})

    def _change(self, state: str) -> None:
        before, self._state = self._file, state
        if before.exists():
            before.replace(self._file)
        else:
            self._write_file()

    def _touch(self) -> None:
        while not self._ended.wait(TOUCH_EVERY):
            with contextlib.suppress(OSError):
                if self._file.exists():
                    os.utime(self._file)
                elif not self._ended.is_set():
                    self._write_file()

    def _lives(self, process: str) -> bool:
        for path in (self.folder / f"{process}.{state}" for state in (WORKING, WAITING, WORKING)):
            record = read_json(path)
            if record:
                break
        else:
            return False
        if record["host"] == self.host:
            return _runs(record["pid"], record["started"])
        try:
            # By the clock of the disk, which all machines share.
            os.utime(self._file)
            return self._file.stat().st_mtime - path.stat().st_mtime < DEAD_AFTER
        except OSError:
            return True  # it has just changed its file, or the disk does not answer


def _runs(pid: int, started: float) -> bool:
    """Whether this machine runs the process; a later one may have its number."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < CLOCK_ERROR
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
