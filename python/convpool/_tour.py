"""The tour that ``python -m convpool`` takes: the chapter, a photograph, speed."""

import sys
import time
from importlib import import_module
from types import ModuleType

import numpy as np

from convpool import __version__, _core
from convpool._chapter import book_cells
from convpool._speed import speed_table
from convpool._typing import Array
from convpool.conv import conv2d
from convpool.learning import learn_kernel
from convpool.pool import avg_pool2d

__all__ = ["TourError", "tour"]

SOBEL = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
BELL = np.exp(-(np.arange(-2.0, 3.0) ** 2) / 2)
HIDDEN = {
    "Sobel-like": np.outer([1.0, 4.0, 6.0, 4.0, 1.0], [-1.0, -2.0, 0.0, 2.0, 1.0]) / 8,
    "Gaussian": np.outer(BELL, BELL) / BELL.sum() ** 2,
    "motion blur": np.eye(5)[::-1] / 5,
}
EPOCHS = 100
MOMENTUM = 0.8
SMALLEST_SIDE = 16


class TourError(Exception):
    """The tour cannot go on, for a reason that its user can change."""


def tour(image: str | None, output: str, quick: bool) -> int:
    """Take the tour; return 0 if every cell of the chapter agrees with the book, otherwise 1."""
    picture = _import_picture()
    if picture is None and image is not None:
        raise TourError('--image needs matplotlib: pip install "convpool[tour]"')
    print(f"convpool {__version__}, instruction set {_core.build_config()['instruction_set']}\n")
    agrees = _chapter()
    if picture is not None:
        _photograph(picture, image, output, quick)
    print()
    for line in speed_table(quick):
        print(line, flush=True)
    if picture is None:
        print('\nFor a photograph and a picture: pip install "convpool[tour]"')
    return 0 if agrees else 1


def _import_picture() -> ModuleType | None:
    try:
        import_module("matplotlib")
    except ImportError:
        return None
    return import_module("convpool._picture")


def _chapter() -> bool:
    print(
        'Dive into Deep Learning, "Convolutional Neural Networks" (ok: equals the book\'s result)'
    )
    agrees = True
    for cell in book_cells():
        mark = "ok" if cell.agrees else f"WRONG, the book has {_text(cell.book)}"
        print(f"  {cell.section}  {cell.call:<41}{_text(cell.result)}  {mark}")
        agrees &= cell.agrees
    return agrees


def _text(values: Array) -> str:
    """Write an array on one line; equal rows once."""
    if values.ndim == 2 and len(values) > 2 and (values == values[0]).all():
        return f"{len(values)} rows of {_text(values[0])}"
    if values.ndim:
        return "[" + " ".join(_text(part) for part in values) + "]"
    return str(values) if values.dtype == bool else f"{float(values) + 0.0:g}"


def _photograph(picture: ModuleType, image: str | None, output: str, quick: bool) -> None:
    try:
        name, photograph = picture.read_photograph(image)
    except (OSError, SyntaxError, ValueError) as error:
        source = image or "the sample photograph"
        raise TourError(f"cannot read {source}: {error}") from None
    if quick:
        photograph = avg_pool2d(photograph[np.newaxis], 2)[0]
    if min(photograph.shape) < SMALLEST_SIDE:
        raise TourError(f"the photograph is too small: {photograph.shape}, at least 16 x 16 needed")
    print(f"\nPhotograph {name}, {photograph.shape[0]} x {photograph.shape[1]}")
    vertical = _filter(photograph, np.array([[1.0, -1.0]]))
    horizontal = _filter(photograph, np.array([[1.0], [-1.0]]))
    sobel = np.hypot(_filter(photograph, SOBEL), _filter(photograph, SOBEL.T))
    strength = [f"{np.abs(edges).mean():.3f}" for edges in (vertical, horizontal, sobel)]
    print("  edges, mean strength: [[1, -1]] {}, its transpose {}, Sobel {}".format(*strength))
    print("  kernels of 5 x 5, learned from the photograph before and after filtering:")
    results = {}
    for title, true in HIDDEN.items():
        results[title] = learned, losses = _learn(title, photograph, true)
    title, true = next(iter(HIDDEN.items()))
    learned, losses = results[title]
    print(f"  {title}, true".ljust(42) + "learned")
    for row, other in zip(true, learned, strict=True):
        print("  " + _numbers(row) + "    " + _numbers(other))
    found = picture.Findings(name, photograph, vertical, sobel, title, true, learned, losses)
    try:
        picture.draw(found, output)
    except (OSError, ValueError) as error:
        raise TourError(f"cannot write {output}: {error}") from None
    print(f"  picture: {output}")


def _filter(photograph: Array, kernel: Array) -> Array:
    kernel = kernel.astype(photograph.dtype)[np.newaxis, np.newaxis]
    return conv2d(photograph[np.newaxis], kernel).squeeze(0)


def _numbers(row: Array) -> str:
    return "".join(f"{round(float(value), 4) + 0.0:8.4f}" for value in row)


def _learn(title: str, photograph: Array, true: Array) -> tuple[Array, Array]:
    """Learn a kernel from the differences of neighbours, as `learn_kernel` recommends."""
    live = sys.stdout.isatty()

    def show(epoch: int, loss: float, kernel: Array) -> None:
        if live:
            print(
                f"\r    {title:<12} epoch {epoch} of {EPOCHS}, loss {loss:.2e}", end="", flush=True
            )

    x, y = (np.diff(np.diff(a, axis=0), axis=1) for a in (photograph, _filter(photograph, true)))
    start = time.perf_counter()
    learned = learn_kernel(
        x, y, 5, lr="auto", momentum=MOMENTUM, epochs=EPOCHS, seed=0, callback=show
    )
    seconds = time.perf_counter() - start
    error = np.abs(learned.kernel - true).max()
    hint = "" if error < 1e-3 else " (too smooth or too plain a photograph)"
    print(
        f"{chr(13) if live else ''}    {title:<12} {EPOCHS} epochs in {seconds:.1f} s, "
        f"loss {learned.losses[0]:.1e} -> {learned.losses[-1]:.1e}, largest error {error:.0e}{hint}"
    )
    return learned.kernel, learned.losses
