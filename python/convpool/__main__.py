"""``python -m convpool``: the tour, or ``info`` for the configuration."""

import argparse
import os
import sys
from collections.abc import Sequence

from convpool import show_config
from convpool._tour import TourError, tour


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m convpool",
        description="The textbook chapter, a photograph and a speed table, on this machine.",
    )
    parser.add_argument(
        "command", nargs="?", choices=["tour", "info"], default="tour",
        help="tour (default), or info: version, compiler, instruction sets, threads",
    )  # fmt: skip
    parser.add_argument("--image", metavar="FILE", help="a photograph of your own")
    parser.add_argument(
        "--output", metavar="FILE", default="convpool-tour.png",
        help="where the picture goes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small photograph, short speed table")
    options = parser.parse_args(arguments)
    if options.command == "info":
        show_config()
        return 0
    try:
        return tour(options.image, options.output, options.quick)
    except TourError as error:
        print(f"convpool: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, a pager) has left; Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
