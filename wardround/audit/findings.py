"""What an audit finds: each finding for people and for programs, from one place.

A finding is printed as its words, or with ``--json`` as one object a line: its kind, its values,
and the same words. docs/auditing.md lists every kind with its values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from wardround.host.screen import Screen

_out = Screen(highlight=False, soft_wrap=True)


@dataclass
class Findings:
    """The findings of one audit, in order.

    Attributes:
        as_json: how they are printed.
        documents: those so far as JSON values.
    """

    as_json: bool
    documents: list[dict[str, Any]] = field(default_factory=list)

    def show(self, kind: str, words: str, *more: str, style: str = "", **values: Any) -> None:
        """Print a finding, and keep it.

        Args:
            kind: which values it has.
            words: for people, one line.
            more: further lines, which belong to it.
            style: of the first line on a terminal.
            values: for programs; JSON values.
        """
        document = {"kind": kind, **values, "words": [words, *more]}
        self.documents.append(document)
        if self.as_json:
            print(json.dumps(document), flush=True)
            return
        _out.show(words, style=style)
        for line in more:
            _out.show(line)
