"""The benchmark computes what it says and writes what it measures; no time is asserted."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import convpool
from convpool import reference

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
import exact  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
from ceiling import Ceiling  # noqa: E402
from layer import AnyLayer, Array, Layer, Pool  # noqa: E402
from layers import GROUPS, LAYERS  # noqa: E402
from peer import Peer, Unsupported  # noqa: E402
from peers import BASELINE, PEERS  # noqa: E402

TINY: list[AnyLayer] = [
    Layer("chapter", "tiny", (1, 1, 6, 8), (1, 1, 1, 2)),
    Layer("image", "tiny", (1, 1, 9, 7), (1, 1, 3, 3), padding=1),
    Layer("even kernel", "tiny", (1, 1, 9, 7), (1, 1, 4, 4), padding=1),
    Layer("full", "tiny", (1, 1, 5, 6), (1, 1, 3, 3), padding=2),
    Layer("batch", "tiny", (3, 2, 6, 5), (4, 2, 3, 2)),
    Layer("stride and dilation", "tiny", (2, 3, 11, 9), (4, 3, 3, 3), 2, 2, 2),
    Layer("groups", "tiny", (2, 6, 5, 7), (4, 3, 3, 3), 1, 1, groups=2),
    Layer("depthwise", "tiny", (1, 3, 6, 6), (3, 1, 3, 3), 2, 1, groups=3),
    Pool("max", "tiny", "max_pool2d", (2, 3, 7, 6), 3, 2, 1),
    Pool("average", "tiny", "avg_pool2d", (2, 3, 7, 6), 3, 2, 1),
]
FLOAT64: list[AnyLayer] = [replace(layer, dtype="float64") for layer in TINY]
GRADIENTS: list[AnyLayer] = [
    replace(layer, name=f"{operation} of {layer.name}", operation=operation)
    for layer in TINY
    for operation in (
        ("conv2d_grad_input", "conv2d_grad_weight")
        if isinstance(layer, Layer)
        else (f"{layer.operation}_grad",)
    )
]
CEILING = Ceiling(1)
CEILING.sample()
MORE_THREADS = ("2 threads", "3 threads")
ALL_TINY = [*TINY, *FLOAT64, *GRADIENTS]


def label(layer: AnyLayer) -> str:
    return f"{layer.name}, {layer.dtype}"


def specified(layer: AnyLayer, inputs: tuple[Array, ...]) -> Array:
    if isinstance(layer, Layer):
        geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        if layer.operation == "conv2d_grad_input":
            return reference.conv2d_grad_input(*inputs, layer.x_shape, *geometry)
        if layer.operation == "conv2d_grad_weight":
            return reference.conv2d_grad_weight(*inputs, layer.weight_shape[2:], *geometry)
        return reference.conv2d(*inputs, None, *geometry)
    window = (layer.kernel, layer.stride, layer.padding)
    if layer.operation == "avg_pool2d_grad":
        return reference.avg_pool2d_grad(inputs[0], layer.x_shape, *window)
    if layer.operation == "avg_pool2d":
        return reference.avg_pool2d(*inputs, *window)
    y, indices = reference.max_pool2d(inputs[-1], *window, return_indices=True)
    if layer.operation == "max_pool2d":
        return np.asarray(y)
    return reference.max_pool2d_grad(inputs[0], indices, layer.x_shape)


@pytest.mark.parametrize("layer", [*LAYERS, *ALL_TINY], ids=label)
def test_layer_is_valid(layer: AnyLayer) -> None:
    if isinstance(layer, Layer):
        s, p, d, groups = layer.stride, layer.padding, layer.dilation, layer.groups
        expected = convpool.conv2d_output_shape(layer.x_shape, layer.weight_shape, s, p, d, groups)
    else:
        s, p = layer.stride, layer.padding
        expected = convpool.pool2d_output_shape(layer.x_shape, layer.kernel, s, p)
    assert layer.output_shape == expected
    assert layer.flops > 0
    assert layer.bytes >= np.dtype(layer.dtype).itemsize * math.prod(layer.result_shape)


def test_layers_are_named_once_and_some_are_quick() -> None:
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names)
    quick = [layer for layer in LAYERS if layer.quick]
    assert 0 < len(quick) < len(LAYERS)
    assert {layer.group for layer in quick} == set(GROUPS)
    assert list(dict.fromkeys(layer.group for layer in LAYERS)) == list(GROUPS)


def test_layers_cover_what_speed_is_promised_for() -> None:
    def kernels(group: str, *, stride: int | None = None) -> set[int]:
        return {
            layer.kernel if isinstance(layer, Pool) else layer.weight_shape[-1]
            for layer in LAYERS
            if layer.group == group and stride in (None, layer.stride)
        }

    def batches(group: str) -> set[int]:
        return {layer.x_shape[0] for layer in LAYERS if layer.group == group}

    assert kernels("large") == {1, 3}
    assert batches("large") == {1, 16}
    assert kernels("depthwise", stride=1) == kernels("depthwise", stride=2) == {3, 7}
    assert batches("lenet") == {1, 256}
    assert kernels("image") == {3, 5, 7, 11, 15, 31}
    assert kernels("pool") == {2, 3, 5, 13}


def test_work_is_counted_as_usual() -> None:
    layer = next(layer for layer in LAYERS if layer.name == "ResNet 3x3 64-64 @56")
    assert layer.flops == 2 * 64 * 64 * 9 * 56 * 56


def test_bytes_are_those_of_inputs_and_result() -> None:
    layer = Layer("", "", (2, 3, 8, 9), (4, 3, 3, 3), dtype="float64")
    image, weight, result = 2 * 3 * 8 * 9, 4 * 3 * 3 * 3, 2 * 4 * 6 * 7
    assert layer.bytes == 8 * (image + weight + result)
    for operation in ("conv2d_grad_input", "conv2d_grad_weight"):
        assert replace(layer, operation=operation).bytes == layer.bytes
    pool = Pool("", "", "max_pool2d", (2, 3, 8, 8), 2, 2)
    assert pool.bytes == 4 * 2 * 3 * (64 + 16)
    assert replace(pool, operation="avg_pool2d_grad").bytes == pool.bytes
    indices = 8 * 2 * 3 * 16
    assert replace(pool, operation="max_pool2d_grad").bytes == pool.bytes + indices


@pytest.mark.parametrize("layer", ALL_TINY, ids=label)
def test_float64_result_follows_the_specification(layer: AnyLayer) -> None:
    inputs = layer.inputs()
    assert [a.dtype for a in inputs] == [layer.dtype] * len(inputs)
    y = exact.float64_result(layer, inputs)
    np.testing.assert_allclose(y, specified(layer, inputs), rtol=1e-12, atol=1e-12)


def test_float64_result_of_a_large_filter() -> None:
    layer = Layer("large filter", "tiny", (1, 1, 20, 23), (1, 1, 9, 9), padding=4)
    y = exact.float64_result(layer, layer.inputs())
    np.testing.assert_allclose(y, specified(layer, layer.inputs()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_peer_agrees_with_the_specification(peer: Peer) -> None:
    if not peer.installed():
        pytest.skip(f"{peer.package} is not installed")
    compared = []
    for layer in ALL_TINY:
        inputs = layer.inputs()
        try:
            call = peer.prepare(layer, 1, inputs)
        except Unsupported as reason:
            if "needs the package" in str(reason):
                pytest.skip(str(reason))
            continue
        with peer.context(1):
            y = call()
        assert isinstance(y, np.ndarray)
        assert y.dtype == layer.dtype
        tolerance = {"float32": 1e-5, "float64": 1e-13}[layer.dtype]
        np.testing.assert_allclose(y, specified(layer, inputs), rtol=tolerance, atol=tolerance)
        compared.append(layer)
    names = [layer.name for layer in compared]
    assert "image" in names
    if peer.package in ("scipy", "cv2"):
        assert "batch" not in names
    elif peer.name == BASELINE or peer.package == "torch":
        assert compared == ALL_TINY
    elif peer.package == "numpy":
        assert compared == [*TINY, *FLOAT64]
    elif peer.package == "onnxruntime":
        assert compared[: len(TINY)] == TINY


def test_slow_peers_take_part_in_some_rounds_spread_evenly() -> None:
    def rounds_of(seconds: float) -> list[int]:
        result = measure.PeerResult(0.0, 1)
        timed = measure.Timed(PEERS[0], 1, lambda: np.zeros(0), result, seconds)
        return [r for r in range(15) if timed.takes_part(r, 15)]

    assert rounds_of(1e-6) == list(range(15))
    assert rounds_of(0.5) == [0, 5, 10]
    assert rounds_of(100.0) == []


def test_first_call_of_a_very_slow_peer_is_its_only_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "SINGLE_CALL_SECONDS", 0.0)
    result = measure.measure_layer(TINY[1], [PEERS[0]], threads=1, rounds=5)
    assert len(result.peers[BASELINE].samples) == 1


def test_peer_whose_second_call_is_too_slow_has_that_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "_time", lambda call, times: 1.0)
    monkeypatch.setattr(measure, "SINGLE_CALL_SECONDS", 0.9)
    result = measure.measure_layer(TINY[1], [PEERS[0]], threads=1, rounds=5)
    assert result.peers[BASELINE].samples == [1.0]


def test_wrong_peer_ends_the_run() -> None:
    wrong = Peer(
        "wrong", "numpy", {"conv2d": lambda layer, *_: lambda: np.ones(layer.output_shape)}
    )
    with pytest.raises(RuntimeError, match="wrong is wrong on 'image'"):
        measure.measure_layer(TINY[1], [wrong], threads=1, rounds=1)


def test_peer_that_cannot_says_why() -> None:
    peers = [peer for peer in PEERS if peer.name in (BASELINE, "convpool im2col")]
    result = measure.measure_layer(TINY[9], peers, threads=1, rounds=2)
    assert list(result.peers) == [BASELINE]
    assert len(result.peers[BASELINE].samples) == 2
    assert result.left_out == {"convpool im2col": "has no avg_pool2d"}
    assert "convpool im2col has no avg_pool2d" in "\n".join(report.text_lines(result, CEILING))
    assert report.verdict([result]) == "No peer is faster than convpool on 0 of 0 layers"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_run_writes_json_tables_and_chart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result_file, readme = tmp_path / "result.json", tmp_path / "README.md"
    results, picture = tmp_path / "RESULTS.md", tmp_path / "chart.png"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    files = ["--json", str(result_file), "--readme", str(readme)]
    files += ["--results", str(results), "--chart", str(picture)]
    done = run("--layers", "^chapter", "--peers", "im2col|windows", "--rounds", "3", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("No peer is faster than convpool on ")

    content = json.loads(result_file.read_text(encoding="utf-8"))
    assert content["environment"]["threads"] == 1
    assert content["environment"]["cpu"]
    assert content["environment"]["versions"].keys() == {"python", "convpool", "numpy"}
    assert content["ceiling"]["matmul_flops"]["float32"]["best"] > 0
    (layer,) = content["results"]
    assert layer["floor"]["bound"] in ("matmul", "copy")
    assert layer["peers"].keys() == {BASELINE, "convpool im2col", "numpy windows"}
    for peer in layer["peers"].values():
        assert len(peer["samples"]) == 3
        assert 0 < peer["best"] <= peer["median"]
        assert peer["error"] < 1e-6

    command = "`python benchmarks/run.py --layers '^chapter' --peers 'im2col|windows' --rounds 3`"
    text = readme.read_text(encoding="utf-8")
    head = "| class (layers) | floor | error | fastest peer | numpy |"
    assert text.startswith(f"before\n{report.BEGIN}\n{head}\n")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in text
    assert command in text
    assert str(tmp_path) not in text

    text = results.read_text(encoding="utf-8")
    assert text.startswith("## ")
    assert "### The chapter's call" in text
    assert f"| layer | floor | {BASELINE} | error | numpy windows |" in text
    assert command in text
    assert picture.read_bytes().startswith(b"\x89PNG")

    again = compare.load(result_file)
    assert "speed-up" in compare.compare(again, again, threshold=0.05)


def test_run_scales(tmp_path: Path) -> None:
    result_file, results = tmp_path / "result.json", tmp_path / "RESULTS.md"
    results.write_text("# Results\n", encoding="utf-8")
    files = ["--json", str(result_file), "--results", str(results)]
    what = ["--scaling", "--threads", "3", "--layers", "^chapter", "--peers", "numpy"]
    done = run(*what, "--rounds", "2", *files)
    assert done.returncode == 0, done.stderr

    (layer,) = json.loads(result_file.read_text(encoding="utf-8"))["results"]
    assert layer["peers"].keys() == {f"{BASELINE}, {n}" for n in ("1 thread", *MORE_THREADS)}
    text = results.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\n## ")
    assert "3 threads: scaling\n" in text
    assert "| layer | 1 thread | 2 threads | 3 threads |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "no such"], "no layer matches 'no such'"),
        (["--threads", "0"], "must be at least 1, is 0"),
        (["--all", "--layers", "x"], "not allowed with argument"),
        (["--scaling", "--chart", "x.png"], "--scaling has no summary and no chart"),
    ],
)
def test_run_refuses(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode != 0
    assert message in done.stderr


def test_table_needs_its_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(report.BEGIN, encoding="utf-8")
    with pytest.raises(SystemExit, match="benchmark:end"):
        report.replace_table(path, "table")


def result_file(path: Path, threads: int, medians: dict[str, float]) -> Path:
    environment = dict.fromkeys(compare.SETTINGS, "same") | {"threads": threads}
    peers = {name: {"median": median} for name, median in medians.items()}
    results = [{"layer": "c1", "peers": peers}, {"layer": "c2", "peers": peers}]
    content = {"format": 1, "environment": environment, "results": results}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result_file(tmp_path / "a.json", 1, {"ours": 2e-3, "theirs": 1e-3, "gone": 1.0})
    after = result_file(tmp_path / "b.json", 2, {"ours": 1e-3, "theirs": 1.02e-3})
    compare.main([str(before), str(after)])
    printed = capsys.readouterr().out
    assert "threads differs: 1 before, 2 after" in printed
    assert "| c1 | ours | 2 | 1 | 2.00x | faster |" in printed
    assert "| c2 | theirs | 1 | 1.02 | 0.98x |  |" in printed
    assert "geometric mean, ours: 2.000x over 2 layers" in printed
    assert "in one file only: 2 pairs" in printed

    compare.main([str(after), str(before), "--peers", "ours"])
    printed = capsys.readouterr().out
    assert "0.50x | SLOWER |" in printed
    assert "theirs" not in printed


def test_compare_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="not a result file"):
        compare.load(path)
