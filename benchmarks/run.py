"""Time convpool and its peers on named layers: ``python benchmarks/run.py``.

Only the command line is here; ``layers.py`` says what is timed, ``peers.py`` who,
``measure.py`` how, and ``tables.py`` and ``chart.py`` show it. ``README.md`` explains the method.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

# Read when a library is loaded, so they are set before the first import of NumPy.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, is {value}")
    return value


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time convpool and its peers on named layers; the short list by default."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="time every layer")
    which.add_argument(
        "--layers", metavar="PATTERN", help="regular expression for names or classes of layers"
    )
    parser.add_argument(
        "--peers", metavar="PATTERN", default="", help="regular expression for names of peers"
    )
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="time 1, 2, 4, ... threads, and compare them instead of the peers",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        help="for every peer (default 1); the largest number of --scaling (default: all CPUs)",
    )
    parser.add_argument("--rounds", type=_positive, default=15, help="default 15")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="replace the summary between FILE's markers"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="replace or add the section of FILE with this machine's and run's tables",
    )
    parser.add_argument(
        "--chart", type=Path, metavar="FILE", help="draw the ratios; needs matplotlib"
    )
    options = parser.parse_args(arguments)
    if options.scaling and (options.readme or options.chart):
        parser.error("--scaling has no summary and no chart")
    return options


def command_line(options: argparse.Namespace) -> str:
    """Return the command that repeats this measurement, without the names of its files."""
    words = ["python", "benchmarks/run.py"]
    words += ["--all"] if options.all else []
    words += ["--scaling"] if options.scaling else []
    for name, default in (("layers", None), ("peers", ""), ("threads", None), ("rounds", 15)):
        value = getattr(options, name)
        if value != default:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_arguments(arguments)
    command = command_line(options)
    if options.threads is None:
        options.threads = _cpus() if options.scaling else 1
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)

    import session

    session.run(options, command)


if __name__ == "__main__":
    main()
