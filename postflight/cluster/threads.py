"""Daemon threads: a call that never returns must not hold the process at its exit."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from postflight.cluster import silences

T = TypeVar("T")

#: glibc, malloc.h.
M_ARENA_MAX = -8
ARENAS = 2
#: How many begin at once, and the seconds after which one more does though none has ended: a hundred commands and streams
#: at once keep API server, kubelet and container runtime from answering any of them for seconds (on two processors 3 s;
#: with two runs at once, more than the limits allow).
ABREAST, BEGUN = 12, 0.05


def share_memory() -> None:
    """Have threads take turns at few heaps. glibc gives each its own, up to eight for each processor, and keeps in it
    what the thread has freed: a tenth of what a run takes (11 of 150 MiB, seen with 36 checks). Elsewhere: nothing."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_ARENA_MAX, ARENAS)


def spawn(work: Callable[[], T], name: str = "postflight") -> Future[T]:
    """Run ``work`` in a daemon thread of its own, in the context of this one."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            result = context.run(work)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=body, name=name, daemon=True).start()
    return future


def in_threads(works: Sequence[Callable[[], T]], limit: float) -> list[Future[T]]:
    """Run all of them side by side, begun a few at a time; those not done within ``limit`` seconds hold a TimeoutError."""
    deadline = time.monotonic() + limit
    futures: list[Future[T]] = []
    for work in works:
        if len(futures) >= ABREAST:
            wait(futures[-ABREAST:][:1], BEGUN)
        futures.append(spawn(work))
    outcomes: list[Future[T]] = []
    for future in futures:
        outcome: Future[T] = Future()
        try:
            outcome.set_result(future.result(max(0.0, deadline - time.monotonic())))
        except BaseException as error:
            if not future.done():
                silences.note(f"no end within {limit:g} s")
            outcome.set_exception(error)
        outcomes.append(outcome)
    return outcomes
