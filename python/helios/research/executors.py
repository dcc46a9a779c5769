"""Where the points of a sweep run: here one after the other, on the cores of this machine, or on a cluster of yours.

An executor is whatever has the `map` of `concurrent.futures.Executor`: `ThreadPoolExecutor`, `MPIPoolExecutor` of
mpi4py, what Dask's `Client.get_executor()` returns, or a class of your own. Ours yield results as they are ready; an
executor may also keep the order of the items. Functions and items pickle; both are small: the data of a sweep lies in
files, whose folder every worker must see.

Assumes that a worker may import the module that defines what is run. This module stays light on purpose: a worker
process sets its limits on threads here, before NumPy and Polars are loaded.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from helios.errors import ArgumentError, RunError

T = TypeVar("T")
R = TypeVar("R")

#: Workers of one sweep on one machine, at most.
MOST_WORKERS = 1024


class Executor(Protocol):
    """Runs a function over items."""

    def map(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterator[R]:
        """Yields `function(item)` of every item, in any order. Both pickle."""
        ...


class Serial:
    """One after the other in this process: for debugging, and for functions that other processes cannot import."""

    def map(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterator[R]:
        """Yields the results in the order of the items."""
        return map(function, items)


@dataclass(frozen=True)
class Processes:
    """Processes on this machine: one a core unless `workers` says otherwise.

    They are started afresh ("spawn"): forking a process in which Polars or NumPy have threads can hang. A script that
    sweeps therefore keeps its own doings under `if __name__ == "__main__":`.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        n = self.workers
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_WORKERS):
            raise ArgumentError(f"workers is {n!r}: it must be a whole number from 1 to {MOST_WORKERS}")

    def map(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterator[R]:
        """Yields results as they are ready. RunError when a worker process dies."""
        _refuse_unsendable(function)
        context = get_context("spawn")
        # Nothing is ever sent: the pipe breaks when this process ends, however it ends, and the workers end with it.
        listening, alive = context.Pipe(duplex=False)
        workers = min(self.workers or _cores(), len(items)) or 1
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(listening,))
        try:
            futures = [pool.submit(function, item) for item in items]
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            alive.close()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise RunError("a worker process died while it ran a point", hint=_DEATH_HINT) from error
            raise
        pool.shutdown()
        alive.close()
        listening.close()


_DEATH_HINT = (
    "Was it killed, out of memory? Use fewer workers; Serial() shows which point it is. A script that sweeps keeps its "
    "own doings under `if __name__ == '__main__':`. Finished points are kept."
)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _refuse_unsendable(function: Callable[..., Any]) -> None:
    """Says before anything starts what a worker would say in a traceback of its own, or not at all."""
    hint = "Define it at the top of a .py file, or pass executor=Serial()."
    try:
        sent = pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentError(f"cannot be sent to other processes: {error}. {hint}") from None
    # What is defined in a notebook or a shell pickles by name, but no other process can import that name. A program
    # from standard input has a name that is no file; the workers would look for it.
    program = getattr(sys.modules["__main__"], "__file__", None)
    if (b"__main__" in sent and program is None) or (program is not None and not Path(program).exists()):
        raise ArgumentError(f"what a notebook, a shell or a pipe defines cannot be imported by workers. {hint}")


def _begin(listening: Connection) -> None:
    """First thing in a worker. One thread each: the cores are shared out among the workers already."""
    for name in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Ctrl-C reaches the whole group: the parent decides, and its pipe ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(listening,), daemon=True).start()


def _end_with_parent(listening: Connection) -> None:
    try:
        listening.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
