"""The loss that `learn_kernel` minimises, its gradient, and how strongly it can curve."""

from dataclasses import dataclass, replace

import numpy as np

from convpool._typing import Array, Layout, Padding, PadMode, Pair
from convpool.conv import conv2d, conv2d_grad_bias, conv2d_grad_weight

__all__ = ["LeastSquares"]

# Above this many weights per output channel the exact curvature would cost more than it saves.
_MOST_EXACT_WEIGHTS = 256
# Shifted copies of an image are held this many numbers at a time (16 MiB of float64).
_BLOCK_SIZE = 2**21


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """``sum((conv2d(x, weight, bias) - y)**2)`` as a function of weight and bias."""

    x: Array
    y: Array
    weight_shape: tuple[int, int, int, int]
    with_bias: bool
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    pad_mode: PadMode
    pad_value: float
    layout: Layout

    def select(self, examples: Array) -> "LeastSquares":
        """Return the loss over some of the examples."""
        return replace(self, x=self.x[examples], y=self.y[examples])

    def energy(self) -> float:
        """Return ``sum(y**2)``."""
        return _sum_of_squares(self.y)

    def loss(self, parameters: list[Array]) -> float:
        """Return the sum of squared errors for ``[weight]`` or ``[weight, bias]``."""
        return _sum_of_squares(self._error(parameters))

    def loss_and_gradient(self, parameters: list[Array]) -> tuple[float, list[Array]]:
        """Return the loss and its gradient with respect to each parameter."""
        error = self._error(parameters)
        gradient = [2.0 * self._grad_weight(error, self.x)]
        if self.with_bias:
            gradient.append(2.0 * conv2d_grad_bias(error, layout=self.layout))
        return _sum_of_squares(error), gradient

    def curvature(self, batch_size: int | None = None) -> float:
        """Bound the largest eigenvalue of the Hessian, of any batch if `batch_size` is given.

        The loss is quadratic. Its Hessian has one block for each output channel, twice the Gram
        matrix G of the windows of the channel's group (and of a constant 1 for the bias). Gram
        matrices of examples add up and are positive semi-definite, so a batch's largest
        eigenvalue exceeds neither that of all examples nor the sum of its members'.
        """
        total = np.zeros((self.groups, 1, 1))
        single = []
        for n in range(len(self.x)):
            gram = self._gram(self.x[n : n + 1].astype(np.float64))
            total = total + gram
            if batch_size is not None:
                single.append(_largest_eigenvalue(gram))
        bound = _largest_eigenvalue(total)
        if batch_size is not None:
            bound = min(bound, sum(sorted(single)[-batch_size:]))
        return 2.0 * bound

    def _gram(self, x: Array) -> Array:
        """Return each group's Gram matrix for one example.

        Row t is the weight gradient for the image that tap t alone would produce, which keeps to
        `conv2d`'s geometry without repeating it and never holds more than a block of such images.
        With too many taps the result is the matrix's trace, a bound for its eigenvalues.
        """
        c_in, kh, kw = self.weight_shape[1:]
        taps = c_in * kh * kw
        pixels = int(self.y[:1].size) // self.weight_shape[0]
        if taps > _MOST_EXACT_WEIGHTS:
            squares = replace(self, pad_value=self.pad_value**2)._conv2d(
                x * x, np.ones((self.groups, c_in, kh, kw))
            )
            trace = conv2d_grad_bias(squares, layout=self.layout)
            return (trace + self.with_bias * pixels).reshape(self.groups, 1, 1)
        size = taps + self.with_bias
        gram = np.full((self.groups, size, size), float(pixels))
        unit = np.eye(taps).reshape(taps, c_in, kh, kw)
        block = max(1, _BLOCK_SIZE // max(1, self.groups * pixels))
        for start in range(0, taps, block):
            part = unit[start : start + block]
            stop = start + len(part)
            planes = self._conv2d(x, np.tile(part, (self.groups, 1, 1, 1)))
            rows = self._grad_weight(planes, x)
            gram[:, start:stop, :taps] = rows.reshape(self.groups, len(part), taps)
            if self.with_bias:
                sums = conv2d_grad_bias(planes, layout=self.layout).reshape(self.groups, len(part))
                gram[:, start:stop, taps] = gram[:, taps, start:stop] = sums
        return gram

    def _error(self, parameters: list[Array]) -> Array:
        error = self._conv2d(self.x, *(p.astype(self.x.dtype) for p in parameters))
        error -= self.y
        return error

    def _conv2d(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        return conv2d(
            x, weight, bias, self.stride, self.padding, self.dilation, self.groups,
            pad_mode=self.pad_mode, pad_value=self.pad_value, layout=self.layout,
        )  # fmt: skip

    def _grad_weight(self, dy: Array, x: Array) -> Array:
        return conv2d_grad_weight(
            dy, x, self.weight_shape[2:], self.stride, self.padding, self.dilation, self.groups,
            pad_mode=self.pad_mode, pad_value=self.pad_value, layout=self.layout,
        )  # fmt: skip


def _sum_of_squares(array: Array) -> float:
    return float(np.square(array, dtype=np.float64).sum())


def _largest_eigenvalue(gram: Array) -> float:
    if not np.isfinite(gram).all():
        raise ValueError("x is too large: its sum of squares overflows float64; scale x and y")
    return float(np.linalg.eigvalsh(gram)[:, -1].max(initial=0.0))
