"""What a peer is: a name, and for each operation a function that prepares the timed call."""

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from layer import AnyLayer, Array

__all__ = ["Builder", "Call", "Peer", "Unsupported"]

Call: TypeAlias = Callable[[], Array]
Builder: TypeAlias = Callable[..., Call]
"""``(layer, threads, *inputs) -> Call``"""


class Unsupported(Exception):
    """The peer cannot, or should not, compute this layer; the message is the reason."""


@dataclass(frozen=True)
class Peer:
    """A library, or one way to use it."""

    name: str
    package: str
    """What has to be importable."""
    operations: dict[str, Builder]
    """A builder for each `operation` of a layer: see ``peers.py``."""
    context: Callable[[int], AbstractContextManager[object]] = nullcontext
    """Entered with the number of threads around every sample, outside the timing."""
    packs_once: bool = False
    """Whether weights are packed before the timed call."""
    scales: bool = False
    """Whether the number of threads can change from one sample to the next."""

    def installed(self) -> bool:
        """Tell whether the package is there, without importing it."""
        return importlib.util.find_spec(self.package) is not None

    def version(self) -> str:
        """Version of the package."""
        return str(importlib.import_module(self.package).__version__)

    def prepare(self, layer: AnyLayer, threads: int, inputs: tuple[Array, ...]) -> Call:
        """Return the function to be timed, or raise `Unsupported`."""
        if layer.operation not in self.operations:
            raise Unsupported(f"has no {layer.operation}")
        return self.operations[layer.operation](layer, threads, *inputs)
