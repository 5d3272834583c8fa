"""What all tests share: the drawing of examples, and the instruction set that a run must have."""

import os

# Before NumPy is there: threads of its BLAS that wait for work took a quarter of all tests' time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

import convpool._core

# In CI the same examples are drawn in every run; at a desk, new ones each time.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=150)
settings.register_profile("desk", deadline=None, max_examples=150)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


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
