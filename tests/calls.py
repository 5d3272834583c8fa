"""For each public function a call that works, so that a test can change some of its arguments."""

from collections.abc import Callable
from typing import Any

import convpool
from cases import normal

X = normal((2, 4, 7, 6))
W = normal((6, 4, 3, 3), seed=1)
DY = normal((2, 6, 5, 4), seed=2)
COLS = normal((2, 36, 20), seed=3)
POOLED, INDICES = convpool.max_pool2d(X, 2, return_indices=True)

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "conv2d": (convpool.conv2d, {"x": X, "weight": W}),
    "conv2d_transpose": (convpool.conv2d_transpose, {"x": DY, "weight": W}),
    "conv2d_grad_input": (
        convpool.conv2d_grad_input,
        {"dy": DY, "weight": W, "input_shape": X.shape},
    ),
    "conv2d_grad_weight": (convpool.conv2d_grad_weight, {"dy": DY, "x": X, "kernel_size": 3}),
    "conv2d_grad_bias": (convpool.conv2d_grad_bias, {"dy": DY}),
    "im2col": (convpool.im2col, {"x": X, "kernel_size": 3}),
    "col2im": (convpool.col2im, {"cols": COLS, "input_shape": X.shape, "kernel_size": 3}),
    "max_pool2d": (convpool.max_pool2d, {"x": X, "kernel_size": 2}),
    "avg_pool2d": (convpool.avg_pool2d, {"x": X, "kernel_size": 2}),
    "max_pool2d_grad": (
        convpool.max_pool2d_grad,
        {"dy": POOLED, "indices": INDICES, "input_shape": X.shape},
    ),
    "avg_pool2d_grad": (
        convpool.avg_pool2d_grad,
        {"dy": POOLED, "input_shape": X.shape, "kernel_size": 2},
    ),
    "max_unpool2d": (
        convpool.max_unpool2d,
        {"y": POOLED, "indices": INDICES, "output_shape": X.shape},
    ),
    "conv2d_output_shape": (
        convpool.conv2d_output_shape,
        {"x_shape": X.shape, "weight_shape": W.shape},
    ),
    "explain_conv2d": (convpool.explain_conv2d, {"x_shape": X.shape, "weight_shape": W.shape}),
    "pool2d_output_shape": (convpool.pool2d_output_shape, {"x_shape": X.shape, "kernel_size": 2}),
}
SHAPES_ONLY = ("conv2d_output_shape", "explain_conv2d", "pool2d_output_shape")
WITH_OUT = [name for name in CALLS if name not in SHAPES_ONLY]
CONVOLUTIONS = [
    "conv2d",
    "conv2d_transpose",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_output_shape",
    "explain_conv2d",
]
WINDOWS = [*CONVOLUTIONS, "im2col", "col2im"]
POOLS = ["max_pool2d", "avg_pool2d", "avg_pool2d_grad", "pool2d_output_shape"]
KERNEL_SIZES = ["conv2d_grad_weight", "im2col", "col2im", *POOLS]


def call(name: str, **changed: Any) -> Any:
    """Call a function with its usual arguments, except those that are changed."""
    function, arguments = CALLS[name]
    return function(**{**arguments, **changed})
