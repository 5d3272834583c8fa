"""Threads: the same bits for every number, safe to nest, to fork and to interrupt."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import convpool
from cases import normal

Array = NDArray[np.float32]

# Large enough for several threads; each cuts its work another way.
X = normal((2, 16, 30, 31))
W = normal((24, 16, 3, 3), seed=1)
DY = normal((2, 24, 28, 29), seed=2)
DEEP_X, DEEP_W = normal((1, 256, 7, 7)), normal((256, 256, 3, 3), seed=1)
IMAGE = normal((1, 1, 300, 300))

WORK: dict[str, Callable[[int], Array]] = {
    "blocks": lambda t: convpool.conv2d(X, W, threads=t),
    "output_channels": lambda t: convpool.conv2d(DEEP_X, DEEP_W, padding=1, threads=t),
    "pointwise": lambda t: convpool.conv2d(DEEP_X, DEEP_W[:, :, :1, :1], threads=t),
    "groups": lambda t: convpool.conv2d(X, W[:, :2], groups=8, threads=t),
    "one_channel": lambda t: convpool.conv2d(IMAGE, W[:1, :1], threads=t),
    "direct": lambda t: convpool.conv2d(X, W, algorithm="direct", threads=t),
    "transpose": lambda t: convpool.conv2d_transpose(DY, W, threads=t),
    "grad_input": lambda t: convpool.conv2d_grad_input(DY, W, X.shape, threads=t),
    "grad_input_direct": lambda t: convpool.conv2d_grad_input(
        DY, W, X.shape, algorithm="direct", threads=t
    ),
    "grad_weight": lambda t: convpool.conv2d_grad_weight(DY, X, 3, threads=t),
    "grad_weight_direct": lambda t: convpool.conv2d_grad_weight(
        DY, X, 3, algorithm="direct", threads=t
    ),
    "grad_bias": lambda t: convpool.conv2d_grad_bias(DY, threads=t),
    "im2col": lambda t: convpool.im2col(X, 3, threads=t),
    "col2im": lambda t: convpool.col2im(convpool.im2col(X, 3), X.shape, 3, threads=t),
    "max_pool": lambda t: convpool.max_pool2d(IMAGE, 5, 1, threads=t),
    "max_pool_indices": lambda t: convpool.max_pool2d(
        np.repeat(X, 8, 1), 3, return_indices=True, threads=t
    )[1],
    "avg_pool": lambda t: convpool.avg_pool2d(np.repeat(X, 8, 1), 3, threads=t),
    "avg_pool_grad": lambda t: convpool.avg_pool2d_grad(
        np.repeat(DY, 4, 1), (2, 96, 29, 30), 2, 1, threads=t
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_same_bits_for_every_number_of_threads(name: str) -> None:
    expected = WORK[name](1)
    for threads in (2, 3, 8, 64):
        for _ in range(3):
            assert_array_equal(WORK[name](threads), expected)


def test_settings_and_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = convpool.get_num_threads()
    try:
        convpool.set_num_threads(3)
        assert convpool.get_num_threads() == 3
        with convpool.num_threads(2):
            assert convpool.get_num_threads() == 2
            with convpool.num_threads(5):
                assert convpool.get_num_threads() == 5
            with ThreadPoolExecutor(1) as other:
                assert other.submit(convpool.get_num_threads).result() == 3
            assert convpool.get_num_threads() == 2
        assert convpool.get_num_threads() == 3
    finally:
        convpool.set_num_threads(before)
    for bad in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            convpool.set_num_threads(bad)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CONVPOOL_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"OMP_NUM_THREADS": "5,2"}, "5"),
        ({"CONVPOOL_NUM_THREADS": "none", "OMP_NUM_THREADS": "4"}, "4"),
    ],
)
def test_environment(environment: dict[str, str], expected: str) -> None:
    code = "import convpool; print(convpool.get_num_threads())"
    names = ("CONVPOOL_NUM_THREADS", "OMP_NUM_THREADS")
    inherited = {k: v for k, v in os.environ.items() if k not in names}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == expected


def test_many_callers_at_once() -> None:
    expected = {name: work(1) for name, work in WORK.items()}
    wrong: list[str] = []

    def call(seed: int) -> None:
        names = list(WORK)
        np.random.default_rng(seed).shuffle(names)
        for name in names:
            if not np.array_equal(WORK[name](4), expected[name]):
                wrong.append(name)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=120)
    assert not wrong
    assert not any(caller.is_alive() for caller in callers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_computes() -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("error")
import numpy as np, convpool
x, w = np.ones((4, 16, 40, 40), np.float32), np.ones((16, 16, 3, 3), np.float32)
expected = convpool.conv2d(x, w, threads=4)
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = np.array_equal(convpool.conv2d(x, w, threads=4), expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(convpool.conv2d(x, w, threads=4), expected)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_an_interrupt_ends_a_long_call() -> None:
    code = """
import os, signal, sys, threading
import numpy as np, convpool
x, w = np.ones((512, 32, 64, 64), np.float32), np.ones((256, 32, 7, 7), np.float32)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(100):
        convpool.conv2d(x, w, threads=int(sys.argv[1]))
except KeyboardInterrupt:
    small = convpool.conv2d(x[:1], w, threads=2)
    sys.exit(7 if small.shape == (1, 256, 58, 58) else 1)
"""
    for threads in ("1", "2"):
        run = subprocess.run([sys.executable, "-c", code, threads], timeout=120)
        assert run.returncode == 7


def test_an_error_in_a_task_reaches_the_caller() -> None:
    # The indices are checked inside the computation.
    bad = np.full((64, 40, 40), -2)
    with pytest.raises(IndexError, match="indices"):
        convpool.max_pool2d_grad(np.ones(bad.shape, np.float32), bad, (64, 80, 80), threads=4)


def test_signals_still_reach_python_handlers() -> None:
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("no SIGALRM here")
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not seen:
            WORK["blocks"](2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIGALRM]


def test_pieces_of_one_channel() -> None:
    # One row has a kernel of its own, with wider panels than the other piece's.
    dy, w = normal((1, 2600, 6, 8)), normal((2600, 5, 1, 1), seed=1)
    expected = convpool.conv2d_grad_input(dy, w, (1, 5, 6, 8), algorithm="im2col", threads=1)
    for threads in (2, 3, 5):
        dx = convpool.conv2d_grad_input(dy, w, (1, 5, 6, 8), algorithm="im2col", threads=threads)
        assert_array_equal(dx, expected)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM here")
def test_a_signal_handler_may_compute() -> None:
    small = normal((1, 8, 30, 30))
    expected = convpool.conv2d(small, W[:8, :8], threads=1)
    x, w = normal((4, 32, 96, 96)), normal((32, 32, 3, 3), seed=1)
    seen: list[bool] = []

    def handler(number: int, frame: object) -> None:
        seen.append(np.array_equal(convpool.conv2d(small, W[:8, :8]), expected))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        while len(seen) < 10:
            convpool.conv2d(x, w, threads=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(seen)
