"""Tables, chart and sections of the benchmark, from made-up times."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import chart  # noqa: E402
import report  # noqa: E402
import scaling  # noqa: E402
import tables  # noqa: E402
from ceiling import COPY_BYTES, Ceiling  # noqa: E402
from layer import AnyLayer, Layer, Pool  # noqa: E402
from measure import LayerResult, PeerResult  # noqa: E402
from peers import BASELINE, PREPARED  # noqa: E402


class Fixed(Ceiling):
    """A machine with 1 GFLOP/s and 1 GB/s."""

    def __init__(self) -> None:
        pass

    def flops(self, dtype: str) -> float:  # noqa: D102
        return {"float32": 1e9, "float64": 5e8}[dtype]

    def bandwidth(self, size: int) -> float:  # noqa: D102
        return 1e9


# 18 Mflop and 8 MB; 1.25 MB.
CONV = Layer("image", "image", (1, 1, 1002, 1002), (1, 1, 3, 3))
POOL = Pool("pool", "pool", "max_pool2d", (1, 1, 500, 500), 2, 2)


def result(layer: AnyLayer, **milliseconds: float) -> LayerResult:
    names = {"auto": BASELINE, "prepared": PREPARED, "loop": "numpy loop", "cv2": "opencv filter2D"}
    peers = {
        names.get(name, name): PeerResult(error, 1, [time / 1e3])
        for error, (name, time) in enumerate(milliseconds.items(), 1)
    }
    return LayerResult(layer, peers, {})


RESULTS = [
    result(POOL, auto=5, torch=40, onnxruntime=2.5),
    result(CONV, auto=20, prepared=40, torch=40, onnxruntime=20, cv2=25, loop=2000),
    result(CONV, auto=20, prepared=10, torch=10, onnxruntime=20),
]


def test_floor_is_the_larger_of_operations_and_bytes() -> None:
    ceiling = Fixed()
    assert ceiling.floor(CONV).bound == "matmul"
    assert ceiling.floor(CONV).seconds == pytest.approx(18e-3)
    assert ceiling.floor(POOL).bound == "copy"
    assert ceiling.floor(POOL).seconds == pytest.approx(4 * 1.25 * 500**2 / 1e9)


def test_ceiling_takes_the_best_sample_and_the_nearest_copy() -> None:
    ceiling = Ceiling(2)
    ceiling.sample()
    ceiling.sample()
    content = ceiling.as_json()
    single = content["matmul_flops"]["float32"]
    assert single["best"] == max(single["samples"]) == ceiling.flops("float32")
    assert len(single["samples"]) == 2
    copies = content["copy_bytes_per_second"]
    small, large = (copies[str(size)]["best"] for size in COPY_BYTES)
    assert ceiling.bandwidth(1000) == ceiling.bandwidth(2 * COPY_BYTES[0]) == small
    assert ceiling.bandwidth(COPY_BYTES[1]) == ceiling.bandwidth(10**10) == large
    assert "GFLOP/s in float32" in ceiling.describe()


def test_peers_that_pack_weights_are_compared_twice() -> None:
    labels = [column.label for column in tables.columns(RESULTS)]
    prepared = "onnxruntime ÷ prepared"
    assert labels == ["torch", "onnxruntime", prepared, "opencv filter2D", "numpy loop"]
    assert [c.label for c in tables.columns(RESULTS[:1])] == ["torch", "onnxruntime"]
    short = [column.short_label for column in tables.main_columns(RESULTS)]
    assert short == ["torch", "onnxruntime", prepared, "opencv"]


def test_class_tables() -> None:
    images, pools = tables.class_tables(RESULTS, Fixed()).split("\n\n### ")
    lines = images.splitlines()
    assert lines[0] == "### One-channel images"
    others = "torch | onnxruntime | onnxruntime ÷ prepared | opencv filter2D | numpy loop"
    assert lines[2] == f"| layer | floor | {BASELINE} | {PREPARED} | error | {others} |"
    own = "| image | 18 ms matmul | 20 ms (90 %) | 40 ms (45 %) | 2e+00 |"
    assert lines[4] == f"{own} 2.00x | 1.00x | 0.50x | 1.25x | 100x |"
    assert lines[5].endswith("| 10 ms (180 %) | 2e+00 | 0.50x | 1.00x | 2.00x |  |  |")
    lines = pools.splitlines()
    assert lines[0] == "Pools"
    assert lines[2] == f"| layer | floor | {BASELINE} | error | torch | onnxruntime |"
    assert lines[4] == "| pool | 1.25 ms copy | 5 ms (25 %) | 1e+00 | 8.00x | 0.50x |"


def test_summary_table() -> None:
    assert tables.summary_table(RESULTS, Fixed()).splitlines() == [
        "| class (layers) | floor | error | fastest peer | torch | onnxruntime"
        " | onnxruntime ÷ prepared | opencv |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        "| one-channel images (2) | 90 % (90 %) | 2e+00 | 0.50x (0.50x) | 1.00x (0.50x)"
        " | 1.00x (1.00x) | 1.00x (0.50x) | 1.25x |",
        "| pools (1) | 25 % | 1e+00 | 0.50x | 8.00x | 0.50x |  |  |",
    ]


def test_verdict_names_who_is_faster_under_the_same_conditions() -> None:
    text = report.verdict([*RESULTS, result(CONV, auto=5, torch=6)])
    assert text.startswith("No peer is faster than convpool on 1 of 4 layers; faster are: ")
    assert text.endswith("pool (onnxruntime 0.50x), image (onnxruntime 0.50x), image (torch 0.50x)")


def test_text_lines() -> None:
    lines = report.text_lines(RESULTS[0], Fixed())
    assert lines[0] == "pool: 0.25 Mflop, 1.25 MB, floor 1.25 ms (copy)"
    words = lines[2].split()
    assert words[:6] == ["torch", "40", "ms", "0.00625", "GFLOP/s", "3%"]
    assert words[6:] == ["8.00x", "error", "2e+00", "rounds", "1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.01e-8, "10.1 ns"), (9.996e-7, "1 µs"), (2.5e-5, "25 µs"), (0.5, "500 ms"), (2.0, "2 s")],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert tables.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50x"), (9.999, "10.0x"), (42.42, "42.4x"), (314.1, "314x")]
)
def test_format_ratio(value: float, text: str) -> None:
    assert tables.format_ratio(value) == text


def test_panels() -> None:
    images, pools = chart.panels(
        [*RESULTS, result(Layer("alone", "large", *[(1,) * 4] * 2), auto=1)]
    )
    assert images.title == "one-channel images"
    assert [row.label for row in images.rows] == [
        "torch",
        "onnxruntime",
        "onnxruntime ÷ prepared",
        "opencv",
    ]
    assert images.rows[0].ratios == pytest.approx((2.0, 0.5))
    assert images.rows[2].ratios == pytest.approx((0.5, 2.0))
    assert pools.rows[0].peer == "torch"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_chart_brings_its_background(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"chart.{suffix}"
    chart.draw(chart.panels(RESULTS) * 2, "some machine", path)
    if suffix == "svg":
        assert chart.BACKGROUND in path.read_text(encoding="utf-8")
        return
    from matplotlib.image import imread

    corner = imread(path)[0, 0]
    assert corner[:3].min() > 0.9
    assert corner[3] == 1


def test_thread_counts() -> None:
    assert [scaling.thread_counts(n) for n in (1, 2, 3, 8)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4, 8],
    ]


def test_scaling_tables() -> None:
    def on_threads(layer: AnyLayer, one: float, two: float) -> LayerResult:
        times = {"torch, 1 thread": one, "torch, 2 threads": two}
        return LayerResult(layer, {k: PeerResult(0, 1, [v]) for k, v in times.items()}, {})

    results = [on_threads(CONV, 4e-3, 1e-3), on_threads(CONV, 1e-3, 1e-3), on_threads(POOL, 1, 0.5)]
    assert scaling.scaling_tables(results, ["torch", "absent"], [1, 2]).splitlines() == [
        "### torch",
        "",
        "| layer | 1 thread | 2 threads |",
        "| --- | --: | --: |",
        "| image | 4 ms | 4.00x |",
        "| image | 1 ms | 1.00x |",
        "| *mean of one-channel images* |  | 2.00x |",
        "| pool | 1 s | 2.00x |",
    ]


def test_section_is_replaced_or_added(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    report.replace_section(path, "first", "1")
    report.replace_section(path, "second (2)", "### part\n\n2")
    assert path.read_text(encoding="utf-8") == "## first\n\n1\n\n## second (2)\n\n### part\n\n2\n"
    report.replace_section(path, "first", "one")
    report.replace_section(path, "second (2)", "two")
    assert path.read_text(encoding="utf-8") == "## first\n\none\n\n## second (2)\n\ntwo\n"
