"""Let Slither look for known weaknesses in `src/`, and hold its findings against `slither.toml`.

    python -m contracts.slither PROGRAM

`PROGRAM` is Slither's, in an environment of its own: it needs an older web3 than wardround. It
works on a copy, since it cleans what it builds in. The exit status is 1 when a finding is not
explained, or an explanation explains nothing.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from contracts.scratch import HERE, run_tool, scratch

TIME_LIMIT_SECONDS = 1_800


@dataclass(frozen=True)
class Finding:
    """Something a detector saw."""

    detector: str
    place: str
    text: str


@dataclass(frozen=True)
class Explanation:
    """Why findings of one detector at one place (a pattern) stay."""

    detector: str
    pattern: str

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of this finding."""
        return self.detector == finding.detector and fnmatchcase(finding.place, self.pattern)


def main(arguments: list[str]) -> int:
    """Run the command line; the result is its exit status."""
    if len(arguments) != 1:
        print("Name the program: python -m contracts.slither PROGRAM", file=sys.stderr)
        return 2
    findings = list(read_findings(run_slither(Path(arguments[0]).absolute())))
    explanations = list(read_explanations((HERE / "slither.toml").read_text("utf-8")))
    unexplained = [one for one in findings if not any(e.covers(one) for e in explanations)]
    idle = [e for e in explanations if not any(e.covers(one) for one in findings)]
    for finding in unexplained:
        print(
            f"{finding.detector} at {finding.place}: mend it, or say in slither.toml why it stays."
        )
        print(f"    {finding.text}")
    for explanation in idle:
        print(
            f"slither.toml explains {explanation.detector} at {explanation.pattern}, where Slither "
            "finds nothing any more: take it out."
        )
    print(
        f"Slither: {len(findings)} findings, {len(unexplained)} unexplained; "
        f"{len(explanations)} explanations, {len(idle)} idle."
    )
    return 1 if unexplained or idle else 0


def run_slither(program: Path) -> dict[str, Any]:
    """Run Slither over a copy of the sources; what it wrote.

    Raises:
        SystemExit: it did not get as far as looking.
    """
    with scratch("src") as copy:
        report = copy / "report.json"
        command = [str(program), ".", "--filter-paths", "node_modules", "--json", str(report)]
        done = run_tool(command, copy, limit_seconds=TIME_LIMIT_SECONDS)
        # Its status distinguishes findings from none; its report shows whether it ran at all.
        written = json.loads(report.read_text("utf-8")) if report.exists() else {"success": False}
    if not written["success"]:
        raise SystemExit(f"Slither did not finish:\n{done.stdout}")
    answer: dict[str, Any] = written
    return answer


def read_findings(report: dict[str, Any]) -> Iterator[Finding]:
    """Name each finding's detector and the first thing that it is about."""
    for found in report["results"].get("detectors", []):
        text = str(found["description"]).splitlines()[0].strip()
        yield Finding(found["check"], place_of(found["elements"][0]), text)


def place_of(element: dict[str, Any]) -> str:
    """Name a thing with what contains it: `Contract.function.variable`."""
    names = [element["name"]]
    around = element.get("type_specific_fields", {}).get("parent")
    while around and around["type"] in ("contract", "function"):
        names.append(around["name"])
        around = around.get("type_specific_fields", {}).get("parent")
    return ".".join(reversed(names))


def read_explanations(text: str) -> Iterator[Explanation]:
    """Read `slither.toml`.

    Raises:
        SystemExit: an entry gives no reason.
    """
    for entry in tomllib.loads(text)["explained"]:
        if not entry["why"].strip():
            raise SystemExit(f"slither.toml gives no reason for {entry['detector']}: write one.")
        for pattern in entry["places"]:
            yield Explanation(entry["detector"], pattern)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
