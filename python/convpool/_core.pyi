"""Types of the compiled module; ``conv.py`` and ``pool.py`` name the arguments."""

from collections.abc import Sequence
from typing import Literal, final, overload

from numpy.typing import ArrayLike, DTypeLike

from convpool._typing import Array, Padding, Pair

__version__: str

def build_config() -> dict[str, str | list[str]]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def set_scoped_num_threads(n: int | None, /) -> int | None: ...

@final
class PackedWeight: ...

@final
class TileTransform:
    """Of contiguous float64; `csrc/tile_transform.hpp` says how spectra are laid out."""

    def __init__(self, height: int, width: int, /) -> None: ...
    @property
    def spectrum_size(self) -> int: ...
    def forward(self, cells: Array, spectra: Array, /) -> None: ...
    def inverse(self, spectra: Array, cells: Array, /) -> None: ...
    def multiply(
        self,
        spectra: Array,
        kernels: Array,
        accumulate: bool,
        products: Array,
        energies: Array,
        /,
    ) -> None: ...

def pack_weight(weight: ArrayLike, groups: int, dtype: DTypeLike | None, /) -> PackedWeight: ...
def conv2d(
    x: ArrayLike,
    weight: ArrayLike | PackedWeight,
    bias: ArrayLike | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    precision: str,
    algorithm: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def conv2d_transpose(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Pair,
    padding: Padding,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    layout: str,
    dtype: DTypeLike | None,
    precision: str,
    algorithm: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def conv2d_grad_input(
    dy: ArrayLike,
    weight: ArrayLike,
    input_shape: Sequence[int],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    precision: str,
    algorithm: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def conv2d_grad_weight(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    precision: str,
    algorithm: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def conv2d_grad_bias(
    dy: ArrayLike, layout: str, dtype: DTypeLike | None, threads: int | None, out: Array | None, /
) -> Array: ...
def im2col(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def col2im(
    cols: ArrayLike,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    pad_mode: str,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def conv2d_output_shape(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    layout: str,
    /,
) -> tuple[int, ...]: ...
def explain_conv2d(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    layout: str,
    dtype: DTypeLike | None,
    precision: str,
    algorithm: str,
    threads: int | None,
    /,
) -> tuple[str, str, tuple[int, int], int, int, tuple[int, ...], str]: ...
@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: Literal[False],
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: bool,
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array | tuple[Array, Array]: ...
@overload
def min_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: Literal[False],
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
@overload
def min_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: bool,
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array | tuple[Array, Array]: ...
@overload
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: Pair,
    return_indices: Literal[False],
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
@overload
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: Pair,
    return_indices: bool,
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array | tuple[Array, Array]: ...
def max_pool2d_grad(
    dy: ArrayLike,
    indices: ArrayLike,
    input_shape: Sequence[int],
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def max_unpool2d(
    y: ArrayLike,
    indices: ArrayLike,
    output_shape: Sequence[int],
    layout: str,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def avg_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    dilation: Pair,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def avg_pool2d_grad(
    dy: ArrayLike,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    dilation: Pair,
    pad_mode: str,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def sum_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    ceil_mode: bool,
    dilation: Pair,
    pad_mode: str,
    pad_value: complex,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def lp_pool2d(
    x: ArrayLike,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None,
    ceil_mode: bool,
    padding: Padding,
    dilation: Pair,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def adaptive_avg_pool2d(
    x: ArrayLike,
    output_size: Pair,
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def adaptive_avg_pool2d_grad(
    dy: ArrayLike,
    input_shape: Sequence[int],
    layout: str,
    dtype: DTypeLike | None,
    threads: int | None,
    out: Array | None,
    /,
) -> Array: ...
def pool2d_output_shape(
    x_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    layout: str,
    /,
) -> tuple[int, ...]: ...
