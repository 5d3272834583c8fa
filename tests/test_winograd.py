"""Winograd's tiles: as exact as they promise, and nothing of what they cannot compute shows."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import embedded, integers, normal
from convpool import reference

# Image, weight, arguments. Tiles are 4x4 results; vectors hold 2 to 16 of them, tiles of products 4
# to 8 output channels, and sums are cut at 256 channels.
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "whole tiles": ((2, 5, 10, 14), (6, 5, 3, 3), {}),
    "parts of tiles": ((3, 4, 13, 9), (7, 4, 3, 3), {"padding": 1}),
    "one cell": ((1, 2, 1, 1), (3, 2, 3, 3), {"padding": 1}),
    "one row": ((1, 3, 1, 50), (9, 3, 3, 3), {"padding": 1}),
    "one column": ((2, 3, 50, 1), (9, 3, 3, 3), {"padding": 1}),
    "two blocks of channels": ((1, 300, 6, 7), (13, 300, 3, 3), {"padding": 1}),
    "several panels": ((1, 3, 9, 9), (70, 3, 3, 3), {"padding": 1}),
    "a last panel of one channel": ((1, 3, 9, 9), (25, 3, 3, 3), {"padding": 1}),
    "a last panel of seven": ((1, 3, 9, 9), (31, 3, 3, 3), {"padding": 1}),
    "several tasks": ((5, 40, 30, 33), (11, 40, 3, 3), {"padding": 1}),
    "many channels": ((1, 2500, 4, 8), (2, 2500, 3, 3), {"padding": 1}),
    "wide rows": ((2, 3, 6, 1101), (5, 3, 3, 3), {"padding": 1}),
    "wide rows with padding": ((1, 40, 5, 601), (3, 40, 3, 3), {"padding": ((0, 1), (70, 9))}),
    "groups": ((2, 12, 11, 18), (8, 3, 3, 3), {"padding": 1, "groups": 4}),
    "depthwise": ((1, 6, 15, 15), (6, 1, 3, 3), {"groups": 6}),
    "uneven padding": ((2, 3, 8, 9), (4, 3, 3, 3), {"padding": ((2, 0), (1, 5))}),
    "cropped": ((2, 3, 20, 21), (4, 3, 3, 3), {"padding": ((-1, 2), (4, -3))}),
    "full": ((1, 3, 7, 8), (4, 3, 3, 3), {"padding": "full"}),
}
FORWARD: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    **CASES,
    "a border of ones": ((2, 3, 9, 10), (4, 3, 3, 3), {"padding": 2, "pad_value": 1.5}),
    "reflected": ((2, 3, 9, 10), (4, 3, 3, 3), {"padding": 3, "pad_mode": "reflect"}),
    "wide rows, reflected": ((1, 2, 5, 900), (3, 2, 3, 3), {"padding": 4, "pad_mode": "reflect"}),
    "wrapped": ((1, 3, 5, 6), (4, 3, 3, 3), {"padding": ((4, 1), (0, 7)), "pad_mode": "wrap"}),
}


def largest_errors(x: Any, w: Any, groups: int = 1, pad_value: float = 0) -> Any:
    """Return how far results may be off: relative to the largest cells, not to a result's own."""
    most = np.maximum(abs(x).max((2, 3)), abs(pad_value)).reshape(len(x), groups, 1, -1)
    weights = abs(w).sum((2, 3)).reshape(groups, -1, w.shape[1])
    sums = (most * weights).sum(3).reshape(len(x), len(w), 1, 1)
    return 16 * np.finfo(x.dtype).eps / 2 * sums


def check(y: Any, expected: Any, errors: Any) -> None:
    assert y.shape == expected.shape
    assert (abs(y - expected) <= errors).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(FORWARD))
def test_it_is_the_definition(name: str, dtype: Any) -> None:
    x_shape, w_shape, arguments = FORWARD[name]
    x, w = normal(x_shape, dtype), normal(w_shape, dtype, seed=1)
    bias = normal(w_shape[:1], dtype, seed=2)
    expected = reference.conv2d(x, w, bias, **arguments)
    errors = largest_errors(x, w, arguments.get("groups", 1), arguments.get("pad_value", 0))
    errors = errors + 2 * np.finfo(dtype).eps * abs(bias).max()
    options: dict[str, Any] = {**arguments, "algorithm": "winograd"}
    y = convpool.conv2d(embedded(x), w, bias, **options)
    check(y, expected, errors)
    last = convpool.conv2d(x.transpose(0, 2, 3, 1), w, bias, **options, layout="NHWC")
    assert_array_equal(last.transpose(0, 3, 1, 2), y)
    for threads in (1, 3):
        assert_array_equal(convpool.conv2d(x, w, bias, **options, threads=threads), y)
        prepared = convpool.prepare_conv2d(w, bias, **options)
        assert_array_equal(prepared(x, threads=threads), y)
    for n in range(len(x)):
        assert_array_equal(convpool.conv2d(x[n], w, bias, **options), y[n])
    without = convpool.conv2d(x, w, **options)
    check(without, reference.conv2d(x, w, **arguments), errors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(CASES))
def test_gradient_and_transpose(name: str, dtype: Any) -> None:
    x_shape, w_shape, arguments = CASES[name]
    groups = arguments.get("groups", 1)
    w = normal(w_shape, dtype, seed=1)
    dy = normal(convpool.conv2d_output_shape(x_shape, w_shape, **arguments), dtype)
    expected = reference.conv2d_grad_input(dy, w, x_shape, **arguments)
    exchanged = (
        w.reshape(groups, -1, w_shape[1], 3, 3).swapaxes(1, 2).reshape(-1, len(w) // groups, 3, 3)
    )
    errors = largest_errors(dy, exchanged, groups)
    dx = convpool.conv2d_grad_input(dy, w, x_shape, **arguments, algorithm="winograd")
    check(dx, expected, errors)
    again = convpool.conv2d_grad_input(dy, w, x_shape, **arguments, algorithm="winograd", threads=3)
    assert_array_equal(again, dx)

    if arguments.get("padding", 0) in (0, 1):
        y = convpool.conv2d_transpose(dy, w, **arguments, algorithm="winograd")
        check(y, reference.conv2d_transpose(dy, w, **arguments), errors)


@pytest.mark.parametrize("channels", [64, 400])
def test_error_beside_that_of_sums_in_order(channels: int) -> None:
    x, w = normal((1, channels, 18, 18)), normal((4, channels, 3, 3), seed=1)
    expected = reference.conv2d(x, w)
    columns = convpool.im2col(x, 3)[0]
    in_order = np.zeros((4, columns.shape[1]), np.float32)
    for weights, row in zip(w.reshape(4, -1).T, columns, strict=True):
        in_order += weights[:, np.newaxis] * row
    errors = [
        np.sqrt(np.mean((y.reshape(expected.shape) - expected) ** 2))
        for y in (convpool.conv2d(x, w, algorithm="winograd"), in_order)
    ]
    assert errors[0] <= 4 * errors[1]


@pytest.mark.parametrize("width", [*range(1, 40), 63, 64, 65, 66])
def test_nothing_is_written_beside_the_rows(width: int) -> None:
    x, w = integers((2, 3, 6, width)), integers((5, 3, 3, 3))
    expected = reference.conv2d(x, w, padding=1)
    memory = np.full(expected.size + 64, 77, np.float32)
    out = memory[32:-32].reshape(expected.shape)
    convpool.conv2d(embedded(x), w, padding=1, algorithm="winograd", out=out)
    assert_allclose(out, expected, atol=1e-3)
    assert (memory[:32] == 77).all() and (memory[-32:] == 77).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_images_that_are_not_finite_are_computed_without_tiles(value: float) -> None:
    x, w = normal((3, 8, 20, 20)), normal((8, 8, 3, 3), seed=1)
    x[1, 3, 7, 7] = value
    y, plain = (convpool.conv2d(x, w, padding=1, algorithm=a) for a in ("winograd", "auto"))
    assert_array_equal(y[1], plain[1])
    spoilt = ~np.isfinite(plain[1])
    assert not spoilt[:, 10:].any()
    assert_allclose(y[::2], plain[::2], atol=1e-4)
    finite = convpool.conv2d(x[::2], w, padding=1, algorithm="winograd")
    assert_array_equal(y[::2], finite)

    dx, plain = (
        convpool.conv2d_grad_input(x, w, x.shape, padding=1, algorithm=a)
        for a in ("winograd", "auto")
    )
    assert_array_equal(dx[1], plain[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_such_images_in_other_layouts_groups_and_sizes(dtype: Any) -> None:
    x, w = normal((4, 8, 6, 601), dtype), normal((6, 4, 3, 3), dtype, seed=1)
    bias = normal((6,), dtype, seed=2)
    x[1, 2, 3, 590] = x[2, 7, 0, 0] = np.nan
    options: dict[str, Any] = {"padding": 1, "groups": 2}
    plain = convpool.conv2d(x, w, bias, **options)
    prepared = convpool.prepare_conv2d(w, bias, **options, algorithm="winograd")
    last = x.transpose(0, 2, 3, 1)
    for y in (
        convpool.conv2d(x, w, bias, **options, algorithm="winograd", threads=2),
        prepared(x),
        convpool.conv2d(last, w, bias, **options, algorithm="winograd", layout="NHWC").transpose(
            0, 3, 1, 2
        ),
    ):
        assert_array_equal(y[1:3], plain[1:3])
        assert_allclose(y[::3], plain[::3], atol=1e-4)
    bias[3] = np.inf
    y, plain = (convpool.conv2d(x, w, bias, **options, algorithm=a) for a in ("winograd", "auto"))
    assert_array_equal(y, plain)


def test_an_image_that_is_not_finite_has_the_same_gradient_in_any_batch() -> None:
    dy, w = normal((3, 128, 24, 24)), normal((128, 128, 3, 3), seed=1)
    dy[1, 3, 7, 7] = np.nan
    options: dict[str, Any] = {"padding": 1}
    dx = convpool.conv2d_grad_input(dy, w, dy.shape, **options)
    for n in range(3):
        alone = convpool.conv2d_grad_input(dy[n], w, dy[n].shape, **options)
        assert_array_equal(alone, dx[n])
    tiles = convpool.conv2d_grad_input(dy, w, dy.shape, **options, algorithm="winograd")
    assert_array_equal(tiles[1], dx[1])


def test_infinite_weights_meet_padding_as_they_do_elsewhere() -> None:
    x, w = normal((1, 4, 9, 9)), normal((5, 4, 3, 3), seed=1)
    w[2, 1, 0, 0] = np.inf
    for padding in (0, 1):
        options = {"padding": padding}
        y, plain = (convpool.conv2d(x, w, **options, algorithm=a) for a in ("winograd", "auto"))
        assert_array_equal(y, plain)
        y, plain = (
            convpool.conv2d_transpose(plain, w, **options, algorithm=a)
            for a in ("winograd", "auto")
        )
        assert_array_equal(y, plain)


def test_whole_numbers_are_exact_and_others_rounded_once() -> None:
    x, w = integers((1, 32, 26, 26), np.int16), integers((32, 32, 3, 3), np.int16, seed=1)
    expected = convpool.conv2d(x, w)
    for options in ({"algorithm": "winograd"}, {"precision": "high"}):
        assert_array_equal(convpool.conv2d(x, w, **options), expected)
    halves = convpool.conv2d(x.astype("f2"), w.astype("f2"), algorithm="winograd")
    assert halves.dtype == np.float16
    assert_allclose(halves, expected, atol=1e-2, rtol=1e-3)
    z = x + (1j * x).astype("c8")
    for options in ({"algorithm": "winograd"}, {"precision": "high"}):
        y = convpool.conv2d(z, w.astype("f4"), **options)
        assert (y != convpool.conv2d(z, w.astype("f4"))).any()
        assert_allclose(y.real, expected, atol=1e-2)


@pytest.mark.parametrize("options", [{"algorithm": "winograd"}, {"precision": "high"}])
def test_empty_images_and_channels(options: Any) -> None:
    for x_shape, w_shape in (
        ((0, 32, 26, 26), (32, 32, 3, 3)),
        ((2, 32, 26, 26), (0, 32, 3, 3)),
        ((2, 0, 26, 26), (32, 0, 3, 3)),
        ((2, 3, 0, 5), (4, 3, 3, 3)),
    ):
        padding = 2 if 0 in x_shape[2:] else 0
        x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
        y = convpool.conv2d(x, w, padding=padding, **options)
        assert_array_equal(y, reference.conv2d(x, w, padding=padding))
        prepared = convpool.prepare_conv2d(w, padding=padding, **options)
        assert_array_equal(prepared(x), y)
        dx = convpool.conv2d_grad_input(y, w, x_shape, padding=padding, **options)
        assert_array_equal(dx, reference.conv2d_grad_input(y, w, x_shape, padding=padding))


def test_cells_that_no_result_sums_do_not_count() -> None:
    """Parts of tiles at the ends meet cells that are cropped, or padding that there is not."""
    w = normal((5, 4, 3, 3), seed=1)
    x = normal((2, 4, 11, 15))
    y = convpool.conv2d(x, w, pad_value=1e9, algorithm="winograd")
    check(y, reference.conv2d(x, w), largest_errors(x, w))
    around = np.full((2, 4, 19, 23), 1e30, np.float32)
    around[:, :, 4:15, 4:19] = x
    y = convpool.conv2d(around, w, padding=-4, algorithm="winograd")
    check(y, reference.conv2d(x, w), largest_errors(x, w))


LARGE: tuple[tuple[int, ...], tuple[int, ...]] = (1, 64, 56, 56), (64, 64, 3, 3)


def test_auto_takes_tiles_where_less_precision_is_enough() -> None:
    def chosen(x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> str:
        return convpool.explain_conv2d(x, w, **options).algorithm

    assert chosen(*LARGE) == "implicit_gemm"
    for word in ("high", "medium"):
        assert chosen(*LARGE, precision=word) == "winograd"
        assert chosen(*LARGE, precision=word, dtype=np.float64) == "winograd"
    assert chosen((16, 64, 14, 14), LARGE[1], precision="high") == "implicit_gemm"
    last = (1, 56, 56, 64)
    assert chosen(last, LARGE[1], precision="high", layout="NHWC") == "winograd"
    assert chosen((1, 16, 56, 56), (64, 16, 3, 3), precision="high") == "implicit_gemm"
    for options in ({"stride": 2}, {"dilation": 2}, {"groups": 64}, {"dtype": np.int32}):
        w = (64, 64 // options.get("groups", 1), 3, 3)
        assert chosen(LARGE[0], w, precision="high", **options) != "winograd"
    assert chosen(LARGE[0], (64, 64, 5, 5), precision="high") == "implicit_gemm"
    assert chosen(*LARGE, precision="high", algorithm="im2col") == "im2col"


def test_every_function_takes_less_precision() -> None:
    x, w = normal((1, 32, 26, 26)), normal((32, 32, 3, 3), seed=1)
    dy = normal((1, 32, 24, 24), seed=2)
    tiles: dict[str, Any] = {"algorithm": "winograd"}
    high: dict[str, Any] = {"precision": "high"}
    for less in (convpool.conv2d(x, w, **high), convpool.prepare_conv2d(w, **high)(x)):
        assert_array_equal(less, convpool.conv2d(x, w, **tiles))
    for function, arguments in (
        (convpool.conv2d_grad_input, (dy, w, x.shape)),
        (convpool.conv2d_transpose, (dy, w)),
    ):
        assert_array_equal(function(*arguments, **high), function(*arguments, **tiles))
    dw = convpool.conv2d_grad_weight(dy, x, 3, **high)
    assert_array_equal(dw, convpool.conv2d_grad_weight(dy, x, 3))


def test_what_has_no_tiles_is_refused() -> None:
    x, w = np.ones((1, 2, 9, 9)), np.ones((2, 2, 3, 3))
    dy = convpool.conv2d(x, w)
    options: dict[str, Any] = {"algorithm": "winograd"}
    with pytest.raises(NotImplementedError, match=r"5x3 with stride 1x1 and dilation 1x1"):
        convpool.conv2d(x, np.ones((2, 2, 5, 3)), **options)
    with pytest.raises(NotImplementedError, match=r"3x3 with stride 1x2 and dilation 3x1"):
        convpool.conv2d(x, w, stride=(1, 2), dilation=(3, 1), **options)
    with pytest.raises(NotImplementedError, match="weight gradient"):
        convpool.conv2d_grad_weight(dy, x, 3, **options)
    with pytest.raises(NotImplementedError, match="input gradient with a padding mode"):
        convpool.conv2d_grad_input(x, w, x.shape, padding=1, pad_mode="edge", **options)
    with pytest.raises(NotImplementedError, match="3x3"):
        convpool.conv2d_transpose(dy, w, stride=2, **options)
