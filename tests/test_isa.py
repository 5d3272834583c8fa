"""Each instruction set gives the same results, and none is ever chosen silently."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import convpool
from cases import CONV_CASES, POOL_CASES, integers, normal

CONFIG = convpool._core.build_config()
BUILT = cast("list[str]", CONFIG["instruction_sets_built"])
DETECTED = cast("list[str]", CONFIG["instruction_sets_detected"])
USABLE = [name for name in BUILT if name in DETECTED]
UNUSABLE = [name for name in BUILT if name not in DETECTED]


def digest() -> str:
    """Fingerprint of the results and gradients of all cases; of whole numbers, and thus exact."""
    every_bit = hashlib.sha256()
    for case in CONV_CASES:
        if case.name.startswith("several pixel blocks"):
            continue
        for dtype in (np.float32, np.float64):
            x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
            y = convpool.conv2d(x, w, **case.geometry, algorithm="im2col")
            without = convpool.conv2d(x, w, **case.geometry, algorithm="implicit_gemm")
            assert np.array_equal(y, without)
            dx = convpool.conv2d_grad_input(y, w, x.shape, **case.geometry, algorithm="im2col")
            dw = convpool.conv2d_grad_weight(y, x, w.shape[2:], **case.geometry, algorithm="im2col")
            for array in (y, dx, dw):
                # Adding zero makes one zero of the two.
                every_bit.update(np.ascontiguousarray(array + 0).tobytes())
    for case in POOL_CASES:
        for dtype in (np.float32, np.float64, np.uint8):
            x = integers(case.x_shape, dtype)
            y, indices = convpool.max_pool2d(x, **case.geometry, return_indices=True)
            # Sums of fractions too: their order is that of the window. If that is the whole plane,
            # the order depends on the vector length.
            numbers = integers if y.shape[-2:] == (1, 1) else normal
            mean = convpool.avg_pool2d(numbers(case.x_shape, np.float32), **case.geometry)
            for array in (y, indices, mean):
                every_bit.update(np.ascontiguousarray(array).tobytes())
    return every_bit.hexdigest()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, where a new instruction set can be chosen."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CONVPOOL_ISA", "CONVPOOL_REQUIRE_ISA")
    }
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_configuration_is_complete() -> None:
    assert set(BUILT) <= {"base", "avx2", "avx512"}
    assert "base" in USABLE
    assert CONFIG["instruction_set"] in USABLE
    assert CONFIG["version"] == convpool.__version__
    assert CONFIG["compiler"]


@pytest.mark.parametrize("name", USABLE)
def test_every_instruction_set_computes_the_same(name: str) -> None:
    code = (
        "import convpool, test_isa;"
        "print(convpool._core.build_config()['instruction_set'], test_isa.digest())"
    )
    done = run(code, CONVPOOL_ISA=name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name, digest()]


def test_the_best_instruction_set_is_the_default() -> None:
    code = "import convpool; print(convpool._core.build_config()['instruction_set'])"
    best = next(name for name in ("avx512", "avx2", "base") if name in USABLE)
    assert run(code).stdout.split() == [best]
    assert run(code, CONVPOOL_ISA="").stdout.split() == [best]


@pytest.mark.parametrize("name", ["avx1024", "AVX2", " ", *UNUSABLE])
def test_an_instruction_set_that_cannot_be_used_fails_the_import(name: str) -> None:
    done = run("import convpool", CONVPOOL_ISA=name)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert f"CONVPOOL_ISA='{name}'" in last
    for built in BUILT:
        assert built in last


def test_a_run_for_another_instruction_set_fails() -> None:
    code = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {!r}]))"
    here = str(Path(__file__).with_name("test_isa.py")) + "::test_the_configuration_is_complete"
    done = run(code.format(here), CONVPOOL_ISA="base", CONVPOOL_REQUIRE_ISA="avx2")
    assert done.returncode == 1
    assert "CONVPOOL_REQUIRE_ISA=avx2, but the instruction set is base" in done.stdout + done.stderr
    done = run(code.format(here), CONVPOOL_ISA="base", CONVPOOL_REQUIRE_ISA="base")
    assert done.returncode == 0, done.stdout + done.stderr
