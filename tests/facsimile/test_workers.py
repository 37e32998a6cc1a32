"""Work in threads: the order of the calls, no more at once than allowed, and no error lost."""

import threading
import time

import pytest

from facsimile.workers import OrderedWorkers, prefetch


def test_results_come_in_order():
    def slow(x):
        time.sleep(0.01 * (x % 3 == 0))
        return x

    with OrderedWorkers(slow, 4, 5) as workers:
        found = [y for x in range(20) for y in workers.put(x)]
        assert len(found) == 15
        assert [*found, *workers.drain()] == list(range(20))


def test_never_more_than_allowed():
    lock, begun, seen = threading.Lock(), [0], []

    def count(x):
        with lock:
            begun[0] += 1
        return x

    with OrderedWorkers(count, 4, 3) as workers:
        taken = 0
        for x in range(30):
            taken += len(workers.put(x))
            with lock:
                seen.append(begun[0] - taken)
        assert taken + len(list(workers.drain())) == 30
    assert max(seen) <= 3


def test_an_exception_comes_where_the_result_would():
    def fail(x):
        if x == 1:
            raise OSError(f"no {x}")
        return x

    with OrderedWorkers(fail, 2, 3) as workers:
        assert [workers.put(x) for x in range(3)] == [[], [], []]
        assert workers.put(3) == [0]
        with pytest.raises(OSError, match="no 1"):
            workers.put(4)
        assert list(workers.drain()) == [2, 3]


def test_leaving_ends_the_threads_and_drops_what_has_not_begun():
    begun, go = [], threading.Event()

    def wait(x):
        begun.append(x)
        go.wait(5)

    with OrderedWorkers(wait, 1, 10) as workers:
        for x in range(10):
            workers.put(x)
        while not begun:
            time.sleep(0.001)
        threading.Timer(0.05, go.set).start()
    assert begun == [0]
    assert not any(thread.name.startswith("wait") for thread in threading.enumerate())


def test_prefetch_gives_the_same_items_and_makes_no_more_than_allowed():
    made = []

    def items():
        for x in range(9):
            made.append(x)
            yield x

    for most in (1, 3, 20):
        assert list(prefetch(items(), most)) == list(range(9))
    made.clear()
    first = prefetch(items(), 3)
    assert next(first) == 0
    time.sleep(0.02)
    assert len(made) <= 4
    first.close()


def test_prefetch_raises_where_the_item_would_come():
    def items():
        yield 0
        raise OSError("no 1")

    found = prefetch(items(), 4)
    assert next(found) == 0
    with pytest.raises(OSError, match="no 1"):
        next(found)
