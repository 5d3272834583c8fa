"""SciPy's own tests of the functions in `convpool.signal` and `convpool.ndimage`, rerouted."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import convpool

pytest.importorskip("scipy")

# Loaded before SciPy's test module imports the names. SciPy keeps a table of what each public
# function supports, in which its test decorators look the functions up.
PLUGIN = """
import importlib
import os

import numpy as np

name = os.environ["REROUTED"]
ours, theirs = (importlib.import_module(f"{package}.{name}") for package in ("convpool", "scipy"))
try:
    from scipy._lib._array_api import xp_capabilities_table as table
except ImportError:
    table = {}
calls = 0


def reroute(function, fallback):
    def rerouted(x, *args, **kwargs):
        global calls
        if name == "ndimage" and (np.ndim(x) != 2 or "axes" in kwargs):
            return fallback(x, *args, **kwargs)
        try:
            result = function(x, *args, **kwargs)
        except NotImplementedError:  # a footprint with holes
            return fallback(x, *args, **kwargs)
        calls += 1
        return result

    if fallback in table:
        table[rerouted] = table[fallback]
    return rerouted


for function in ours.__all__:
    setattr(theirs, function, reroute(getattr(ours, function), getattr(theirs, function)))


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"{calls} calls of convpool")
"""


@pytest.mark.parametrize(
    ("name", "module", "classes", "deselected", "least"),
    [
        # The large array needs 4 GB of memory.
        ("signal", "test_signaltools", ["TestConvolve2d", "TestCorrelate2d"], "large_array", 20),
        # A test that wants the last digit of uniform_filter1d, whose sums round differently.
        ("ndimage", "test_filters", [], "multiple_modes_sequentially", 500),
    ],
)
def test_scipys_own_tests(
    tmp_path: Path, name: str, module: str, classes: list[str], deselected: str, least: int
) -> None:
    tests = f"scipy.{name}.tests"
    if importlib.util.find_spec(tests) is None:
        pytest.skip("this SciPy was installed without its tests")
    settings, plugin = tmp_path / "pytest.ini", tmp_path / "reroute.py"
    settings.write_text("[pytest]\n", encoding="utf-8")
    plugin.write_text(PLUGIN, encoding="utf-8")
    package = Path(convpool.__file__).parents[1]
    targets = [f"{tests}.{module}::{c}" for c in classes] or [f"{tests}.{module}"]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "reroute", "-p", "no:cacheprovider"),
            *("-c", str(settings), "-k", f"not {deselected}", "--pyargs", *targets),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(package)]),
            "REROUTED": name,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    report = run.stdout + run.stderr
    missing = re.search(r"No module named '(?!convpool)([\w.]+)'", report)
    if run.returncode and missing:
        pytest.skip(f"SciPy's tests need {missing[1]}")
    assert run.returncode == 0, report
    calls = re.search(r"(\d+) calls of convpool", report)
    assert calls is not None, report
    assert int(calls[1]) >= least, report
    print(report)
