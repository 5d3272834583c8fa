"""Names for the argument types that the public functions share."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = int | Sequence[int]
"""One number for both axes, or ``(height, width)``."""

Padding: TypeAlias = (
    int | Sequence[int] | Sequence[Sequence[int]] | Literal["valid", "same", "same_lower", "full"]
)
"""``n``, ``(height, width)``, ``((top, bottom), (left, right))`` or a rule."""

PadMode: TypeAlias = Literal["constant", "reflect", "symmetric", "edge", "wrap"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
Precision: TypeAlias = Literal["highest", "high", "medium"]
Algorithm: TypeAlias = Literal["auto", "direct", "im2col", "implicit_gemm", "winograd", "fft"]
