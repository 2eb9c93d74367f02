"""``python -m benchmarks [NAME...] [--quick] [--json]``: measure, and print ratios."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from time import perf_counter
from typing import Any

from rich.console import Console

from wardround.transport.flower.programs import QUIET_ENVIRONMENT

#: In the order in which they are run: those that heat nothing first.
NAMES = (
    "gas",
    "root",
    "aggregation",
    "replay",
    "explorer",
    "free_riders",
    "heart_grid",
    "engine",
    "overhead",
    "sandbox",
    "deployed",
)
_WIDTH = 120


def main(arguments: list[str]) -> int:
    """Run the benchmarks that were asked for.

    Returns:
        0 also when a target is missed: numbers are shown, not judged, here.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object, nothing else")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}: choose of {', '.join(NAMES)}")
    os.environ.update(QUIET_ENVIRONMENT)
    from benchmarks.machine import machine_facts
    from benchmarks.screen import show

    progress = Console(stderr=True)
    started = perf_counter()
    facts, results = machine_facts(1 << 20) if asked.quick else machine_facts(), {}
    for name in asked.names or NAMES:
        # A line and no spinner: a process with a second thread is not forked, and audits fork.
        progress.print(f"measuring {name} ...")
        results[name] = import_module(f"benchmarks.{name}").measure(asked.quick)
    seconds = round(perf_counter() - started, 1)
    if asked.json:
        document: dict[str, Any] = {
            "machine": facts,
            "quick": asked.quick,
            "seconds": seconds,
            "benchmarks": {name: result.document() for name, result in results.items()},
        }
        print(json.dumps(document, indent=2))
    else:
        terminal = Console()
        # Without a terminal, wide enough that no line is cut.
        screen = terminal if terminal.is_terminal else Console(width=_WIDTH)
        show(screen, facts, results, seconds, asked.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
