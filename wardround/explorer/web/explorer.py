"""What all pages share: the index, and its source: a chain to ask and a store to read."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.explorer.errors import ExplorerError
from wardround.explorer.events import last_event
from wardround.explorer.evidence import export
from wardround.explorer.reader import Reader
from wardround.explorer.source import Source
from wardround.explorer.web.objects import Objects
from wardround.explorer.web.rendering import environment, render
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import StudyId, bytes32


@dataclass(frozen=True)
class NamedSite:
    """A site as pages name it. `colour` is its place in its study, None outside of one."""

    address: str
    name: str | None = None
    colour: int | None = None


@dataclass
class Explorer:
    """The index of one source, and the source itself.

    Attributes:
        source: None for an index file alone, without its chain and store.
    """

    reader: Reader
    source: Source | None

    def __post_init__(self) -> None:
        """Read objects from the source's store, and compile the templates."""
        environment()
        self.objects = Objects(None if self.source is None else self.source.store)
        # An embedded chain answers one question at a time.
        self._chain_lock = threading.Lock()

    def page(self, template: str, /, **values: Any) -> bytes:
        """Render a page, with the state of the index."""
        with self.reader.look():
            shared = {"index": self.reader.health(), "since": last_event(self.reader)}
        return render(template, **{**shared, **values})

    def commitment(self, study: str, number: int) -> tuple[bytes | None, str]:
        """A round's commitment as the contract stores it now, and where it is from or why not."""
        if self.source is None:
            return None, "this index has no chain"
        try:
            with self._chain_lock:
                found = self.source.ward.commitment(StudyId(bytes32(study, "study")), number)
        except (WardroundError, OSError) as error:
            return None, f"the node did not answer: {error}"
        return found, "read from the contract by this server’s node, just now"

    def entries(self, transaction: str) -> bytes | None:
        """The entries in the calldata of a closing, or of its lock; None where there are none."""
        if self.source is None:
            return None
        try:
            with self._chain_lock:
                sent = self.source.chain.transaction(transaction)
        except (WardroundError, OSError):
            return None
        if sent is None or sent.to != self.source.ward.address:
            return None
        called = self.source.ward.contract.arguments(sent.data)
        if called is None or called[0] not in ("closeRound", "lockCohort"):
            return None
        return bytes(called[1]["entries"])

    def evidence(self, study: str, number: int | None, path: Path) -> None:
        """Write an archive that can be verified offline.

        Raises:
            NotIndexed: there is no such study or round.
            ExplorerError: there is no store, or the chain has changed meanwhile.
        """
        if self.source is None:
            raise ExplorerError("no archive was made: this index has no chain.")
        with self._chain_lock:
            export(self.source, self.reader, study, number, path)

    def sites(self, members: list[str], names: dict[str, str]) -> dict[str, NamedSite]:
        """Members of a study with their names, and a colour each."""
        # By name where there is one; site-10 after site-9.
        ordered = sorted(members, key=lambda one: (_natural(names.get(one, "\uffff")), one))
        return {
            address: NamedSite(address, names.get(address), place)
            for place, address in enumerate(ordered)
        }


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part)
        for part in re.split(r"([0-9]+)", name)
    ]
