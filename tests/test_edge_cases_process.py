"""The last of the forty cases: a library as a part of a process."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import convpool
import test_edge_cases
import test_edge_cases_numbers
from cases import normal


def run_python(script: str) -> str:
    """Run a script in a process of its own and return what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ticks_during(call: Any) -> int:
    """Run a call beside a ticking thread; return how often that ticks meanwhile."""
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    while not ticks:
        time.sleep(0.001)
    before = ticks
    call()
    after = ticks
    stop.set()
    thread.join()
    return after - before


def test_case_40_other_threads_go_on_during_a_call() -> None:
    """Scipy PR#3943, astropy PR#19835: `scipy.signal.correlate2d` holds the lock all along."""
    x, w = normal((4, 32, 96, 96)), normal((32, 32, 3, 3), seed=1)
    dy = convpool.conv2d(x, w)
    for call in (
        lambda: convpool.conv2d(x, w, algorithm="direct"),
        lambda: [convpool.conv2d_grad_weight(dy, x, 3, algorithm="direct")],
        lambda: convpool.max_pool2d(np.broadcast_to(x, (8, *x.shape))[0].repeat(4, 0), 9, 1),
    ):
        # A call that holds the lock leaves the thread a tick before and after it, in every attempt.
        assert max(ticks_during(call) for _ in range(5)) >= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_case_40_a_child_after_fork_computes() -> None:
    """pytorch#17199, yirgacheffe#43: PyTorch, TensorFlow, JAX and MLX hang in the child."""
    script = """
import os, signal, sys, numpy as np, convpool
x, w = np.ones((2, 16, 90, 90), np.float32), np.ones((8, 16, 3, 3), np.float32)
y = convpool.conv2d(x, w, threads=2)
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = np.array_equal(convpool.conv2d(x, w, threads=2), y)
    same = same and (convpool.max_pool2d(y, 2, threads=2) == 144).all()
    os._exit(0 if same else 3)
print(os.waitpid(child, 0)[1])
"""
    status = int(run_python(script))
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGALRM, "the child hangs"
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("order", ["convpool, torch", "torch, convpool"])
def test_case_40_works_beside_torch(order: str) -> None:
    """pytorch#44282: two OpenMP runtimes in one process."""
    pytest.importorskip("torch")
    script = f"""
import numpy as np, {order}
x, w = np.ones((1, 8, 20, 20), np.float32), np.ones((4, 8, 3, 3), np.float32)
for _ in range(2):
    ours = convpool.conv2d(x, w)
    theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w)).numpy()
    assert np.array_equal(ours, theirs)
"""
    run_python(script)


MEMORY = """
import numpy as np, convpool
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
"""
linux_only = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")


@linux_only
def test_case_40_memory_does_not_grow_with_the_number_of_shapes() -> None:
    """pytorch#32037: a cache of primitives, one for each shape."""
    script = f"""{MEMORY}
rng = np.random.default_rng(40)
def work(count):
    for _ in range(count):
        n, c, o, h, w = (int(v) for v in rng.integers(1, 20, 5))
        x, kernel = np.ones((n, c, h + 2, w + 2), np.float32), np.ones((o, c, 3, 3), np.float32)
        y = convpool.conv2d(x, kernel)
        convpool.conv2d_grad_input(y, kernel, x.shape)
        convpool.conv2d_grad_weight(y, x, 3)
        convpool.max_pool2d(x, 2)
work(300)
before = kib("VmRSS")
work(1000)
print(kib("VmRSS") - before)
"""
    assert int(run_python(script)) < 16 * 1024


@linux_only
@pytest.mark.parametrize(
    "algorithm", ["auto", "direct", "im2col", "implicit_gemm", "fft", "winograd"]
)
def test_case_40_no_more_memory_than_stated(algorithm: str) -> None:
    """onnx#8365, ncnn#534: columns of a large image need many times its memory."""
    script = f"""{MEMORY}
x, w = np.ones((1, 16, 400, 400), np.float32), np.ones((16, 16, 3, 3), np.float32)
options = dict(padding=1, algorithm="{algorithm}")
convpool.conv2d(x[:, :, :9, :9], w, **options)
before = kib("VmHWM")
y = convpool.conv2d(x, w, **options)
scratch = convpool.explain_conv2d(x.shape, w.shape, **options).scratch_bytes
print((kib("VmHWM") - before) * 1024 - y.nbytes - scratch)
"""
    assert int(run_python(script)) < 8 * 2**20


def test_all_forty_cases_are_here() -> None:
    modules = test_edge_cases, test_edge_cases_numbers, sys.modules[__name__]
    names = [name for module in modules for name in vars(module) if name.startswith("test_case_")]
    assert {int(name.split("_")[2]) for name in names} == set(range(1, 41))
