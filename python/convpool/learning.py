"""Learn a convolution's kernel from pairs of images, by stochastic gradient descent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from convpool._arguments import as_float, as_pair, glorot_uniform
from convpool._least_squares import LeastSquares
from convpool._typing import Array, Layout, Padding, PadMode, Pair
from convpool.conv import conv2d_output_shape

__all__ = ["DivergenceError", "LearnedKernel", "learn_kernel"]

Callback: TypeAlias = Callable[[int, float, Array], object]


@dataclass(frozen=True, eq=False)
class LearnedKernel:
    """What `learn_kernel` returns."""

    kernel: Array
    """``(C_out, C_in / groups, kh, kw)``, or ``(kh, kw)`` if `x` had two dimensions."""
    losses: Array
    """One float64 for each epoch, measured before the epoch's update."""
    bias: Array | None = None
    """``(C_out,)``, only with ``bias=True``."""


class DivergenceError(ArithmeticError):
    """`learn_kernel` was stopped because its loss grew instead of falling.

    Attributes
    ----------
    epoch : int
        In which epoch the loss passed all bounds, counted from 1.
    losses : list of float
        Up to that epoch.
    lr : float
        The learning rate that was used.
    suggested_lr : float
        One from the Lipschitz bound of the data, see `learn_kernel`.
    """

    def __init__(self, epoch: int, losses: list[float], lr: float, suggested_lr: float) -> None:
        super().__init__(epoch, losses, lr, suggested_lr)
        self.epoch = epoch
        self.losses = losses
        self.lr = lr
        self.suggested_lr = suggested_lr

    def __str__(self) -> str:
        return (
            f"learning diverges: with lr={self.lr:.3g} the loss went from {self.losses[0]:.4g} "
            f"to {self.losses[-1]:.4g} by epoch {self.epoch}; use a smaller rate, such as "
            f"lr={self.suggested_lr:g}"
        )


def learn_kernel(
    x: ArrayLike,
    y: ArrayLike,
    kernel_size: Pair,
    *,
    lr: float | Literal["auto"] = 3e-2,
    epochs: int = 10,
    bias: bool = False,
    batch_size: int | None = None,
    momentum: float = 0.0,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    pad_mode: PadMode = "constant",
    pad_value: float = 0,
    layout: Layout = "NCHW",
    initial: ArrayLike | None = None,
    seed: int | None = None,
    callback: Callback | None = None,
    verbose: bool = False,
) -> LearnedKernel:
    """Find the kernel that turns `x` into `y`, by gradient descent on the squared error.

    The loss is ``sum((conv2d(x, kernel, bias) - y)**2)`` over all examples, channels and pixels:
    a sum, not a mean, so the largest usable `lr` shrinks as the images grow.

    Parameters
    ----------
    x : array_like, ``(H, W)``, ``(C_in, H, W)`` or ``(N, C_in, H, W)``
        float32 or float64; integers are taken as float64.
    y : array_like
        What `conv2d` should make of `x`; as many dimensions as `x`, and the shape that
        `conv2d_output_shape` tells.
    kernel_size : int or ``(kh, kw)``
    lr : float or "auto"
        Learning rate: the step is ``lr`` times the gradient of the loss. ``"auto"`` computes from
        `x` a rate that cannot diverge, see Notes.
    epochs : int
        How often all examples are seen.
    bias : bool
        Learn a bias as well.
    batch_size : int, optional
        Examples for each update, in an order that is shuffled in every epoch; by default all.
    momentum : float
        Heavy ball: each step repeats this part of the step before; at least 0, less than 1.
    stride, padding, dilation, groups, pad_mode, pad_value, layout
        See `conv2d`.
    initial : array_like, optional
        The kernel to start with; by default Glorot uniform, as in Keras. A bias starts at zero.
    seed : int, optional
        For the initial kernel and the order of the examples.
    callback : callable, optional
        Called after each epoch as ``callback(epoch, loss, kernel)``; epochs count from 1, the
        loss is the one before the epoch's update, the kernel (a copy) the one after it.
    verbose : bool
        Print the loss of every second epoch, of every tenth part of the run if that is longer.

    Returns
    -------
    LearnedKernel

    Raises
    ------
    DivergenceError
        If the loss is not finite or exceeds ten times the larger of the first loss and
        ``sum(y**2)``.
    ValueError
        For shapes or numbers that do not fit, and for NaN or infinity in the data.
    TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    *Dive into Deep Learning*, section 6.2.4.

    **What "auto" promises.** The loss is quadratic; its Hessian is twice the Gram matrix of the
    windows of `x` (and of a constant 1 for the bias), and L, its largest eigenvalue, is the
    Lipschitz constant of the gradient. ``"auto"`` takes ``lr = 1/L``. Up to rounding, no step
    without momentum can then raise the loss, as for every ``lr <= 2/L`` (Bottou, Curtis and
    Nocedal, "Optimization methods for large-scale machine learning", 2018, section 4). With
    momentum the loss may rise on its way, but the iteration converges for every
    ``lr < 2*(1 + momentum)/L`` (Polyak, "Some methods of speeding up the convergence of iteration
    methods", 1964). L is exact up to 256 weights for each output channel; for more it is bounded
    by the trace. With `batch_size`, L bounds every possible batch: no step raises the loss of its
    own batch, and the kernel stays bounded. For mini-batches with momentum nothing is proven;
    a run that diverges is still stopped.

    **A photograph.** Neighbouring pixels are so alike that descent crawls: on a portrait of
    512 x 600 pixels the Hessian's condition number is 40 000 for a 5x5 kernel, and plain descent
    takes 200 000 epochs to come within 1e-3 of a blur. Convolutions commute, so the same kernel
    also leads from the differences of `x` to those of `y`, which are far less alike::

        def corners(image):
            return np.diff(np.diff(image, axis=0), axis=1)

        learn_kernel(corners(x), corners(y), 5, lr="auto", momentum=0.9, epochs=200)

    The portrait's condition number falls to 10, so that ``momentum=0.5, epochs=40`` is enough for
    1e-5 in half a second. What is shown here also suits smoother photographs (enlarged ones, say),
    with condition numbers up to a few hundred; a blurred one needs more of both.

    Differences lose any bias; ``(y - conv2d(x, kernel)).mean()`` finds it again. Where they cannot
    be taken (with a stride, or padding), subtract the mean of `x` from `x` and from `pad_value`,
    learn a bias, which comes out larger by ``mean * kernel.sum()``, and let a heavy ball roll for a
    thousand epochs:
    ``learn_kernel(x - x.mean(), y, 5, lr="auto", bias=True, momentum=0.985, epochs=1200)``.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> x = np.ones((6, 8))
    >>> x[:, 2:6] = 0
    >>> y = x[:, :-1] - x[:, 1:]
    >>> learned = convpool.learn_kernel(x, y, (1, 2), lr="auto", epochs=100, seed=0)
    >>> learned.kernel.round(3)
    array([[ 1., -1.]])
    """
    problem = _problem(
        x, y, kernel_size, bias,
        stride, padding, dilation, groups, pad_mode, pad_value, layout,
    )  # fmt: skip
    _check_numbers(lr, epochs, batch_size, momentum)
    rng = np.random.default_rng(seed)
    plane = np.ndim(x) == 2
    parameters = [_initial_weight(initial, problem.weight_shape, plane, rng)]
    if bias:
        parameters.append(np.zeros(problem.weight_shape[0]))
    if batch_size is not None and batch_size >= len(problem.x):
        batch_size = None
    rate = _safe_rate(problem, batch_size) if isinstance(lr, str) else float(lr)
    limit = 10 * _largest_expected_loss(problem, parameters)
    lines = max(2, -(-epochs // 10))
    losses: list[float] = []
    steps = [np.zeros_like(p) for p in parameters]

    def checked(epoch: int, loss: float) -> float:
        # Written so that NaN does not pass.
        if loss <= limit:
            return loss
        suggestion = _safe_rate(problem, batch_size)
        suggestion = suggestion if suggestion < rate else rate / 10
        raise DivergenceError(epoch, [*losses, loss], rate, float(f"{suggestion:.2g}"))

    for epoch in range(1, epochs + 1):
        loss = 0.0
        for batch in _batches(problem, batch_size, rng):
            with np.errstate(over="ignore", invalid="ignore"):
                batch_loss, gradient = batch.loss_and_gradient(parameters)
                loss = checked(epoch, loss + batch_loss)
                if not all(np.isfinite(g).all() for g in gradient):
                    raise _overflow(problem)
                steps = [momentum * s - rate * g for s, g in zip(steps, gradient, strict=True)]
                parameters = [p + s for p, s in zip(parameters, steps, strict=True)]
        losses.append(loss)
        if verbose and epoch % lines == 0:
            print(f"epoch {epoch}, loss {loss:.3f}")
        if callback is not None:
            callback(epoch, loss, _kernel(parameters, problem, plane))
    with np.errstate(over="ignore", invalid="ignore"):
        checked(epochs, problem.loss(parameters))
    learned_bias = parameters[1].astype(problem.x.dtype) if bias else None
    return LearnedKernel(_kernel(parameters, problem, plane), np.array(losses), learned_bias)


def _problem(
    x: ArrayLike,
    y: ArrayLike,
    kernel_size: Pair,
    bias: bool,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pad_mode: PadMode,
    pad_value: float,
    layout: Layout,
) -> LeastSquares:
    """Check the data and give it the four dimensions of `conv2d`."""
    x, y = as_float("x", x), as_float("y", y)
    if "c" in (x.dtype.kind, y.dtype.kind):
        raise NotImplementedError("learning from complex numbers is not implemented")
    if not (x.ndim == y.ndim and 2 <= x.ndim <= 4):
        raise ValueError(
            "x and y must both have 2, 3 or 4 dimensions, "
            f"not {x.ndim} and {y.ndim} (shapes {x.shape} and {y.shape})"
        )
    channel = -1 if layout == "NHWC" else -3
    axes = {2: (0, channel), 3: (0,), 4: ()}[x.ndim]
    x4, y4 = np.expand_dims(x, axes), np.expand_dims(y, axes)
    kh, kw = as_pair("kernel_size", kernel_size)
    c_in, c_out = x4.shape[channel], y4.shape[channel]
    weight_shape = (c_out, c_in // groups if groups > 0 else c_in, kh, kw)
    expected = conv2d_output_shape(
        x4.shape, weight_shape, stride, padding, dilation, groups, layout=layout
    )
    if y4.shape != expected:
        expected = tuple(np.delete(expected, axes).tolist())
        raise ValueError(
            f"y has shape {y.shape}, but conv2d makes {expected} "
            f"of x {x.shape} with kernel_size {kh, kw}"
        )
    for name, array in (("x", x), ("y", y)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity")
    dtype = np.result_type(x, y)
    return LeastSquares(
        np.ascontiguousarray(x4, dtype), np.ascontiguousarray(y4, dtype), weight_shape, bias,
        stride, padding, dilation, groups, pad_mode, pad_value, layout,
    )  # fmt: skip


def _check_numbers(lr: float | str, epochs: int, batch_size: int | None, momentum: float) -> None:
    if isinstance(lr, str):
        if lr != "auto":
            raise ValueError(f'lr must be a number or "auto", not {lr!r}')
    elif not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, not {lr}")
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, not {epochs}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and less than 1, not {momentum}")


def _initial_weight(
    initial: ArrayLike | None,
    shape: tuple[int, int, int, int],
    plane: bool,
    rng: "np.random.Generator",
) -> Array:
    if initial is None:
        return glorot_uniform(shape, rng)
    weight = as_float("initial", initial)
    expected = shape[2:] if plane else shape
    if weight.shape != expected:
        raise ValueError(f"initial has shape {weight.shape}, but the kernel has {expected}")
    return weight.astype(np.float64).reshape(shape)


def _safe_rate(problem: LeastSquares, batch_size: int | None) -> float:
    """Return 1/L; with ``L = 0`` the gradient is zero too and any rate is safe."""
    curvature = problem.curvature(batch_size)
    return 1 / curvature if curvature > 0 else 1.0


def _largest_expected_loss(problem: LeastSquares, parameters: list[Array]) -> float:
    """Return the larger of the first loss and that of a zero kernel."""
    with np.errstate(over="ignore", invalid="ignore"):
        loss = max(problem.loss(parameters), problem.energy())
    if not np.isfinite(loss):
        raise _overflow(problem)
    return loss


def _overflow(problem: LeastSquares) -> ValueError:
    return ValueError(
        f"loss or gradient overflows {problem.x.dtype}; divide x and y by a common number"
    )


def _batches(
    problem: LeastSquares, batch_size: int | None, rng: "np.random.Generator"
) -> Iterator[LeastSquares]:
    if batch_size is None:
        yield problem
        return
    order = rng.permutation(len(problem.x))
    for start in range(0, len(order), batch_size):
        yield problem.select(order[start : start + batch_size])


def _kernel(parameters: list[Array], problem: LeastSquares, plane: bool) -> Array:
    kernel = parameters[0].astype(problem.x.dtype)
    return kernel[0, 0] if plane else kernel
