"""The cells of *Dive into Deep Learning*, chapter "Convolutional Neural Networks", for the tour."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from convpool import d2l, nn
from convpool._typing import Array
from convpool.learning import learn_kernel

__all__ = ["Cell", "book_cells"]

# The book shows the losses and the kernel of a run, not where it starts: undoing the ten steps
# from its kernel leads here.
BOOK_START = [[-0.91235727, 0.01017820]]
BOOK_LOSSES = [18.309, 4.961, 1.606, 0.587, 0.228]  # of every second epoch
BOOK_KERNEL = [[0.93471736, -1.0315881]]


@dataclass(frozen=True, eq=False)
class Cell:
    """What a cell calls, what comes out, and what the book prints."""

    section: str
    call: str
    result: Array
    book: Array

    @property
    def agrees(self) -> bool:
        """Whether the result is the book's, shape and numbers."""
        return np.array_equal(self.result, self.book)


def _cell(section: str, call: str, result: ArrayLike, book: ArrayLike) -> Cell:
    return Cell(section, call, np.asarray(result), np.asarray(book))


def book_cells() -> Iterator[Cell]:
    """Yield every cell whose result the book prints."""
    X, K = np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2)
    yield _cell("6.2.1", "corr2d(X, K)", d2l.corr2d(X, K), [[19, 25], [37, 43]])

    bars = _bars()
    edges = d2l.corr2d(bars, [[1.0, -1.0]])
    yield _cell("6.2.3", "corr2d(X, [[1, -1]])", edges, [[0, 1, 0, 0, 0, -1, 0]] * 6)
    edges = d2l.corr2d(bars.T, [[1.0, -1.0]])
    yield _cell("6.2.3", "corr2d(X.T, [[1, -1]])", edges, [[0, 0, 0, 0, 0]] * 8)
    yield from _learning()
    yield from _padding_and_stride()
    yield from _channels()
    yield from _pooling()


def _bars() -> Array:
    bars = np.ones((6, 8))
    bars[:, 2:6] = 0
    return bars


def _learning() -> Iterator[Cell]:
    """Ten epochs from where the book's run starts, to the digits that the book prints."""
    x = _bars()
    y = d2l.corr2d(x, [[1.0, -1.0]])
    learned = learn_kernel(x, y, (1, 2), lr=3e-2, epochs=10, initial=BOOK_START)
    result = learned.losses[1::2].round(3)
    yield _cell("6.2.4", "losses of learn_kernel(X, Y, (1, 2))", result, BOOK_LOSSES)
    yield _cell("6.2.4", "and its kernel", learned.kernel.round(4), np.round(BOOK_KERNEL, 4))


def _padding_and_stride() -> Iterator[Cell]:
    image = np.random.default_rng(0).uniform(size=(8, 8))
    layer = partial(nn.Conv2D, 1, seed=0)
    for section, call, conv, book in (
        ("6.3.1", 'Conv2D(1, 3, padding="same")', layer(3, padding="same"), (8, 8)),
        ("6.3.1", 'Conv2D(1, (5, 3), padding="same")', layer((5, 3), padding="same"), (8, 8)),
        ("6.3.2", 'Conv2D(1, 3, 2, padding="same")', layer(3, 2, padding="same"), (4, 4)),
        ("6.3.2", "Conv2D(1, (3, 5), (3, 4))", layer((3, 5), (3, 4)), (2, 1)),
    ):
        yield _cell(section, f"{call}: shape", d2l.comp_conv2d(conv, image).shape, book)


def _channels() -> Iterator[Cell]:
    X = np.arange(9.0).reshape(3, 3)
    X = np.stack([X, X + 1])
    K = np.arange(4.0).reshape(2, 2)
    K = np.stack([K, K + 1])
    result = d2l.corr2d_multi_in(X, K)
    yield _cell("6.4.1", "corr2d_multi_in(X, K)", result, [[56, 72], [104, 120]])
    result = d2l.corr2d_multi_in_out(X, np.stack([K, K + 1, K + 2]))
    book = [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]
    yield _cell("6.4.2", "corr2d_multi_in_out(X, K)", result, book)
    rng = np.random.default_rng(0)
    X, K = rng.normal(size=(3, 3, 3)), rng.normal(size=(2, 3, 1, 1))
    gap = np.abs(d2l.corr2d_multi_in_out_1x1(X, K) - d2l.corr2d_multi_in_out(X, K)).sum()
    yield _cell("6.4.3", "1x1 as a matrix product: gap < 1e-6", gap < 1e-6, True)


def _pooling() -> Iterator[Cell]:
    X = np.arange(9.0).reshape(3, 3)
    yield _cell("6.5.1", "pool2d(X, (2, 2))", d2l.pool2d(X, (2, 2)), [[4, 5], [7, 8]])
    X4 = np.arange(16.0).reshape(1, 1, 4, 4)
    yield _cell("6.5.2", "MaxPool2D(3)", nn.MaxPool2D(3)(X4)[0, 0], [[10]])
    # The book pads its images with zeros, which win as little here as padding does.
    book = [[5, 7], [13, 15]]
    pool = nn.MaxPool2D(3, 2, padding=((1, 0), (1, 0)))
    yield _cell("6.5.2", "MaxPool2D(3, 2), padded", pool(X4)[0, 0], book)
    wide_pool = nn.MaxPool2D((2, 3), (2, 3), padding=(0, 1))
    yield _cell("6.5.2", "MaxPool2D((2, 3)), padded", wide_pool(X4)[0, 0], book)
    result = pool(np.concatenate([X4, X4 + 1], axis=1))[0]
    yield _cell("6.5.3", "MaxPool2D(3, 2), padded, 2 channels", result, [book, [[6, 8], [14, 16]]])
