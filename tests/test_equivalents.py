"""The table in ``docs/coming-from.md``, against PyTorch, SciPy and OpenCV where installed."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import convpool
from cases import normal
from convpool._typing import Array

X, KERNELS = (
    normal((9, 11), np.float64),
    [
        normal((3, 3), np.float64, seed=1),
        normal((4, 2), np.float64, seed=2),
    ],
)
every_kernel = pytest.mark.parametrize("k", KERNELS, ids=["odd", "even"])


def same(ours: Array, theirs: Any) -> None:
    """Compare but for rounding."""
    assert_allclose(np.squeeze(ours), np.squeeze(np.asarray(theirs)), rtol=1e-9, atol=1e-9)


def correlate(k: Array, **kwargs: Any) -> Array:
    """Correlate one image with one kernel."""
    return convpool.conv2d(X[None], k[None, None], **kwargs)


@every_kernel
def test_scipy_signal(k: Array) -> None:
    signal = pytest.importorskip("scipy.signal")
    same(correlate(k), signal.correlate2d(X, k, "valid"))
    same(correlate(k, padding="full"), signal.correlate2d(X, k))
    same(correlate(k[::-1, ::-1], padding="full"), signal.convolve2d(X, k))
    same(correlate(k, padding="same", pad_mode="wrap"), signal.correlate2d(X, k, "same", "wrap"))
    same(
        correlate(k, padding="same", pad_mode="symmetric"), signal.correlate2d(X, k, "same", "symm")
    )


@pytest.mark.parametrize(
    ("mode", "name", "border"),
    [
        ("reflect", "mirror", "BORDER_REFLECT_101"),
        ("symmetric", "reflect", "BORDER_REFLECT"),
        ("edge", "nearest", "BORDER_REPLICATE"),
        ("constant", "constant", "BORDER_CONSTANT"),
        ("wrap", "wrap", None),
        ("wrap", "grid-wrap", None),
    ],
)
@every_kernel
@pytest.mark.parametrize("library", ["scipy.ndimage", "cv2"])
def test_borders(library: str, k: Array, mode: Any, name: str, border: str | None) -> None:
    peer = pytest.importorskip(library)
    ours = correlate(k, padding="same_lower", pad_mode=mode)
    if library == "scipy.ndimage":
        same(ours, peer.correlate(X, k, mode=name))
    elif border is not None:
        same(ours, peer.filter2D(X, -1, k, borderType=getattr(peer, border)))


def test_filters() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    same(convpool.max_pool2d(X[None], 3, 1, 1), ndimage.maximum_filter(X, 3))
    same(convpool.min_pool2d(X[None], 3, 1, 1), ndimage.minimum_filter(X, 3))
    average = convpool.avg_pool2d(X[None], 3, 1, 1, pad_mode="symmetric")
    same(average, ndimage.uniform_filter(X, 3))


def test_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    same(convpool.max_pool2d(X[None], 3, 1, 1), cv2.dilate(X, np.ones((3, 3))))
    same(convpool.min_pool2d(X[None], 3, 1, 1), cv2.erode(X, np.ones((3, 3))))
    same(convpool.avg_pool2d(X[None], 3, 1, 1, pad_mode="reflect"), cv2.blur(X, (3, 3)))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    functional, tensor = torch.nn.functional, torch.tensor
    x, w = normal((2, 4, 8, 9), np.float64), normal((6, 4, 3, 3), np.float64, seed=1)
    y = convpool.conv2d(x, w)
    circular = functional.pad(tensor(x), 4 * (1,), "circular")
    same(
        convpool.conv2d(x, w, padding="same", pad_mode="wrap"),
        functional.conv2d(circular, tensor(w)),
    )
    same(
        convpool.conv2d_grad_input(y, w, x.shape),
        torch.nn.grad.conv2d_input(x.shape, tensor(w), tensor(y)),
    )
    same(
        convpool.conv2d_grad_weight(y, x, 3),
        torch.nn.grad.conv2d_weight(tensor(x), w.shape, tensor(y)),
    )
    cols = convpool.im2col(x, 3)
    same(cols, functional.unfold(tensor(x), 3))
    same(convpool.col2im(cols, x.shape, 3), functional.fold(tensor(cols), x.shape[2:], 3))
    v, b = normal((4, 5, 3, 3), np.float64, seed=2), normal((5,), np.float64)
    theirs = functional.conv_transpose2d(tensor(x), tensor(v), tensor(b), 2, 1, 1)
    same(convpool.conv2d_transpose(x, v, b, 2, 1, 1), theirs)


def test_kernels_of_keras() -> None:
    """By the definition of the layers, since TensorFlow is no test requirement."""
    x, kernel = normal((1, 6, 7, 4), np.float64), normal((3, 2, 4, 5), np.float64, seed=1)
    y = convpool.conv2d(x, kernel.transpose(3, 2, 0, 1), layout="NHWC")
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(1, 2))
    same(y, np.einsum("nijcpq,pqco->nijo", patches, kernel))
    depthwise = normal((3, 2, 4, 3), np.float64, seed=2)
    weight = depthwise.transpose(2, 3, 0, 1).reshape(12, 1, 3, 2)
    y = convpool.conv2d(x, weight, groups=4, layout="NHWC")
    same(y, np.einsum("nijcpq,pqcm->nijcm", patches, depthwise).reshape(1, 4, 6, 12))
