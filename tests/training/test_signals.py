"""Stopping between two steps."""

import os
import signal
import threading
import time

import pytest

from facsimile.training.signals import interruptible, stop_in_any_process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_event_and_the_second_acts(number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible() as stop:
        assert not stop_in_any_process(stop, 1)()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert stop_in_any_process(stop, 1)()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def send_thrice():
    """SIGINT, again within the grace time, and again after it."""
    with interruptible(grace=0.3) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.4)
        yield "the second was ignored"
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_a_launcher_that_repeats_the_signal_does_not_cut_the_step():
    signals = send_thrice()
    assert next(signals) == "the second was ignored"
    with pytest.raises(KeyboardInterrupt):
        next(signals)


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    handlers = []

    def enter():
        with interruptible():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
