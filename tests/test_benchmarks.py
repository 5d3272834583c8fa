"""The benchmark computes what it says and writes what it measures; no time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convpool
from convpool import reference

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
from layer import AnyLayer, Array, Layer, Pool  # noqa: E402
from layers import LAYERS  # noqa: E402
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


def specified(layer: AnyLayer, inputs: tuple[Array, ...]) -> Array:
    if isinstance(layer, Layer):
        x, weight = inputs
        s, p, d, groups = layer.stride, layer.padding, layer.dilation, layer.groups
        return reference.conv2d(x, weight, None, s, p, d, groups)
    (x,) = inputs
    if layer.operation == "max_pool2d":
        return np.asarray(reference.max_pool2d(x, layer.kernel, layer.stride, layer.padding))
    return reference.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)


@pytest.mark.parametrize("layer", [*LAYERS, *TINY], ids=lambda layer: layer.name)
def test_layer_is_valid(layer: AnyLayer) -> None:
    if isinstance(layer, Layer):
        s, p, d, groups = layer.stride, layer.padding, layer.dilation, layer.groups
        expected = convpool.conv2d_output_shape(layer.x_shape, layer.weight_shape, s, p, d, groups)
    else:
        s, p = layer.stride, layer.padding
        expected = convpool.pool2d_output_shape(layer.x_shape, layer.kernel, s, p)
    assert layer.output_shape == expected
    assert layer.flops > 0


def test_layers_are_named_once_and_some_are_quick() -> None:
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names)
    quick = [layer for layer in LAYERS if layer.quick]
    assert 0 < len(quick) < len(LAYERS)
    assert {layer.group for layer in quick} >= {"chapter", "lenet", "first", "large", "pool"}


def test_work_is_counted_as_usual() -> None:
    layer = next(layer for layer in LAYERS if layer.name == "ResNet 3x3 64-64 @56")
    assert layer.flops == 2 * 64 * 64 * 9 * 56 * 56


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_float64_result_follows_the_specification(layer: AnyLayer) -> None:
    inputs = layer.inputs()
    assert [a.dtype for a in inputs] == [np.float32] * len(inputs)
    y = measure.float64_result(layer, inputs)
    np.testing.assert_allclose(y, specified(layer, inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_peer_agrees_with_the_specification(peer: Peer) -> None:
    if not peer.installed():
        pytest.skip(f"{peer.package} is not installed")
    compared = []
    for layer in TINY:
        inputs = layer.inputs()
        try:
            call = peer.prepare(layer, 1, inputs)
        except Unsupported as reason:
            if "needs the package" in str(reason):
                pytest.skip(str(reason))
            continue
        with peer.context():
            y = call()
        assert isinstance(y, np.ndarray)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, specified(layer, inputs), rtol=1e-5, atol=1e-5)
        compared.append(layer.name)
    assert "image" in compared
    if peer.package in ("scipy", "cv2"):
        assert "batch" not in compared
    elif peer.name == "convpool auto" or peer.package != "convpool":
        assert len(compared) == len(TINY)


def test_slow_peers_take_part_in_some_rounds_spread_evenly() -> None:
    def rounds_of(seconds: float) -> list[int]:
        result = measure.PeerResult(0.0, 1)
        runner = measure._Runner(PEERS[0], lambda: np.zeros(0), result, seconds)
        return [r for r in range(15) if runner.takes_part(r, 15)]

    assert rounds_of(1e-6) == list(range(15))
    assert rounds_of(100.0) == [0, 5, 10]


def test_wrong_peer_ends_the_run() -> None:
    wrong = Peer(
        "wrong", "numpy", {"conv2d": lambda layer, *_: lambda: np.ones(layer.output_shape)}
    )
    with pytest.raises(RuntimeError, match="wrong is wrong on 'image'"):
        measure.measure_layer(TINY[1], [wrong], threads=1, rounds=1)


def test_peer_that_cannot_says_why() -> None:
    peers = [peer for peer in PEERS if peer.name in (BASELINE, "convpool im2col")]
    result = measure.measure_layer(TINY[-1], peers, threads=1, rounds=2)
    assert list(result.peers) == [BASELINE]
    assert len(result.peers[BASELINE].samples) == 2
    assert result.left_out == {"convpool im2col": "has no avg_pool2d"}
    assert "has no avg_pool2d" in "\n".join(report.text_lines(result))
    assert report.verdict([result]).endswith("were not both timed on any layer")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_run_writes_json_and_table(tmp_path: Path) -> None:
    result_file, readme = tmp_path / "result.json", tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    files = ["--json", str(result_file), "--readme", str(readme)]
    done = run("--layers", "^chapter", "--peers", "im2col|windows", "--rounds", "3", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("convpool im2col is faster than numpy windows")

    content = json.loads(result_file.read_text(encoding="utf-8"))
    assert content["environment"]["threads"] == 1
    assert content["environment"]["cpu"]
    assert content["environment"]["versions"].keys() == {"python", "convpool", "numpy"}
    (layer,) = content["results"]
    assert layer["peers"].keys() == {BASELINE, "convpool im2col", "numpy windows"}
    for peer in layer["peers"].values():
        assert len(peer["samples"]) == 3
        assert 0 < peer["best"] <= peer["median"]
        assert peer["error"] < 1e-6

    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\n| layer | {BASELINE} |")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in text
    assert "--layers '^chapter' --peers 'im2col|windows' --rounds 3`" in text
    assert str(tmp_path) not in text

    again = compare.load(result_file)
    assert "speed-up" in compare.compare(again, again, threshold=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "no such"], "no layer matches 'no such'"),
        (["--threads", "0"], "must be at least 1, is 0"),
        (["--all", "--layers", "x"], "not allowed with argument"),
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
