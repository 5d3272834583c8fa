"""The convolution that NumPy is missing.

Two-dimensional cross-correlation, multi-channel convolution and pooling with padding, stride,
dilation and groups, forward and backward, on plain arrays.

Modules in other dialects: `convpool.d2l` (the functions of *Dive into Deep Learning*),
`convpool.nn` (layers with Keras' argument names), `convpool.reference` (the NumPy-only
specification in float64),
`convpool.signal` (SciPy's `convolve2d` and `correlate2d`),
`convpool.ndimage` (SciPy's filters for two-dimensional arrays).
"""

from convpool import adaptive, columns, config, conv, pool, pool_grad, prepared
from convpool._core import __version__
from convpool.adaptive import *
from convpool.columns import *
from convpool.config import (
    get_num_threads,
    num_threads,
    register_threadpoolctl,
    set_num_threads,
    show_config,
)
from convpool.conv import *
from convpool.learning import DivergenceError, LearnedKernel, learn_kernel
from convpool.pool import *
from convpool.pool_grad import *
from convpool.prepared import *

__all__ = [
    "DivergenceError",
    "LearnedKernel",
    "__version__",
    "get_num_threads",
    "learn_kernel",
    "num_threads",
    "register_threadpoolctl",
    "set_num_threads",
    "show_config",
]
__all__ += adaptive.__all__
__all__ += columns.__all__
__all__ += conv.__all__
__all__ += pool.__all__
__all__ += pool_grad.__all__
__all__ += prepared.__all__

config.register_if_imported()
