"""The rules that keep the code in shape, checked on the source tree."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convpool import _core

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
ISA_FLAGS = dict(
    re.findall(r'set\(ISA_FLAGS_(\w+)\s+"([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text())
)

# From the top down: a file may include what stands after it.
LAYERS = [
    "bindings_columns",
    "bindings_conv",
    "bindings_fft",
    "bindings_pool",
    "bindings_transform",
    "bindings",
    "arrays",
    "arguments",
    "conv2d",
    "direct",
    "input_gradient",
    "implicit_gemm",
    "filters",
    "image_tiles",
    "weight_gradient",
    "channel_filters",
    "avg_pool2d_grad",
    "pool2d_grad",
    "pool2d",
    "pool_planes",
    "pool_rules",
    "pool_passes",
    "windows",
    "pixel_products",
    "winograd",
    "weights",
    "plan_conv2d",
    "plan_implicit_gemm",
    "plan_channel_filters",
    "plan_im2col",
    "plan_winograd",
    "plan_pieces",
    "plan",
    "gradient_phases",
    "fft_tiles",
    "tile_transform",
    "gemm",
    "pack",
    "planes",
    "copies",
    "layouts",
    "cache",
    "scratch",
    "threads",
    "numeric",
    "view",
    "problem",
    "shape",
    "dispatch",
    "kernels",
]


def includes(path: Path) -> list[str]:
    return re.findall(r'#include "([^"]+)\.\w+"', path.read_text())


def sources() -> list[Path]:
    return sorted(CSRC.glob("*.[ch]pp"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_includes_go_one_way(path: Path) -> None:
    allowed = LAYERS[LAYERS.index(path.stem) :]
    for name in includes(path):
        assert name in allowed, f"{path.name} includes {name}.hpp, which stands above it"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_only_the_bindings_know_python(path: Path) -> None:
    if not path.stem.startswith("bindings") and path.stem not in ("arguments", "arrays"):
        assert "pybind11" not in path.read_text()


def test_instruction_set_files_include_the_contract_alone() -> None:
    bodies = {path.stem for path in (CSRC / "isa").glob("*.inc")}
    for path in (CSRC / "isa").glob("*.[ci][pn][pc]"):
        assert set(includes(path)) <= {"kernels", *bodies}
        system = set(re.findall(r"#include <([^>]+)>", path.read_text()))
        assert system <= {"cstddef", "cstdint", "immintrin.h"}


def compiles(compiler: str, flags: list[str]) -> bool:
    command = [compiler, *flags, "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input="", text=True, capture_output=True).returncode == 0


@pytest.mark.parametrize("isa", sorted(ISA_FLAGS))
def test_objects_export_one_table_and_leak_nothing(isa: str, tmp_path: Path) -> None:
    compiler, nm = shutil.which("c++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("no compiler or no nm")
    flags = ISA_FLAGS[isa].split()
    if not compiles(compiler, flags):
        pytest.skip(f"this compiler does not know {' '.join(flags)}")
    target = tmp_path / "isa.o"
    source = CSRC / "isa" / f"{isa}.cpp"
    # Unoptimised: everything that is used is called, nothing inlined, and so has its symbol.
    command = [compiler, "-std=c++17", "-O0", "-fPIC", "-fno-exceptions", *flags]
    subprocess.run([*command, f"-I{CSRC}", "-c", str(source), "-o", str(target)], check=True)

    listing = subprocess.run([nm, "-C", str(target)], check=True, capture_output=True, text=True)
    symbols = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    defined = [(kind, name) for _, kind, name in (s for s in symbols if len(s) == 3)]
    exported = [name for kind, name in defined if kind.isupper()]
    assert exported == [f"convpool::kernels_{isa}"]
    assert not [name for kind, name in defined if kind.lower() in "wvu"], "weak symbols"
    assert not [name for _, name in defined if "GLOBAL__sub" in name], "static initialisers"


def test_every_instruction_set_file_is_built() -> None:
    files = {path.stem for path in (CSRC / "isa").glob("*.cpp")}
    assert files == set(ISA_FLAGS)
    assert set(_core.build_config()["instruction_sets_built"]) <= files


def test_the_stub_lists_the_functions_of_the_compiled_module() -> None:
    stub = ast.parse((ROOT / "python" / "convpool" / "_core.pyi").read_text())
    stubbed = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    compiled = {name for name in dir(_core) if not name.startswith("_")}
    assert stubbed == compiled


def test_the_version_stands_in_one_place() -> None:
    stated = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert stated is not None
    assert _core.__version__ == stated.group(1)


def test_files_are_short_enough_to_read() -> None:
    paths = [
        p
        for folder in ("csrc", "python", "tests", "benchmarks")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in {".py", ".cpp", ".hpp", ".inc"}
    ]
    too_long = {str(p): n for p in paths if (n := len(p.read_text().splitlines())) > 500}
    assert not too_long


def test_importing_convpool_does_not_import_what_it_may_not_need() -> None:
    code = "import sys, convpool; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    # NumPy itself imports numpy.random and numpy.fft when they are first used; 1.x does at once.
    late = {
        "threadpoolctl",
        "matplotlib",
        "scipy",
        "ml_dtypes",
        "convpool.nn",
        "convpool.reference",
    }
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        late |= {"numpy.random", "numpy.fft"}
    assert not late & set(output.stdout.split())
