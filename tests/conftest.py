"""What all tests share: the drawing of examples, and the instruction set that a run must have."""

import os
import random
from collections import defaultdict

# Before NumPy is there: threads of its BLAS that wait for work took a quarter of all tests' time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

import convpool._core

# In CI the same examples are drawn in every run; at a desk, new ones each time.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=150)
settings.register_profile("desk", deadline=None, max_examples=150)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


FEW_CASES = 64


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer a run of some cases, for builds in which each takes long."""
    parser.addoption(
        "--part",
        type=int,
        default=1,
        metavar="N",
        help=f"of tests with more than {FEW_CASES} cases run one in N, the same in every run",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draw the cases of a run with --part."""
    part = config.getoption("part")
    if part == 1:
        return
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    left_out = set()
    for name, those in cases.items():
        count = max(FEW_CASES, len(those) // part)
        if len(those) > count:
            left_out |= set(random.Random(name).sample(those, len(those) - count))
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionstart() -> None:
    """Fail the run if it would not test the instruction set that it was started for."""
    required = os.environ.get("CONVPOOL_REQUIRE_ISA")
    active = convpool._core.build_config()["instruction_set"]
    if required and active != required:
        pytest.exit(
            f"CONVPOOL_REQUIRE_ISA={required}, but the instruction set is {active}", returncode=1
        )


def pytest_report_header() -> str:
    """Say which build is tested."""
    config = convpool._core.build_config()
    return f"convpool {config['version']}, instruction set {config['instruction_set']}"
