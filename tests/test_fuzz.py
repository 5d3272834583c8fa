"""A short form of ``python tests/fuzz.py``, which draws many more."""

import numpy as np
import pytest

import convpool
from fuzz import CHECKS, command
from fuzz_valid import DRAW


@pytest.mark.parametrize("start", range(0, 4000, 500))
@pytest.mark.parametrize("kind", list(CHECKS))
def test_random_problems(kind: str, start: int) -> None:
    failures = []
    for number in range(start, start + 500):
        _, wrong = CHECKS[kind](np.random.default_rng([0, kind == "valid", number]))
        if wrong:
            failures.append(f"{wrong}\n  again: {command(kind, number, 0)}")
    assert not failures, "\n".join(failures[:5])


def test_every_function_of_arrays_is_drawn() -> None:
    shapes_only = {"conv2d_output_shape", "pool2d_output_shape", "explain_conv2d"}
    functions = {name for name in convpool.__all__ if "2d" in name or "col" in name}
    prepared = {"prepare_conv2d", "PreparedConv2d"}
    assert functions - shapes_only - prepared == set(DRAW)
