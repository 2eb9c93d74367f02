"""Gives a command one option after the other another value than the true one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.calling import Call, Ended
from tests.lies.options import IDENTITY, DoesOtherwise, Probe, RefusedByName, TriedBy


@dataclass
class ProbedLine:
    """A command line that ends well: words by parameter, and what they print."""

    call: Call
    command: str
    words: dict[str, tuple[object, ...]]
    arguments: tuple[str, ...]

    def run(self, name: str | None = None, value: tuple[object, ...] = ()) -> Ended:
        words = dict(self.words)
        if name is not None:
            words[name] = value
        line: list[object] = [*self.command.split()]
        for one in self.arguments:
            line += words.pop(one, ())
        for option, given in words.items():
            line += [option, *given]
        return self.call(*line)

    def probe(self, name: str, probe: Probe, before: str = "") -> str | None:
        """What is wrong with how an option is taken, if anything."""
        if isinstance(probe, TriedBy):
            return None
        ended = self.run(name, probe.value)
        if isinstance(probe, RefusedByName):
            text = " ".join(ended.err.replace("│", " ").split())
            good = ended.status != 0 and probe.words in text and "Traceback" not in ended.err
        else:
            text = ended.out
            good = ended.status == 0 and probe.words in text and text != before
        if probe.words == "{":
            good = good and all(json.loads(line) for line in ended.out.splitlines())
        return None if good else f"{self.command} {name} {probe.value}: {ended}"


def refused_of(line: ProbedLine, table: Mapping[str, Probe], renamed: str = "") -> list[str]:
    """Probe all options that are to be refused, and list those that were not."""
    found = [
        line.probe(renamed if name == IDENTITY and renamed else name, probe)
        for name, probe in table.items()
        if isinstance(probe, RefusedByName)
    ]
    return [one for one in found if one]


def others_of(line: ProbedLine, table: Mapping[str, Probe], before: str) -> list[str]:
    """Probe all options that are to change what is done, and list those that did not."""
    found = [
        line.probe(name, probe, before)
        for name, probe in table.items()
        if isinstance(probe, DoesOtherwise)
    ]
    return [one for one in found if one]
