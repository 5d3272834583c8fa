"""Layers: gradients against finite differences, Keras' conventions, SGD, order of calls."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from convpool import _core, nn
from convpool._typing import Array


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def slope(function: Callable[[], float], array: Array) -> Array:
    """Central differences of a function with respect to every number of an array."""
    result = np.empty_like(array)
    for at in np.ndindex(array.shape):
        before = array[at]
        array[at] = before + 1e-3
        above = function()
        array[at] = before - 1e-3
        result[at] = (above - function()) / 2e-3
        array[at] = before
    return result


LAYERS: dict[str, Callable[[], nn.Layer]] = {
    "conv": lambda: nn.Conv2D(3, 2, dtype=float, seed=1),
    "conv same, stride": lambda: nn.Conv2D(2, (3, 2), 2, "same", dtype=float, seed=1),
    "conv dilation": lambda: nn.Conv2D(2, 2, dilation_rate=(2, 1), dtype=float, seed=1),
    "conv groups": lambda: nn.Conv2D(4, 3, padding=1, groups=2, dtype=float, seed=1),
    "conv no bias": lambda: nn.Conv2D(2, 1, use_bias=False, dtype=float, seed=1),
    "conv sides": lambda: nn.Conv2D(1, 3, padding=((1, 0), (0, 2)), dtype=float, seed=1),
    "conv NHWC": lambda: nn.Conv2D(3, 2, layout="NHWC", dtype=float, seed=1),
    "max": lambda: nn.MaxPool2D(),
    "max overlap": lambda: nn.MaxPool2D(3, 1, "same"),
    "max NHWC": lambda: nn.MaxPool2D((2, 1), 2, layout="NHWC"),
    "avg": lambda: nn.AvgPool2D(),
    "avg overlap": lambda: nn.AvgPool2D(3, 2, "same"),
    "avg NHWC": lambda: nn.AvgPool2D((1, 2), 1, layout="NHWC"),
}


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name: str, batch: bool) -> None:
    layer = LAYERS[name]()
    x = normal(2, 4, 5, 4) if batch else normal(4, 5, 4)
    dy = normal(*layer(x).shape, seed=2)

    def total() -> float:
        return float((layer.forward(x) * dy).sum())

    dx = layer.backward(dy)
    assert dx.shape == x.shape
    assert_allclose(dx, slope(total, x), atol=1e-9)
    assert layer.grads.keys() == layer.params.keys()
    for key, parameter in layer.params.items():
        assert_allclose(layer.grads[key], slope(total, parameter), atol=1e-9)


@pytest.mark.parametrize("kind", ["conv", "max", "avg"])
def test_layouts_agree(kind: str) -> None:
    def build(layout: Any) -> nn.Layer:
        if kind == "conv":
            return nn.Conv2D(4, 3, 2, "same", seed=3, layout=layout)
        return (nn.MaxPool2D if kind == "max" else nn.AvgPool2D)(3, 2, "same", layout=layout)

    nchw, nhwc = build("NCHW"), build("NHWC")
    x = normal(2, 3, 7, 8).astype(np.float32)
    y = nchw(x)
    assert_allclose(nhwc(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), y, rtol=1e-5)
    dx = nhwc.backward(np.ones_like(y).transpose(0, 2, 3, 1))
    assert_allclose(dx.transpose(0, 3, 1, 2), nchw.backward(np.ones_like(y)), rtol=1e-5)
    assert nhwc.params.keys() == nchw.params.keys()


def test_conv_is_built_by_its_first_call() -> None:
    layer = nn.Conv2D(8, (3, 5), groups=2, seed=0)
    assert layer.params == {}
    assert layer.grads == {}
    y = layer(normal(2, 6, 9, 9))
    assert y.dtype == np.float32
    weight, bias = layer.params["weight"], layer.params["bias"]
    assert weight.shape == (8, 3, 3, 5)
    assert weight.dtype == bias.dtype == np.float32
    limit = np.sqrt(6 / ((3 + 8) * 15))
    assert 0.9 * limit < np.abs(weight).max() <= limit
    assert_array_equal(bias, np.zeros(8))
    layer(normal(1, 6, 20, 20))
    assert layer.params["weight"] is weight
    same = nn.Conv2D(8, (3, 5), groups=2, seed=0)
    same.build((2, 6, 9, 9))
    assert_array_equal(same.params["weight"], weight)


def test_conv_is_conv2d() -> None:
    layer = nn.Conv2D(4, 3, (2, 1), "same", dilation_rate=2, groups=2, dtype=float, seed=0)
    x = normal(2, 4, 9, 9)
    y = layer(x)
    layer.params["bias"] = normal(4, seed=1)
    expected = convpool.conv2d(
        x, layer.params["weight"], layer.params["bias"], (2, 1), "same", 2, 2
    )
    assert_array_equal(layer(x), expected)
    assert y.shape == expected.shape


def test_a_failed_call_builds_nothing() -> None:
    layer = nn.Conv2D(4, 3, groups=2)
    with pytest.raises(ValueError, match="groups"):
        layer(normal(1, 3, 8, 8))
    with pytest.raises(ValueError):
        layer(normal(1, 4, 2, 2))
    assert layer.params == {}
    assert layer(normal(1, 4, 8, 8)).shape == (1, 4, 6, 6)


def test_integers_are_taken_as_floats() -> None:
    x = np.arange(16).reshape(1, 1, 4, 4)
    assert nn.Conv2D(1, 3)(x).dtype == np.float32
    assert_array_equal(nn.MaxPool2D(2)(x)[0, 0], [[5, 7], [13, 15]])
    assert_array_equal(nn.AvgPool2D(2)(x)[0, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_average_leaves_padding_out() -> None:
    # As Keras: means of the cells inside the image, here of ones.
    assert_array_equal(nn.AvgPool2D(3, 2, "same")(np.ones((1, 5, 5))), np.ones((1, 3, 3)))


@pytest.mark.parametrize("layer", [nn.Conv2D(1, 2), nn.MaxPool2D(), nn.AvgPool2D()])
def test_backward_needs_forward(layer: nn.Layer) -> None:
    with pytest.raises(RuntimeError, match=f"{type(layer).__name__}.backward needs a call"):
        layer.backward(np.ones((1, 1, 2, 2)))


@pytest.mark.parametrize("layer", [nn.Conv2D(1, 2), nn.MaxPool2D(), nn.AvgPool2D()])
def test_backward_checks_the_shape(layer: nn.Layer) -> None:
    layer(np.ones((1, 1, 6, 6)))
    with pytest.raises(ValueError):
        layer.backward(np.ones((1, 1, 9, 9)))


@pytest.mark.parametrize("kernel_size", [1.5, (1, 2, 3), "3", None])
def test_kernel_size_is_checked_at_once(kernel_size: Any) -> None:
    with pytest.raises(TypeError, match="kernel_size must be an integer or"):
        nn.Conv2D(1, kernel_size)


@pytest.mark.parametrize("name", LAYERS)
def test_frozen_layers_give_the_same_bits(name: str) -> None:
    layer = LAYERS[name]()
    x = normal(2, 4, 5, 4)
    y = layer(x)
    layer.freeze()
    for _ in range(2):
        assert_array_equal(layer(x), y)
        assert_array_equal(layer(x[:1]), y[:1])
    with pytest.raises(RuntimeError, match="is frozen and keeps no input; call unfreeze"):
        layer.backward(y)
    layer.unfreeze()
    with pytest.raises(RuntimeError, match="needs a call"):
        layer.backward(y)
    assert_array_equal(layer(x), y)
    assert layer.backward(y).shape == x.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 4])
def test_frozen_layer_packs_once(groups: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2D(8, 3, padding="same", groups=groups, dtype=dtype, seed=0)
    layer.freeze()  # before there are parameters
    packed = []
    pack = _core.pack_weight
    monkeypatch.setattr(_core, "pack_weight", lambda *args: packed.append(1) or pack(*args))
    x = normal(1, 8, 30, 30).astype(dtype)
    y = layer(x)
    assert_array_equal(layer(x), y)
    assert len(packed) == 1
    weight, bias = layer.params["weight"], layer.params["bias"]
    assert_array_equal(y, convpool.conv2d(x, weight, bias, 1, "same", 1, groups))


def test_results_of_a_frozen_layer_belong_to_its_parameters() -> None:
    """Whatever happens to the arrays that it was given."""
    layer = nn.Conv2D(4, 3, dtype=float, seed=0)
    x = normal(1, 2, 9, 9)
    layer(x)
    held = layer.params["weight"]
    view = held[:1]
    layer.freeze()
    held += 1
    view += 1

    def check() -> None:
        params = layer.params
        expected = convpool.conv2d(x, params["weight"], params["bias"], layer.strides)
        assert_array_equal(layer(x), expected)

    check()
    for name in ("weight", "bias"):
        with pytest.raises(ValueError, match="read-only"):
            layer.params[name] += 1
    check()
    given = normal(4, 2, 3, 3, seed=5)
    part = given[1:]
    layer.params["weight"] = given
    layer.params["bias"] = np.arange(4.0)
    check()
    part += 1
    given[:] = 0
    check()
    layer.params["weight"] = normal(4, 2, 3, 3, seed=6)
    layer.strides = 2
    check()
    for copy in (deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert copy.frozen
        assert_array_equal(copy(x), layer(x))
    layer.unfreeze()
    layer.params["weight"] += 1
    check()


def test_inference_freezes_for_a_block() -> None:
    layers: list[nn.Layer] = [nn.Conv2D(2, 3, seed=0), nn.MaxPool2D(2), nn.Conv2D(2, 2, seed=1)]
    layers[2].freeze()
    y = x = normal(1, 1, 8, 8)
    for layer in layers:
        y = layer(y)
    with pytest.raises(KeyError), nn.inference(layers):
        assert all(layer.frozen for layer in layers)
        z = x
        for layer in layers:
            z = layer(z)
        assert_array_equal(z, y)
        raise KeyError
    assert [layer.frozen for layer in layers] == [False, False, True]
    layers[0].params["weight"] += 1


def test_sgd_needs_new_gradients_after_freezing() -> None:
    layer = nn.Conv2D(1, 2, seed=0)
    layer.backward(np.ones_like(layer(normal(1, 1, 4, 4))))
    layer.freeze()
    with pytest.raises(RuntimeError, match="has no gradients"):
        nn.SGD().step([layer])


def test_sgd_follows_its_definition() -> None:
    layer = nn.Conv2D(2, 2, dtype=float, seed=0)
    x, dy = normal(1, 1, 3, 3), normal(1, 2, 2, 2)
    optimizer = nn.SGD(0.1, momentum=0.5)
    layer(x)
    expected = {name: value.copy() for name, value in layer.params.items()}
    velocity = {name: np.zeros_like(value) for name, value in expected.items()}
    for _ in range(3):
        layer(x)
        layer.backward(dy)
        held = layer.params["weight"]
        before = held.copy()
        optimizer.step([layer, nn.MaxPool2D()])
        assert_array_equal(held, before)
        for name, gradient in layer.grads.items():
            velocity[name] = 0.5 * velocity[name] - 0.1 * gradient
            expected[name] += velocity[name]
            assert_allclose(layer.params[name], expected[name], rtol=1e-12)


def test_sgd_keeps_the_dtype() -> None:
    layer = nn.Conv2D(2, 2, seed=0)
    layer.backward(np.ones_like(layer(normal(1, 1, 3, 3))))
    nn.SGD(0.1, 0.9).step([layer])
    assert {value.dtype for value in layer.params.values()} == {np.dtype(np.float32)}


def test_sgd_needs_gradients_of_all_layers() -> None:
    first, second = nn.Conv2D(1, 2, seed=0), nn.Conv2D(1, 2, seed=0)
    first.backward(np.ones_like(first(normal(1, 1, 4, 4))))
    second(normal(1, 1, 4, 4))
    weight = first.params["weight"]
    with pytest.raises(RuntimeError, match=r"layer 1 \(Conv2D\) has no gradients"):
        nn.SGD().step([first, second])
    assert first.params["weight"] is weight


@pytest.mark.parametrize(
    "arguments", [{"learning_rate": 0}, {"learning_rate": -1}, {"momentum": 1}, {"momentum": -0.1}]
)
def test_sgd_checks_its_numbers(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        nn.SGD(**arguments)


def test_a_network_learns() -> None:
    """Two convolutions and a pool learn to tell vertical from horizontal bars."""
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=(40, 1, 8, 8)).astype(np.float32)
    label = np.arange(40) % 2
    for image, vertical in zip(x[:, 0], label, strict=True):
        image[(slice(None), rng.integers(8)) if vertical else (rng.integers(8), slice(None))] += 1
    target = np.where(label, 1.0, -1.0).astype(np.float32)
    layers: list[nn.Layer] = [
        nn.Conv2D(4, 3, seed=1), nn.MaxPool2D(2), nn.Conv2D(1, 3, seed=2),
    ]  # fmt: skip
    optimizer = nn.SGD(0.05, momentum=0.9)
    losses = []
    for _ in range(60):
        y = x
        for layer in layers:
            y = layer(y)
        error = y[:, 0, 0, 0] - target
        losses.append(float((error**2).mean()))
        dy = (2 * error / len(x)).reshape(y.shape)
        for layer in reversed(layers):
            dy = layer.backward(dy)
        optimizer.step(layers)
    assert losses[-1] < 0.05 * losses[0]
