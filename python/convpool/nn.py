"""Layers with Keras' argument names, for small networks without a framework.

A layer maps arrays forwards and gradients backwards; there is no tape. Call the layers in turn,
then ``backward`` in reverse order, then `SGD.step`:

>>> import numpy as np
>>> from convpool import nn
>>> layers = [nn.Conv2D(4, 3, seed=0), nn.MaxPool2D(2)]
>>> y = np.ones((1, 1, 8, 8))
>>> for layer in layers:
...     y = layer(y)
>>> y.shape
(1, 4, 3, 3)
>>> dy = np.ones_like(y)
>>> for layer in reversed(layers):
...     dy = layer.backward(dy)
>>> nn.SGD(0.1).step(layers)

For predictions alone, frozen layers pack their weights once and keep no inputs; see
`Layer.freeze`. Results have the same bits.

>>> with nn.inference(layers):
...     y = np.ones((1, 1, 8, 8))
...     for layer in layers:
...         y = layer(y)
>>> y.shape
(1, 4, 3, 3)

Unlike in Keras, channels come first unless ``layout="NHWC"`` is given, a weight is
``(C_out, C_in / groups, kh, kw)`` in both layouts, and `padding` also takes numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._arguments import as_float, as_pair, glorot_uniform
from convpool._typing import Array, Layout, Padding, Pair
from convpool.conv import (
    conv2d_grad_bias,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv2d_output_shape,
)
from convpool.pool import avg_pool2d, max_pool2d
from convpool.pool_grad import avg_pool2d_grad, max_pool2d_grad

__all__ = ["SGD", "AvgPool2D", "Conv2D", "Layer", "MaxPool2D", "inference"]


class Layer(ABC):
    """What all layers share.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        Parameters and, after `backward`, their gradients under the same names.
    frozen : bool
        Whether `freeze` was called last.
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.frozen = False
        self._input: Array | None = None

    def __call__(self, x: ArrayLike) -> Array:
        """Return ``forward(x)``."""
        return self.forward(x)

    @abstractmethod
    def forward(self, x: ArrayLike) -> Array:
        """Return the layer's output and keep what `backward` needs, without copying `x`."""

    @abstractmethod
    def backward(self, dy: ArrayLike) -> Array:
        """Return the gradient for the input of the last `forward`, given that for its output."""

    def freeze(self) -> None:
        """Prepare for many calls without `backward`, which raises a RuntimeError from now on.

        The layer packs its weight, keeps no input, and forgets its gradients. `params` become
        read-only copies, so that ``layer.params["weight"] += 1`` raises a ValueError; new arrays,
        as in ``layer.params["weight"] = weight``, are packed by the next call. The results always
        belong to `params`. Threads may share a frozen layer.
        """
        self.frozen = True
        self.grads = {}
        self._forget()
        for name, value in self.params.items():
            self.params[name] = _read_only(value)

    def unfreeze(self) -> None:
        """Make `params` writable and `backward` possible again, from the next call on."""
        self.frozen = False
        self._forget()
        for name, value in self.params.items():
            self.params[name] = value.copy()

    def _forget(self) -> None:
        """Drop what calls have kept."""
        self._input = None

    def _last_input(self) -> Array:
        if self.frozen:
            raise RuntimeError(
                f"{type(self).__name__} is frozen and keeps no input; "
                "call unfreeze and the layer before backward"
            )
        if self._input is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a call of the layer before")
        return self._input


def _read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


@contextmanager
def inference(layers: Iterable[Layer]) -> Iterator[None]:
    """Freeze layers inside a ``with`` block; those that were frozen before stay so.

    Parameters
    ----------
    layers : iterable of Layer
        See `Layer.freeze`. Their weights are packed again in each block, so that a program that
        only predicts is better off with `Layer.freeze`.
    """
    trained = [layer for layer in layers if not layer.frozen]
    for layer in trained:
        layer.freeze()
    try:
        yield
    finally:
        for layer in trained:
            layer.unfreeze()


class Conv2D(Layer):
    """Cross-correlation with learnable weight and bias, see `convpool.conv2d`.

    The first call draws the weight, once the number of input channels is known: Glorot uniform, as
    in Keras. The bias starts at zero.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size : int or ``(height, width)``
    strides, padding, dilation_rate, groups
        `stride`, `padding`, `dilation` and `groups` of `convpool.conv2d`.
    use_bias : bool
    layout : {"NCHW", "NHWC"}
    dtype : dtype
        float32 or float64, of the parameters and of the computation.
    seed : int, optional
        For the weight.

    Attributes
    ----------
    params, grads : dict
        ``"weight"`` and, with `use_bias`, ``"bias"``; empty until the first call.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = 1,
        padding: Padding = "valid",
        dilation_rate: Pair = 1,
        groups: int = 1,
        use_bias: bool = True,
        *,
        layout: Layout = "NCHW",
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.filters = filters
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.strides = strides
        self.padding = padding
        self.dilation_rate = dilation_rate
        self.groups = groups
        self.use_bias = use_bias
        self.layout = layout
        self.dtype = np.dtype(dtype)
        self._rng = np.random.default_rng(seed)
        self._packed: tuple[Array, _core.PackedWeight] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weight, which the next call makes again."""
        return {**self.__dict__, "_packed": None}

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Draw the parameters for inputs of this shape; the first call does it by itself."""
        c_in = input_shape[-1 if self.layout == "NHWC" else -3]
        shape = (self.filters, c_in // max(1, self.groups), *self.kernel_size)
        conv2d_output_shape(
            input_shape, shape, self.strides, self.padding, self.dilation_rate, self.groups,
            layout=self.layout,
        )  # fmt: skip
        self.params["weight"] = glorot_uniform(shape, self._rng).astype(self.dtype)
        if self.use_bias:
            self.params["bias"] = np.zeros(self.filters, self.dtype)

    def forward(self, x: ArrayLike) -> Array:
        """Return ``conv2d(x, weight, bias)``."""
        x = as_float("x", x)
        if not self.params:
            self.build(x.shape)
        y = _core.conv2d(
            x, self._packed_weight() if self.frozen else self.params["weight"],
            self.params.get("bias"), self.strides, self.padding, self.dilation_rate, self.groups,
            "constant", 0, self.layout, self.dtype, "highest", "auto", None, None,
        )  # fmt: skip
        if not self.frozen:
            self._input = x
        return y

    def freeze(self) -> None:
        """See `Layer.freeze`; the first call does it, if there are no parameters yet."""
        super().freeze()
        if self.params:
            self._packed_weight()

    def _forget(self) -> None:
        super()._forget()
        self._packed = None

    def _packed_weight(self) -> _core.PackedWeight:
        """Pack the weight, unless it is the array that was packed last."""
        weight, packed = self.params["weight"], self._packed
        if packed is None or packed[0] is not weight:
            # Copied, since views of the array may exist that could still be written to.
            weight = _read_only(weight)
            packed = weight, _core.pack_weight(weight, self.groups, self.dtype)
            self._packed = packed
            self.params["weight"] = weight
        return packed[1]

    def backward(self, dy: ArrayLike) -> Array:
        """Return the gradient of `x` and fill `grads`."""
        x = self._last_input()
        dy = as_float("dy", dy)
        dx = conv2d_grad_input(
            dy, self.params["weight"], x.shape,
            self.strides, self.padding, self.dilation_rate, self.groups,
            layout=self.layout, dtype=self.dtype,
        )  # fmt: skip
        self.grads["weight"] = conv2d_grad_weight(
            dy, x, self.kernel_size,
            self.strides, self.padding, self.dilation_rate, self.groups,
            layout=self.layout, dtype=self.dtype,
        )  # fmt: skip
        if self.use_bias:
            self.grads["bias"] = conv2d_grad_bias(dy, layout=self.layout, dtype=self.dtype)
        return dx


class MaxPool2D(Layer):
    """Maximum of every window, see `convpool.max_pool2d`.

    Parameters
    ----------
    pool_size : int or ``(height, width)``
    strides : int or ``(height, width)``, optional
        By default `pool_size`.
    padding : int, ``(height, width)``, ``((top, bottom), (left, right))`` or str
    layout : {"NCHW", "NHWC"}
    """

    def __init__(
        self,
        pool_size: Pair = 2,
        strides: Pair | None = None,
        padding: Padding = "valid",
        *,
        layout: Layout = "NCHW",
    ) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.strides = strides
        self.padding = padding
        self.layout = layout
        self._indices: Array | None = None

    def forward(self, x: ArrayLike) -> Array:
        """Return ``max_pool2d(x, pool_size)``."""
        x = as_float("x", x)
        if self.frozen:
            return max_pool2d(x, self.pool_size, self.strides, self.padding, layout=self.layout)
        y, self._indices = max_pool2d(
            x, self.pool_size, self.strides, self.padding, return_indices=True, layout=self.layout
        )
        self._input = x
        return y

    def _forget(self) -> None:
        super()._forget()
        self._indices = None

    def backward(self, dy: ArrayLike) -> Array:
        """Return the gradient of `x`."""
        x = self._last_input()
        assert self._indices is not None
        return max_pool2d_grad(as_float("dy", dy), self._indices, x.shape, layout=self.layout)


class AvgPool2D(Layer):
    """Mean of every window, see `convpool.avg_pool2d`; padded cells do not count.

    Parameters
    ----------
    pool_size, strides, padding, layout
        See `MaxPool2D`.
    """

    def __init__(
        self,
        pool_size: Pair = 2,
        strides: Pair | None = None,
        padding: Padding = "valid",
        *,
        layout: Layout = "NCHW",
    ) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.strides = strides
        self.padding = padding
        self.layout = layout

    def forward(self, x: ArrayLike) -> Array:
        """Return ``avg_pool2d(x, pool_size)``."""
        x = as_float("x", x)
        y = avg_pool2d(
            x, self.pool_size, self.strides, self.padding,
            count_include_pad=False, layout=self.layout,
        )  # fmt: skip
        if not self.frozen:
            self._input = x
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """Return the gradient of `x`."""
        return avg_pool2d_grad(
            as_float("dy", dy), self._last_input().shape,
            self.pool_size, self.strides, self.padding,
            count_include_pad=False, layout=self.layout,
        )  # fmt: skip


class SGD:
    """Stochastic gradient descent with a heavy ball.

    Each step is ``velocity = momentum * velocity - learning_rate * gradient``, which is added to
    the parameter.

    Parameters
    ----------
    learning_rate : float
        Positive.
    momentum : float
        At least 0, less than 1.

    Notes
    -----
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, not {learning_rate}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, not {momentum}")
        self.learning_rate = learning_rate
        self.momentum = momentum
        self._velocities: WeakKeyDictionary[Layer, dict[str, Array]] = WeakKeyDictionary()

    def step(self, layers: Iterable[Layer]) -> None:
        """Move the parameters of all layers against the gradients of their last `backward`.

        Parameters become new arrays; those that `Layer.params` held before are left as they are.
        """
        layers = list(layers)
        for position, layer in enumerate(layers):
            if layer.params.keys() != layer.grads.keys():
                raise RuntimeError(
                    f"layer {position} ({type(layer).__name__}) has no gradients yet; "
                    "call its backward before step"
                )
        for layer in layers:
            velocities = self._velocities.setdefault(layer, {})
            for name, gradient in layer.grads.items():
                step = self.momentum * velocities.get(name, 0.0) - self.learning_rate * gradient
                velocities[name] = step
                layer.params[name] = layer.params[name] + step
