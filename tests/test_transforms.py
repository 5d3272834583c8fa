"""Transforms of tiles against NumPy's; ``test_fft.py`` has the convolutions that they serve."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cases import normal
from convpool._core import TileTransform
from convpool._typing import Array

# Every factor first, in the middle and last; heights whose half fills whole vectors, or not.
HEIGHTS = [2, 4, 6, 8, 10, 12, 16, 18, 20, 30, 32, 50, 54, 64, 150, 162, 250, 256]
WIDTHS = [16, 32, 48, 64, 80, 96, 144, 240, 400]


def spectra_of(transform: TileTransform, cells: Array) -> Array:
    # What is not written would show.
    spectra = np.full((len(cells), transform.spectrum_size), np.nan)
    transform.forward(cells, spectra)
    return spectra


def correlated(cells: Array, kernels: Array) -> Array:
    """Correlate without end: each tile with its kernel."""
    products = np.fft.rfft2(cells) * np.conj(np.fft.rfft2(kernels))
    return np.asarray(np.fft.irfft2(products, cells.shape[-2:]))


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_products_of_spectra(height: int, width: int) -> None:
    transform = TileTransform(height, width)
    cells = normal((2, height, width), np.float64)
    kernels = normal((2, 3, height, width), np.float64, seed=1)
    spectra = spectra_of(transform, cells)
    kernel_spectra = spectra_of(transform, kernels.reshape(6, height, width))
    products, energies = np.full((6, transform.spectrum_size), np.nan), np.full(8, np.nan)
    transform.multiply(spectra, kernel_spectra, False, products, energies)
    assert_allclose(energies[:2], (spectra**2).sum(axis=1), rtol=1e-12)
    assert_allclose(energies[2:], (products**2).sum(axis=1), rtol=1e-12)
    # Half of a spectrum, twice, is not less than all of it.
    all_of_it = (cells**2).sum(axis=(1, 2)) * height * width
    assert (energies[:2] < 1.0001 * all_of_it).all()
    assert (energies[:2] > 0.4999 * all_of_it).all()

    transform.multiply(spectra, kernel_spectra, True, products, energies)
    y = np.full((6, height, width), np.nan)
    transform.inverse(products, y)
    expected = 2 * correlated(cells[:, None], kernels).reshape(y.shape)
    assert np.abs(y - expected).max() < 4e-15 * np.abs(expected).max()


def test_error_of_a_large_transform_is_that_of_few_operations() -> None:
    """Roots are rounded once: there and back lose no digit that a sum would not."""
    transform = TileTransform(2880, 2000)
    cells = normal((1, 2880, 2000), np.float64)
    back = np.empty_like(cells)
    transform.inverse(spectra_of(transform, cells), back)
    assert np.sqrt(np.mean((back - cells) ** 2)) < 6e-16


@pytest.mark.parametrize(
    "size", [(0, 16), (3, 16), (14, 16), (16, 24), (16, 112), (16, 0), (-2, 16)]
)
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be transformed"):
        TileTransform(*size)


def test_other_arrays_are_refused() -> None:
    transform = TileTransform(8, 16)
    cells, spectra = np.zeros((2, 8, 16)), np.zeros((2, transform.spectrum_size))
    read_only = spectra.copy()
    read_only.flags.writeable = False
    misaligned = np.zeros(cells.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(cells.shape)
    pairs: Any = [
        (misaligned, spectra, "cells"),
        (cells.astype(np.float32), spectra, "cells"),
        (cells[:, ::2], spectra, "cells"),
        (cells.ravel()[1:], spectra, "cells"),
        (cells, spectra[:1], "spectra"),
        (cells, read_only, "spectra"),
    ]
    for given, result, name in pairs:
        with pytest.raises(ValueError, match=name):
            transform.forward(given, result)
    with pytest.raises(ValueError, match="energies"):
        transform.multiply(spectra, spectra, False, spectra.copy(), np.zeros(3))
    with pytest.raises(ValueError, match="kernels"):
        transform.multiply(
            spectra,
            np.zeros((3, spectra.shape[1])),
            False,
            np.zeros((3, spectra.shape[1])),
            np.zeros(5),
        )
