"""Work that goes on in threads while the caller computes; what it holds stays bounded."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Done = TypeVar("Done")


class Line(Generic[Done]):
    """Calls of one function in threads; their results come in the order of the calls.

    At most `most` calls wait or have results that were not taken: `put` waits for the oldest. An
    exception of the function is raised where its result would come. As a context it ends the
    threads; what has not begun then is left undone.
    """

    def __init__(self, function: Callable[..., Done], threads: int, most: int):
        self.function, self.most = function, most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=function.__name__)
        self._calls: deque[Future[Done]] = deque()

    def put(self, *args) -> list[Done]:
        """One call more; the results that had to make room for it."""
        done = []
        while len(self._calls) >= self.most:
            done.append(self._calls.popleft().result())
        self._calls.append(self._pool.submit(self.function, *args))
        return done

    def rest(self) -> Iterator[Done]:
        """The results of all calls that are left."""
        while self._calls:
            yield self._calls.popleft().result()

    def __enter__(self) -> "Line[Done]":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)


def ahead(items: Iterator[Done], most: int) -> Iterator[Done]:
    """The same items, of which a thread makes up to `most` before they are asked for."""
    end = object()

    def following():
        return next(items, end)

    with Line(following, 1, most) as line:
        while True:
            for item in line.put():
                if item is end:
                    return
                yield item
