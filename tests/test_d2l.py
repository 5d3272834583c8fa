"""Every cell of the book's chapter, in its order, with the results that it prints."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from convpool import d2l, learn_kernel, nn
from convpool._typing import Array

X33 = np.arange(9.0, dtype=np.float32).reshape(3, 3)
K22 = np.arange(4.0, dtype=np.float32).reshape(2, 2)


def same(result: Array, expected: object, dtype: type = np.float32) -> None:
    assert result.dtype == dtype
    assert_array_equal(result, np.asarray(expected, dtype))


def bars() -> Array:
    X = np.ones((6, 8), np.float32)
    X[:, 2:6] = 0
    return X


def test_cells_8_9_corr2d() -> None:
    X = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]
    K = [[0.0, 1.0], [2.0, 3.0]]
    same(d2l.corr2d(X33, K22), [[19, 25], [37, 43]])
    same(d2l.corr2d(X, K), [[19, 25], [37, 43]], np.float64)


def test_cell_10_layer() -> None:
    layer = d2l.Conv2D(seed=0)
    with pytest.raises(RuntimeError, match="build"):
        layer.call(X33)
    layer.build((2, 2))
    assert layer.weight is not None and layer.bias is not None
    assert layer.weight.shape == (2, 2)
    assert layer.bias.shape == (1,)
    assert 0 < np.abs(layer.weight).max() < 0.25
    assert_allclose(layer.call(X33), d2l.corr2d(X33, layer.weight) + layer.bias, rtol=1e-6)
    layer.weight, layer.bias = K22, np.array([100], np.float32)
    same(layer.call(X33), [[119, 125], [137, 143]])


def test_cells_11_14_edges() -> None:
    K = np.array([[1.0, -1.0]], np.float32)
    same(d2l.corr2d(bars(), K), [[0, 1, 0, 0, 0, -1, 0]] * 6)
    same(d2l.corr2d(bars().T, K), np.zeros((8, 5)))


def test_cells_15_16_learning_a_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    X = bars()
    Y = d2l.corr2d(X, [[1.0, -1.0]])
    # Where the book's run must have started, since it ends in the book's kernel.
    start = [[-0.91235727, 0.01017820]]
    learned = learn_kernel(X, Y, (1, 2), lr=3e-2, epochs=10, initial=start, verbose=True)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 2, loss 18.309",
        "epoch 4, loss 4.961",
        "epoch 6, loss 1.606",
        "epoch 8, loss 0.587",
        "epoch 10, loss 0.228",
    ]
    assert_allclose(learned.kernel, [[0.93471736, -1.0315881]], atol=2e-7)


def test_cells_15_16_with_layers() -> None:
    """The same run, written with a layer and an optimizer as in the book, in its layout."""
    X, Y = bars().reshape(1, 6, 8, 1), d2l.corr2d(bars(), [[1.0, -1.0]]).reshape(1, 6, 7, 1)
    conv2d = nn.Conv2D(1, (1, 2), use_bias=False, layout="NHWC")
    optimizer = nn.SGD(3e-2)
    conv2d(X)
    conv2d.params["weight"] = np.array([[[[-0.91235727, 0.01017820]]]], np.float32)
    losses = []
    for _ in range(10):
        error = conv2d(X) - Y
        losses.append(f"{(error**2).sum():.3f}")
        conv2d.backward(2 * error)
        optimizer.step([conv2d])
    assert losses[1::2] == ["18.309", "4.961", "1.606", "0.587", "0.228"]
    weight = conv2d.params["weight"].reshape(1, 2)
    assert_allclose(weight, [[0.93471736, -1.0315881]], atol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_cells_17_20_padding_and_stride(layout: str) -> None:
    X = np.random.default_rng(0).uniform(size=(8, 8))
    for shape, layer in (
        ((8, 8), nn.Conv2D(1, kernel_size=3, padding="same", layout=layout)),
        ((8, 8), nn.Conv2D(1, kernel_size=(5, 3), padding="same", layout=layout)),
        ((4, 4), nn.Conv2D(1, kernel_size=3, padding="same", strides=2, layout=layout)),
        ((2, 1), nn.Conv2D(1, (3, 5), padding="valid", strides=(3, 4), layout=layout)),
    ):
        assert d2l.comp_conv2d(layer, X).shape == shape


def test_comp_conv2d_takes_any_callable() -> None:
    assert_array_equal(d2l.comp_conv2d(lambda x: 2 * x, X33), 2 * X33)
    assert_array_equal(d2l.comp_conv2d(nn.MaxPool2D(2, 1), X33), [[4, 5], [7, 8]])


def test_cells_21_22_multi_in() -> None:
    X, K = np.stack([X33, X33 + 1]), np.stack([K22, K22 + 1])
    same(d2l.corr2d_multi_in(X, K), [[56, 72], [104, 120]])


def test_cells_23_25_multi_in_out() -> None:
    X, K = np.stack([X33, X33 + 1]), np.stack([K22, K22 + 1])
    K = np.stack((K, K + 1, K + 2), 0)
    assert K.shape == (3, 2, 2, 2)
    expected = [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]
    same(d2l.corr2d_multi_in_out(X, K), expected)


def test_cells_26_27_one_by_one() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 3, 3)).astype(np.float32)
    K = rng.normal(size=(2, 3, 1, 1)).astype(np.float32)
    Y1 = d2l.corr2d_multi_in_out_1x1(X, K)
    Y2 = d2l.corr2d_multi_in_out(X, K)
    assert np.abs(Y1 - Y2).sum() < 1e-6
    product = (K.reshape(2, 3) @ X.reshape(3, 9)).reshape(2, 3, 3)
    assert np.abs(Y1 - product).sum() < 1e-5
    assert_array_equal(d2l.corr2d_multi_in_out_1x1(X, K.reshape(2, 3)), Y1)


def test_cells_28_30_pooling() -> None:
    same(d2l.pool2d(X33, (2, 2)), [[4, 5], [7, 8]])
    same(d2l.pool2d(X33, (2, 2), "avg"), [[2, 3], [5, 6]])
    same(d2l.pool2d(X33, (2, 3), mode="max"), [[5], [8]])
    with pytest.raises(ValueError, match="mode must be 'max' or 'avg', not 'min'"):
        d2l.pool2d(X33, (2, 2), "min")


def test_cells_31_34_pooling_with_padding_and_stride() -> None:
    X = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    same(nn.MaxPool2D(pool_size=[3, 3], layout="NHWC")(X), [[[[10]]]])
    expected = np.array([[5, 7], [13, 15]]).reshape(1, 2, 2, 1)
    padded = np.pad(X, [[0, 0], [1, 0], [1, 0], [0, 0]])
    pool2d = nn.MaxPool2D(pool_size=[3, 3], padding="valid", strides=2, layout="NHWC")
    same(pool2d(padded), expected)
    pool2d = nn.MaxPool2D([3, 3], 2, padding=((1, 0), (1, 0)), layout="NHWC")
    same(pool2d(X), expected)
    padded = np.pad(X, [[0, 0], [0, 0], [1, 1], [0, 0]])
    pool2d = nn.MaxPool2D(pool_size=[2, 3], padding="valid", strides=(2, 3), layout="NHWC")
    same(pool2d(padded), expected)
    pool2d = nn.MaxPool2D([2, 3], padding=(0, 1), layout="NHWC")
    same(pool2d(X), expected)


def test_cells_35_36_pooling_of_channels() -> None:
    X = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    X = np.concatenate([X, X + 1], 3)
    padded = np.pad(X, [[0, 0], [1, 0], [1, 0], [0, 0]])
    pool2d = nn.MaxPool2D(pool_size=[3, 3], padding="valid", strides=2, layout="NHWC")
    same(pool2d(padded), [[[[5, 6], [7, 8]], [[13, 14], [15, 16]]]])


def test_integers_are_taken_as_float64() -> None:
    same(d2l.corr2d(X33.astype(int), K22.astype(np.uint8)), [[19, 25], [37, 43]], np.float64)
    same(d2l.pool2d(X33.astype(int), (2, 2), "avg"), [[2, 3], [5, 6]], np.float64)


def test_wrong_dimensions_are_named() -> None:
    with pytest.raises(ValueError, match="X must have 2 dimensions, not 3"):
        d2l.corr2d(X33[None], K22)
    with pytest.raises(ValueError, match="K must have 4 dimensions, not 3"):
        d2l.corr2d_multi_in_out(X33[None], K22[None])
    with pytest.raises(ValueError):
        d2l.corr2d(K22, X33)
    with pytest.raises(ValueError):
        d2l.corr2d_multi_in(X33[None], np.stack([K22, K22]))
    with pytest.raises(TypeError, match="numbers"):
        d2l.corr2d([["a", "b"]], K22)
