"""What all pages share: the index, and what is behind it: a chain to ask and a store to read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from wardround.explorer.errors import EvidenceIncomplete
from wardround.explorer.evidence import export
from wardround.explorer.reader import Reader
from wardround.explorer.source import Source
from wardround.explorer.views import Health
from wardround.explorer.web.objects import Objects
from wardround.explorer.web.rendering import Pages
from wardround.explorer.web.rows import Site
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import StudyId, bytes32

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What the chain said when it was asked, or why it did not."""

    value: bytes | None
    source: str


@dataclass
class Explorer:
    """The index of one source, and the source itself.

    Attributes:
        source: None where only an index file is there, and nothing behind it.
        clock: seconds since 1970.
    """

    reader: Reader
    source: Source | None
    clock: Callable[[], float]
    pages: Pages = field(default_factory=Pages)

    def __post_init__(self) -> None:
        """Read objects from the source's store."""
        self.objects = Objects(None if self.source is None else self.source.store)
        # An embedded chain answers one question at a time.
        self._chain_lock = threading.Lock()

    def index(self) -> Health:
        """How far the index is."""
        return self.reader.health()

    def commitment(self, study: str, number: int) -> Answer:
        """A round's commitment as the contract stores it now."""

        def ask(source: Source) -> bytes:
            return source.ward.commitment(StudyId(bytes32(study, "study")), number)

        return self._asked(ask, "read from the contract by this server’s node, just now")

    def called(self, transaction: str) -> Answer:
        """The entries in a closing transaction's calldata; None where it brought none."""

        def ask(source: Source) -> bytes | None:
            sent = source.chain.transaction(transaction)
            if sent is None or sent.to is None or sent.to != source.ward.address:
                return None
            called = source.ward.contract.arguments(sent.data)
            if called is None or called[0] != "closeRound":
                return None
            return bytes(called[1]["entries"])

        return self._asked(ask, "from the closing transaction’s calldata")

    def evidence(self, study: str, number: int | None, path: Path) -> None:
        """Write an archive that anybody can verify offline.

        Raises:
            NotIndexed: there is no such study or round.
            EvidenceIncomplete: there is no store, or the chain has changed meanwhile.
        """
        if self.source is None:
            raise EvidenceIncomplete("no chain is behind this index")
        with self._chain_lock:
            export(self.source, self.reader, study, number, path)

    def sites(self, members: list[str], names: dict[str, str]) -> dict[str, Site]:
        """Members of a study with their names, and a colour each."""
        # By name where there is one; site-10 after site-9.
        ordered = sorted(members, key=lambda one: (_natural(names.get(one, "\uffff")), one))
        return {
            address: Site(address, names.get(address), place)
            for place, address in enumerate(ordered)
        }

    def _asked(self, ask: Callable[[Source], bytes | None], source: str) -> Answer:
        if self.source is None:
            return Answer(None, "no chain is behind this index")
        try:
            with self._chain_lock:
                return Answer(ask(self.source), source)
        except (WardroundError, OSError) as error:
            return Answer(None, f"the node did not answer: {error}")


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part)
        for part in re.split(r"([0-9]+)", name)
    ]
