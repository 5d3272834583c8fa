"""One run: choose layers and peers, measure, and write what was asked for."""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chart
import report
from ceiling import Ceiling
from layer import AnyLayer
from layers import LAYERS
from machine import caption, describe, environment
from measure import LayerResult, measure_layer
from peer import Peer
from peers import BASELINE, PEERS
from scaling import measure_scaling, scaling_tables, thread_counts
from tables import CLASS_LEGEND, SUMMARY_LEGEND, class_tables, summary_table

__all__ = ["run"]


def run(options: argparse.Namespace, command: str) -> None:
    """Measure what the command line asks for; `command` repeats it."""
    layers = _choose_layers(options)
    wanted = [p for p in PEERS if p.name == BASELINE or _matches(options.peers, p.name)]
    if options.scaling:
        wanted = [peer for peer in wanted if peer.scales]
    peers = [peer for peer in wanted if peer.installed()]
    # What cannot be written should fail before the measurement.
    if options.readme:
        report.find_table(options.readme)
    if options.chart:
        importlib.import_module("matplotlib")

    env = environment(peers, options.threads, command)
    print(describe(env))
    if missing := [peer.name for peer in wanted if not peer.installed()]:
        print(f"Not installed, so left out: {', '.join(missing)}.")
    print()
    if options.scaling:
        _scale(options, layers, peers, env)
    else:
        _compare(options, layers, peers, env)


def _matches(pattern: str, *texts: str) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for text in texts)


def _choose_layers(options: argparse.Namespace) -> list[AnyLayer]:
    if not options.layers:
        return [layer for layer in LAYERS if options.all or layer.quick]
    layers = [layer for layer in LAYERS if _matches(options.layers, layer.name, layer.group)]
    if not layers:
        names = "\n".join(f"  {layer.name} ({layer.group})" for layer in LAYERS)
        sys.exit(f"no layer matches {options.layers!r}; there are:\n{names}")
    return layers


def _compare(
    options: argparse.Namespace,
    layers: Sequence[AnyLayer],
    peers: Sequence[Peer],
    env: dict[str, Any],
) -> None:
    """Time all peers on one number of threads."""
    ceiling = Ceiling(options.threads)
    for _ in range(2):  # a run of one layer should not rest on one sample
        ceiling.sample()
    results: list[LayerResult] = []
    for layer in layers:
        ceiling.sample()
        result = measure_layer(layer, peers, threads=options.threads, rounds=options.rounds)
        if BASELINE in result.left_out:
            sys.exit(f"{BASELINE} cannot run {layer.name!r}: {result.left_out[BASELINE]}")
        results.append(result)
        print("\n".join(report.text_lines(result, ceiling)), flush=True)

    tables, summary = class_tables(results, ceiling), summary_table(results, ceiling)
    print(f"\n{tables}\n\n{CLASS_LEGEND}\n\n{summary}\n\n{SUMMARY_LEGEND}\n\n{ceiling.describe()}")
    source = f"{describe(env)} {ceiling.describe()} Command: `{env['command']}`."
    if options.json:
        _write_json(options.json, report.as_json(env, results, ceiling))
    if options.readme:
        report.replace_table(options.readme, f"{summary}\n\n{SUMMARY_LEGEND}\n\n{source}")
    if options.results:
        content = f"{source}\n\n{CLASS_LEGEND}\n\n{tables}"
        report.replace_section(options.results, caption(env), content)
    if options.chart:
        chart.draw(chart.panels(results), caption(env), options.chart)
    print(report.verdict(results))


def _scale(
    options: argparse.Namespace,
    layers: Sequence[AnyLayer],
    peers: Sequence[Peer],
    env: dict[str, Any],
) -> None:
    """Time 1, 2, 4, ... threads."""
    counts = thread_counts(options.threads)
    results: list[LayerResult] = []
    for layer in layers:
        results.append(measure_scaling(layer, peers, counts=counts, rounds=options.rounds))
        print(layer.name, flush=True)
    tables = scaling_tables(results, [peer.name for peer in peers], counts)
    print(f"\n{tables}")
    if options.json:
        _write_json(options.json, report.as_json(env, results))
    if options.results:
        content = f"{describe(env)} Command: `{env['command']}`.\n\n{tables}"
        report.replace_section(options.results, f"{caption(env)}: scaling", content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
