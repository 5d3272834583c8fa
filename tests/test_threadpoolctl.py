"""threadpoolctl finds and limits convpool's threads, and convpool does not import it."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import convpool
from convpool import _core


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_importing_convpool_does_not_import_it() -> None:
    assert run("import sys, convpool; print('threadpoolctl' in sys.modules)") == "False"


@pytest.fixture
def threadpoolctl() -> Iterator[Any]:
    module = pytest.importorskip("threadpoolctl", "3.2")
    convpool.register_threadpoolctl()
    convpool.register_threadpoolctl()
    before = convpool.get_num_threads()
    yield module
    convpool.set_num_threads(before)


def entries(module: Any) -> list[dict[str, Any]]:
    return [entry for entry in module.threadpool_info() if entry["user_api"] == "convpool"]


def test_it_is_found_once(threadpoolctl: Any) -> None:
    (entry,) = entries(threadpoolctl)
    assert Path(entry["filepath"]).samefile(_core.__file__)
    assert entry["version"] == convpool.__version__
    assert entry["num_threads"] == convpool.get_num_threads()
    assert entry["internal_api"] == "convpool"


def test_limits_hold_in_a_block(threadpoolctl: Any) -> None:
    convpool.set_num_threads(5)
    with threadpoolctl.threadpool_limits(3):
        assert convpool.get_num_threads() == 3
        with threadpoolctl.threadpool_limits(1, user_api="convpool"):
            assert convpool.get_num_threads() == 1
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert convpool.get_num_threads() == 3
    assert convpool.get_num_threads() == 5


def test_limits_inside_of_num_threads(threadpoolctl: Any) -> None:
    convpool.set_num_threads(5)
    with convpool.num_threads(4):
        with threadpoolctl.threadpool_limits(2):
            assert convpool.get_num_threads() == 2
        assert convpool.get_num_threads() == 4
    assert convpool.get_num_threads() == 5


def test_other_libraries_of_the_same_name_are_left_alone(
    threadpoolctl: Any, tmp_path: Path
) -> None:
    compiler = shutil.which("c++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no compiler, or libraries have other names")
    library = tmp_path / Path(_core.__file__).name
    command = [compiler, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)]
    subprocess.run(command, input="int other;", text=True, check=True)
    ctypes.CDLL(str(library))
    assert len(entries(threadpoolctl)) == 1


def test_order_of_imports() -> None:
    pytest.importorskip("threadpoolctl", "3.2")
    count = "print(sum(e['user_api'] == 'convpool' for e in threadpoolctl.threadpool_info()))"
    assert run(f"import threadpoolctl, convpool; {count}") == "1"
    assert run(f"import convpool, threadpoolctl; {count}") == "0"
    late = "import convpool, threadpoolctl; convpool.register_threadpoolctl()"
    assert run(f"{late}; {count}") == "1"


def test_without_threadpoolctl() -> None:
    code = """
import sys
sys.modules["threadpoolctl"] = None
import convpool
try:
    convpool.register_threadpoolctl()
except ImportError:
    print("ImportError")
"""
    assert run(code) == "ImportError"
