"""Work that gives way to those who answer. Knows how Linux ranks threads; elsewhere work is done at the same rank."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

NICE = 10  # such a thread gets a ninth of what another gets that wants the same core


def give_way() -> None:
    """Lower the calling thread's priority, for good.

    Threads and processes that it starts inherit that: a back-end's streams would, too, so sessions are not to be made there.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))


def behind(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, done on a thread of its own that gives way; the caller waits for it."""
    done: Future[T] = Future()

    def run() -> None:
        give_way()
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="behind", daemon=True)
    thread.start()
    thread.join()
    return done.result()
