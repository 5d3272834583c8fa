"""Threads and build configuration."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from convpool import _core

__all__ = [
    "get_num_threads",
    "num_threads",
    "register_threadpoolctl",
    "set_num_threads",
    "show_config",
]


def get_num_threads() -> int:
    """Return how many threads a call may use if its ``threads=`` does not say.

    That is what `num_threads` says in the calling thread, else what `set_num_threads` said, else
    the environment's ``CONVPOOL_NUM_THREADS``, else its ``OMP_NUM_THREADS``, else the CPUs that the
    process may use: its affinity mask and the quota of its control group.

    Examples
    --------
    >>> import convpool
    >>> convpool.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. Results have the same bits for every number.

    Raises
    ------
    ValueError
        If `n` is smaller than 1.
    """
    _core.set_num_threads(n)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Set how many threads calls inside a ``with`` block may use, in the calling thread only.

    Parameters
    ----------
    n : int
        At least 1.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> with convpool.num_threads(1):
    ...     y = convpool.avg_pool2d(np.ones((1, 4, 4)), 2)
    """
    before = _core.set_scoped_num_threads(n)
    try:
        yield
    finally:
        _core.set_scoped_num_threads(before)


@cache
def register_threadpoolctl() -> None:
    """Let `threadpoolctl`, which limits the threads of many libraries, limit convpool's too.

    Importing convpool after threadpoolctl calls this; after the other order it takes a call.
    convpool's ``user_api`` is ``"convpool"``. A limit holds for the process, or, inside of
    `num_threads`, for the calling thread. More calls change nothing.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed, or is older than 3.2.

    Examples
    --------
    >>> import convpool
    >>> convpool.register_threadpoolctl()                           # doctest: +SKIP
    >>> with threadpoolctl.threadpool_limits(1):                    # doctest: +SKIP
    ...     convpool.get_num_threads()
    1
    """
    from threadpoolctl import LibController, register

    class ConvpoolController(LibController):  # type: ignore[misc]
        """Finds the compiled module among all loaded libraries."""

        user_api = internal_api = "convpool"
        filename_prefixes = ("_core.",)
        check_symbols = ("convpool_num_threads",)

        def get_version(self) -> str:
            return _core.__version__

        def get_num_threads(self) -> int:
            return _core.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            scope = _core.set_scoped_num_threads(num_threads)
            if scope is None:
                _core.set_scoped_num_threads(None)
                _core.set_num_threads(num_threads)

    register(ConvpoolController)


def register_if_imported() -> None:
    """Call `register_threadpoolctl` if it costs no import, and threadpoolctl is new enough."""
    if hasattr(sys.modules.get("threadpoolctl"), "register"):
        register_threadpoolctl()


def show_config() -> None:
    """Print version, compiler, instruction sets (built, detected, active) and threads."""
    config = {**_core.build_config(), "numpy": np.__version__, "threads": get_num_threads()}
    for key, value in config.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        print(f"{key + ':':<26}{text}")
