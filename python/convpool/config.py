"""Threads and build configuration."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from convpool import _core

__all__ = ["get_num_threads", "num_threads", "set_num_threads", "show_config"]


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


def show_config() -> None:
    """Print version, compiler, instruction sets (built, detected, active) and threads."""
    config = {**_core.build_config(), "numpy": np.__version__, "threads": get_num_threads()}
    for key, value in config.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        print(f"{key + ':':<26}{text}")
