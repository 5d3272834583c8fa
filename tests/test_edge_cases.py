"""Forty cases in which other libraries are wrong, crash or disagree, each with where it was seen.

Here the shapes and paddings; `test_edge_cases_numbers` has the numbers, `test_edge_cases_process`
the rest. Names like ``name#1234`` are threads of that project; "returns" and "aborts" are measured.
"""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from cases import integers, normal
from convpool import reference
from convpool._typing import Array

ALGORITHMS = ["auto", "direct", "im2col"]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
forward_algorithm = pytest.mark.parametrize("algorithm", [*ALGORITHMS, "implicit_gemm", "fft"])


def row(*numbers: float) -> Array:
    """Make an image of one row."""
    return np.array(numbers, dtype=np.float64).reshape(1, 1, -1)


def ones(*shape: int) -> Array:
    """Make an array of ones in float32."""
    return np.ones(shape, np.float32)


def check_gradients(x: Array, w: Array, **geometry: Any) -> tuple[Array, Array]:
    """Compare both gradients with the specification, on whole numbers; return them."""
    y = convpool.conv2d(x, w, **geometry)
    dy = integers(y.shape, x.dtype, seed=7)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **geometry)
    dw = convpool.conv2d_grad_weight(dy, x, w.shape[2:], **geometry)
    assert_array_equal(y, reference.conv2d(x, w, **geometry))
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, **geometry))
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, w.shape[2:], **geometry))
    return dx, dw


@forward_algorithm
def test_case_01_kernel_larger_than_the_input(algorithm: Any) -> None:
    """SciPy swaps the operands; TensorFlow returns memory that nobody wrote."""
    with pytest.raises(ValueError, match="kernel height 5 exceeds the padded input height 4"):
        convpool.conv2d(ones(1, 1, 4, 9), ones(1, 1, 5, 5), algorithm=algorithm)
    with pytest.raises(ValueError, match="width 3 exceeds the padded input width 2"):
        convpool.max_pool2d(ones(1, 1, 4, 2), 3)


@forward_algorithm
def test_case_02_no_images_forward(algorithm: Any) -> None:
    """TensorFlow returns (0, 5, 5, 2)."""
    y = convpool.conv2d(ones(0, 2, 5, 5), ones(3, 2, 3, 3), ones(3), algorithm=algorithm)
    assert y.shape == (0, 3, 3, 3)
    assert convpool.max_pool2d(ones(0, 2, 5, 5), 2).shape == (0, 2, 2, 2)


@every_algorithm
def test_case_03_no_images_backward(algorithm: Any) -> None:
    """PyTorch is right."""
    dy, x, w = ones(0, 3, 3, 3), ones(0, 2, 5, 5), ones(3, 2, 3, 3)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, algorithm=algorithm)
    assert dx.shape == (0, 2, 5, 5)
    dw = convpool.conv2d_grad_weight(dy, x, 3, algorithm=algorithm)
    assert_array_equal(dw, np.zeros_like(w))
    assert_array_equal(convpool.conv2d_grad_bias(dy), np.zeros(3))


@forward_algorithm
def test_case_04_no_input_channels(algorithm: Any) -> None:
    """PyTorch returns (1, 0, 3, 3)."""
    x, w, bias = ones(1, 0, 5, 5), ones(3, 0, 3, 3), np.arange(3, dtype=np.float32)
    y = convpool.conv2d(x, w, bias, algorithm=algorithm)
    assert_array_equal(y, np.broadcast_to(bias[:, None, None], (1, 3, 3, 3)))
    assert_array_equal(convpool.conv2d(x, w, algorithm=algorithm), np.zeros((1, 3, 3, 3)))


@forward_algorithm
def test_case_05_no_output_channels_and_no_rows(algorithm: Any) -> None:
    """JAX and ONNX Runtime are right."""
    assert convpool.conv2d(ones(1, 2, 5, 5), ones(0, 2, 3, 3)).shape == (1, 0, 3, 3)
    x, w, bias = ones(1, 2, 0, 5), ones(3, 2, 3, 3), np.arange(3, dtype=np.float32)
    y = convpool.conv2d(x, w, bias, padding=2, algorithm=algorithm)
    assert_array_equal(y, np.broadcast_to(bias[:, None, None], (1, 3, 2, 7)))


def test_case_06_kernels_without_cells() -> None:
    """`scipy.ndimage` returns ones for ``size=0``."""
    with pytest.raises(ValueError, match="kernel height must be at least 1"):
        convpool.conv2d(ones(1, 1, 5, 5), ones(1, 1, 0, 3))
    for pool in (convpool.max_pool2d, convpool.avg_pool2d, convpool.min_pool2d):
        for kernel in (0, (2, 0), -1):
            with pytest.raises(ValueError, match="kernel_size"):
                pool(ones(1, 5, 5), kernel)


def test_case_07_steps_and_groups_below_one() -> None:
    """pytorch#27598 and XNNPACK PR#11156: a stride of 0 divides by zero and ends the process."""
    x, w = ones(1, 4, 5, 5), ones(6, 2, 3, 3)
    for name in ("stride", "dilation", "groups"):
        for value in (0, -1):
            with pytest.raises(ValueError, match=f"{name}.* must be at least 1, got {value}"):
                convpool.conv2d(x, w, **{"groups": 2, name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be a multiple of groups"):
        convpool.conv2d(x, ones(5, 2, 3, 3), groups=2)
    with pytest.raises(ValueError, match="groups"):
        convpool.conv2d(x, ones(6, 1, 3, 3), groups=3)


@pytest.mark.parametrize("name", ["padding", "stride", "dilation", "kernel"])
def test_case_08_numbers_beyond_any_image(name: str) -> None:
    """PyTorch takes a dilation of 2^63 - 1 for one of 0; TensorFlow aborts for a large pad."""
    for value in (2**31 - 1, 2**31, 2**31 + 1, 2**62, 2**63 - 1, 2**63, 2**64 + 1):
        if name == "padding" and value < 2**32:
            # With a stride as large there are three windows each way; the middle one sees a cell.
            y = convpool.conv2d(ones(1, 1, 3, 3), ones(1, 1, 1, 1), stride=value, padding=value)
            assert_array_equal(y, np.pad(ones(1, 1, 1, 1), ((0, 0), (0, 0), (1, 1), (1, 1))))
        elif name == "stride" and value < 2**40:
            y = convpool.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), stride=value)
            assert_array_equal(y, [[[[9]]]])
        else:
            kwargs: dict[str, Any] = {name: value} if name != "kernel" else {}
            kernel: Any = value if name == "kernel" else 3
            with pytest.raises((ValueError, MemoryError)):
                convpool.im2col(ones(1, 1, 3, 3), kernel, **kwargs)
            with pytest.raises((ValueError, MemoryError)):
                convpool.max_pool2d(ones(1, 1, 3, 3), kernel, **{"stride": 1, **kwargs})


def test_case_09_more_than_two_to_the_31_elements() -> None:
    """scipy#10761: wrong beyond 2^31 bytes; PyTorch could not create a primitive."""
    n, step = 70000, 1000
    x = np.broadcast_to(np.float32(3), (1, 1, n, n))
    y = convpool.conv2d(x, np.full((1, 1, 1, 1), 2, np.float32), stride=step)
    assert_array_equal(y, np.full((1, 1, n // step, n // step), 6))
    # Each cell tells its column, so that a wrapped offset would show.
    columns = np.arange(n, dtype=np.float32)
    x = np.broadcast_to(columns, (1, 1, n, n))
    y = convpool.conv2d(x, ones(1, 1, 1, 1), stride=step)
    assert_array_equal(y, np.broadcast_to(columns[::step], y.shape))


@forward_algorithm
def test_case_10_number_of_dimensions(algorithm: Any) -> None:
    """pytorch#104860; TensorFlow aborts the process for a 3-D image."""
    x, w = normal((2, 6, 7)), normal((3, 2, 3, 3), seed=1)
    batch = convpool.conv2d(x[np.newaxis], w, algorithm=algorithm)
    assert_array_equal(convpool.conv2d(x, w, algorithm=algorithm), batch[0])
    for shape in ((), (2,), (6, 7), (1, 1, 2, 6, 7)):
        with pytest.raises(ValueError, match=r"x must be 4-D, .* or 3-D, .* got \d-D"):
            convpool.conv2d(ones(*shape), w)


def test_case_11_channels_and_bias_that_do_not_fit() -> None:
    """PyTorch's messages name what was expected and what was given; so must these."""
    with pytest.raises(ValueError, match=r"x has 4 channels.*\(6, 3, 3, 3\)"):
        convpool.conv2d(ones(1, 4, 5, 5), ones(6, 3, 3, 3))
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\), got \(5,\)"):
        convpool.conv2d(ones(1, 3, 5, 5), ones(6, 3, 3, 3), ones(5))


@forward_algorithm
def test_case_12_same_with_stride_puts_the_odd_cell_at_the_end(algorithm: Any) -> None:
    """TensorFlow's rule."""
    kwargs: Any = {"stride": (1, 2), "padding": "same", "algorithm": algorithm}
    # Transforms are rounded, to whole numbers only from float64 to float32.
    dtype = np.float32 if algorithm == "fft" else np.float64
    y = convpool.conv2d(row(1, 2, 3, 4, 5, 6).astype(dtype), np.ones((1, 1, 1, 3), dtype), **kwargs)
    assert_array_equal(y, row(6, 12, 11))


@forward_algorithm
def test_case_13_same_with_a_stride_larger_than_the_kernel(algorithm: Any) -> None:
    """Pytorch PR#45667: the total padding would be negative."""
    x = row(1, 2, 3, 4, 5, 6, 7)
    kwargs: Any = {"stride": (1, 3), "padding": "same", "algorithm": algorithm}
    y = convpool.conv2d(x, np.ones((1, 1, 1, 1)), **kwargs)
    assert_array_equal(y, row(1, 4, 7))
    assert_array_equal(convpool.max_pool2d(x, (1, 2), (1, 4), "same"), row(2, 6))


@forward_algorithm
def test_case_14_same_with_an_even_kernel(algorithm: Any) -> None:
    """SciPy's ``correlate2d`` agrees with "same", ``ndimage.correlate`` with "same_lower"."""
    x = np.zeros((1, 5, 5), np.float32)
    x[0, 2, 2] = 1
    kernel = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    padding: Any
    for padding, first in (("same", 1), ("same_lower", 2)):
        expected = np.zeros((1, 5, 5))
        expected[0, first : first + 2, first : first + 2] = [[4, 3], [2, 1]]
        y = convpool.conv2d(x, kernel, padding=padding, algorithm=algorithm)
        assert_array_equal(y, expected)


def test_case_15_same_with_dilation() -> None:
    """Onnx PR#2043: the dilated kernel counts; ONNX Runtime refuses the combination."""
    x, w = integers((1, 2, 11, 12)), integers((3, 2, 3, 4), seed=1)
    for stride, dilation, pads in (
        (1, 2, ((2, 2), (3, 3))),
        (2, 2, ((2, 2), (2, 3))),
        (3, (3, 2), ((2, 3), (2, 2))),
    ):
        y = convpool.conv2d(x, w, None, stride, "same", dilation)
        assert y.shape[2:] == (-(-11 // stride), -(-12 // stride))
        assert_array_equal(y, convpool.conv2d(x, w, None, stride, pads, dilation))


def test_case_16_padding_of_each_side() -> None:
    """pytorch#17150, open since 2019; TensorFlow's average pooling refuses it."""
    pads: Any = ((1, 2), (0, 3))
    x, w = integers((2, 2, 5, 6)), integers((3, 2, 3, 3), seed=1)
    check_gradients(x, w, padding=pads)
    check_gradients(x, w, padding=pads, stride=2)
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=-np.inf)
    y, indices = convpool.max_pool2d(x, 3, 2, pads, return_indices=True)
    assert_array_equal(y, convpool.max_pool2d(padded, 3, 2))
    dy = integers(y.shape, seed=2)
    dx = convpool.max_pool2d_grad(dy, indices, x.shape)
    assert_array_equal(dx, reference.max_pool2d_grad(dy, indices, x.shape))
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    assert_array_equal(convpool.avg_pool2d(x, 3, 2, pads), convpool.avg_pool2d(padded, 3, 2))
    dx = convpool.avg_pool2d_grad(9 * dy, x.shape, 3, 2, pads)
    whole = convpool.avg_pool2d_grad(9 * dy, padded.shape, 3, 2)
    assert_array_equal(dx, whole[:, :, 1:-2, :-3])


@every_algorithm
def test_case_17_padding_larger_than_the_kernel_in_the_gradient(algorithm: Any) -> None:
    """mlx#833."""
    x, w = ones(1, 1, 5, 5), ones(1, 1, 3, 3)
    y = convpool.conv2d(x, w, padding=4, algorithm=algorithm)
    dx = convpool.conv2d_grad_input(np.ones_like(y), w, x.shape, padding=4, algorithm=algorithm)
    assert_array_equal(dx, np.full_like(x, 9))
    assert dx.sum() == 225


@forward_algorithm
def test_case_18_negative_padding_crops(algorithm: Any) -> None:
    """JAX and MLX crop; PyTorch, TensorFlow and ONNX Runtime refuse."""
    x, w = integers((1, 1, 5, 5)), integers((1, 1, 3, 3), seed=1)
    y = convpool.conv2d(x, w, padding=((-1, 0), (0, 0)), algorithm=algorithm)
    assert y.shape == (1, 1, 2, 3)
    assert_array_equal(y, convpool.conv2d(x[:, :, 1:], w, algorithm=algorithm))
    dx, _ = check_gradients(x, w, padding=((-1, 0), (0, 0)))
    assert not dx[:, :, 0].any()


@forward_algorithm
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "wrap", "edge"])
def test_case_19_padding_modes_beyond_the_size(mode: Any, algorithm: Any) -> None:
    """pytorch#152152: reflection needs a pad below the size there, and a second cell."""
    w = integers((2, 1, 3, 3), seed=1)
    for shape, pads in (((3, 4), (8, 11)), ((1, 4), (3, 2)), ((1, 1), (5, 4))):
        x = integers((1, 1, *shape))
        padded = np.pad(x, ((0, 0), (0, 0), (pads[0],) * 2, (pads[1],) * 2), mode=mode)
        y = convpool.conv2d(x, w, padding=pads, pad_mode=mode, algorithm=algorithm)
        assert_array_equal(y, convpool.conv2d(padded, w, algorithm=algorithm))


@every_algorithm
def test_case_20_circular_padding(algorithm: Any) -> None:
    """pytorch#37844 (wrong axis), #24504 (gradient), #104860 (no batch)."""
    w = integers((2, 2, 3, 3), seed=1)
    for pads in (((1, 1), (2, 2)), ((0, 3), (1, 0)), ((2, 0), (0, 0))):
        x = integers((2, 5, 7))
        wrapped = np.pad(x, ((0, 0), *pads), mode="wrap")
        kwargs: Any = {"padding": pads, "pad_mode": "wrap", "algorithm": algorithm}
        y = convpool.conv2d(x, w, **kwargs)
        assert_array_equal(y, convpool.conv2d(wrapped, w))
        dy = integers(y.shape, seed=2)
        dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs)
        dw = convpool.conv2d_grad_weight(dy, x, 3, **kwargs)
        assert_array_equal(dw, convpool.conv2d_grad_weight(dy, wrapped, 3))
        whole = convpool.conv2d_grad_input(dy, w, wrapped.shape)
        places = np.pad(np.arange(35).reshape(5, 7), pads, mode="wrap").ravel()
        expected = np.zeros((2, 35), np.float32)
        for channel in range(2):
            np.add.at(expected[channel], places, whole[channel].ravel())
        assert_array_equal(dx, expected.reshape(x.shape))
