"""Work in threads while the caller computes, with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class OrderedWorkers(Generic[T]):
    """Calls of one function in threads; results come in the order of the calls.

    At most `capacity` calls wait or have results that were not taken: `put` waits for the oldest.
    An exception of the function is raised where its result would come. Used as a context, it ends
    the threads; calls that have not begun are dropped.
    """

    def __init__(self, function: Callable[..., T], threads: int, capacity: int):
        self.function, self.capacity = function, capacity
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=function.__name__)
        self._calls: deque[Future[T]] = deque()

    def put(self, *args) -> list[T]:
        """Add a call; returns the results that had to make room for it."""
        results = []
        while len(self._calls) >= self.capacity:
            results.append(self._calls.popleft().result())
        self._calls.append(self._pool.submit(self.function, *args))
        return results

    def drain(self) -> Iterator[T]:
        """The results of all calls that remain."""
        while self._calls:
            yield self._calls.popleft().result()

    def __enter__(self) -> "OrderedWorkers[T]":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)


def prefetch(items: Iterator[T], capacity: int) -> Generator[T, None, None]:
    """The same items; a thread makes up to `capacity` of them before they are asked for."""
    end = object()

    def next_item() -> Any:
        return next(items, end)

    with OrderedWorkers(next_item, 1, capacity) as workers:
        while True:
            for item in workers.put():
                if item is end:
                    return
                yield item
