"""Time convpool and its peers on named layers: ``python benchmarks/run.py``.

Only the command line is here; ``layers.py`` says what is timed, ``peers.py`` who,
``measure.py`` how, and ``report.py`` writes it down. ``README.md`` explains the method.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layers import AnyLayer

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
        "--layers", metavar="PATTERN", help="regular expression for names or groups of layers"
    )
    parser.add_argument(
        "--peers", metavar="PATTERN", default="", help="regular expression for names of peers"
    )
    parser.add_argument("--threads", type=_positive, default=1, help="for every peer (default 1)")
    parser.add_argument("--rounds", type=_positive, default=15, help="default 15")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="replace the table between FILE's markers"
    )
    return parser.parse_args(arguments)


def command_line(options: argparse.Namespace) -> str:
    """Return the command that repeats this measurement, without the names of its files."""
    words = ["python", "benchmarks/run.py"]
    if options.all:
        words.append("--all")
    if options.layers:
        words += ["--layers", options.layers]
    if options.peers:
        words += ["--peers", options.peers]
    if options.threads != 1:
        words += ["--threads", str(options.threads)]
    if options.rounds != 15:
        words += ["--rounds", str(options.rounds)]
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_arguments(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)

    import report
    from layers import LAYERS
    from measure import measure_layer
    from peers import BASELINE, PEERS

    def matches(pattern: str, *texts: str) -> bool:
        return any(re.search(pattern, text, re.IGNORECASE) for text in texts)

    if options.layers:
        layers = [layer for layer in LAYERS if matches(options.layers, layer.name, layer.group)]
    else:
        layers = [layer for layer in LAYERS if options.all or layer.quick]
    if not layers:
        sys.exit(f"no layer matches {options.layers!r}; there are:\n{_names(LAYERS)}")
    wanted = [p for p in PEERS if p.name == BASELINE or matches(options.peers, p.name)]
    peers = [peer for peer in wanted if peer.installed()]

    if options.readme:
        report.find_table(options.readme)

    environment = report.environment(peers, options.threads, command_line(options))
    print(report.describe(environment))
    if missing := [peer.name for peer in wanted if not peer.installed()]:
        print(f"Not installed, so left out: {', '.join(missing)}.")
    print()
    results = []
    for layer in layers:
        result = measure_layer(layer, peers, threads=options.threads, rounds=options.rounds)
        if BASELINE in result.left_out:
            sys.exit(f"{BASELINE} cannot run {layer.name!r}: {result.left_out[BASELINE]}")
        results.append(result)
        print("\n".join(report.text_lines(result)), flush=True)

    table = report.markdown_table(results)
    print(f"\n{table}\n\nColumns of peers: their time divided by that of {BASELINE}.")
    if options.json:
        content = json.dumps(report.as_json(environment, results), indent=1)
        options.json.write_text(content + "\n", encoding="utf-8")
    if options.readme:
        source = f"{report.describe(environment)} Command: `{environment['command']}`."
        report.replace_table(options.readme, f"{table}\n\n{source}")
    print(report.verdict(results))


def _names(layers: "Sequence[AnyLayer]") -> str:
    return "\n".join(f"  {layer.name} ({layer.group})" for layer in layers)


if __name__ == "__main__":
    main()
