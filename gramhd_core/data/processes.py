"""Work that is cut into tasks, done in this process or in several, and given up cleanly on Ctrl-C."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def results(tasks: Iterable[Callable[[], Result]], *, workers: int) -> Iterator[Result]:
    """The results of all tasks as they come, in any order. With several workers tasks and results are pickled.

    When the caller stops early (an error, Ctrl-C) tasks that run are waited for and the others are never begun.
    """
    if workers <= 1:
        yield from (task() for task in tasks)
        return
    context = _context()
    pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        waiting = iter(tasks)
        with _interrupts_ignored():  # what starts here inherits that: Ctrl-C is for this process alone
            running = {pool.submit(task) for task in itertools.islice(waiting, 2 * workers)}
        while running:
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            running |= {pool.submit(task) for task in itertools.islice(waiting, len(done))}
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> Any:
    """Forking a process that has run torch is not safe; forking a server that has only imported it is, and quick."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "numba"])
    return context


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may change handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
