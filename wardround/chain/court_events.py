"""The events of Court as frozen dataclasses, and how they are read from logs.

Source:
    ICourt.sol, section "events". Fields are the contract's, in snake case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wardround.chain.contract import Contract, Log
from wardround.protocol.evidence import What
from wardround.protocol.identifiers import SiteAddress, StudyId


@dataclass(frozen=True)
class CourtEvent:
    """An event of Court, with its log."""

    log: Log


@dataclass(frozen=True)
class Proven(CourtEvent):
    """A breach was proven, and its round overturned.

    Attributes:
        kind: ``coordinate``, ``entry``, ``order``, ``totals``, ``omission``, ``rewards`` or
            ``withheld``.
        details: the event's other fields, by the contract's names.
    """

    study: StudyId
    round: int
    challenger: str
    kind: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class TallyOpened(CourtEvent):
    """A challenger begins to count a round in several transactions."""

    study: StudyId
    round: int
    challenger: str
    tally: int
    coordinate: int


@dataclass(frozen=True)
class TallyExtended(CourtEvent):
    """So many entries, of this weight together, are counted now."""

    tally: int
    count: int
    total_weight: int


@dataclass(frozen=True)
class Demanded(CourtEvent):
    """Data must be shown before a deadline; who shows it has the deposit."""

    study: StudyId
    round: int
    demand: bytes
    demander: str
    what: What
    index: int
    entry_index: int
    deadline: int
    deposit: int


@dataclass(frozen=True)
class Answered(CourtEvent):
    """Demanded data was shown: the chunk, or the entry."""

    demand: bytes
    answerer: str
    data: bytes


@dataclass(frozen=True)
class DemandLapsed(CourtEvent):
    """The round could no longer be overturned; the demander has the deposit back."""

    demand: bytes


@dataclass(frozen=True)
class DepositCollected(CourtEvent):
    """An account took its deposits and earnings out."""

    study: StudyId
    account: str
    amount: int


@dataclass(frozen=True)
class ContributionDemanded(CourtEvent):
    """A site must show a chunk of what it registered before a deadline."""

    study: StudyId
    round: int
    site: SiteAddress
    chunk: int
    deadline: int


@dataclass(frozen=True)
class ContributionAnswered(CourtEvent):
    """A chunk of a registered update was shown."""

    study: StudyId
    round: int
    site: SiteAddress
    chunk: int
    data: bytes


@dataclass(frozen=True)
class ContributionRefused(CourtEvent):
    """A registered update leads out of the range of a model, so no round can hold it."""

    study: StudyId
    round: int
    site: SiteAddress
    coordinate: int


def read_court_events(contract: Contract, logs: Iterable[Log]) -> list[CourtEvent]:
    """Read the events of this contract that are known here, in the order of the logs."""
    events: list[CourtEvent] = []
    for log in logs:
        name, fields = contract.event(log) or ("", {})
        if name.endswith("Proven"):
            events.append(_proven(log, name.removesuffix("Proven").lower(), **fields))
        elif name in _READERS:
            events.append(_READERS[name](log, *fields.values()))
    return events


def _proven(
    log: Log, kind: str, study: StudyId, round: int, challenger: str, **details: Any
) -> CourtEvent:
    return Proven(log, study, round, challenger, kind, details)


def _demanded(
    log: Log, study: StudyId, number: int, demand: bytes, demander: str, what: int, *rest: Any
) -> CourtEvent:
    return Demanded(log, study, number, demand, demander, What(what), *rest)


#: What takes the log and the event's fields, which a class has in the contract's order.
_READERS: dict[str, Callable[..., CourtEvent]] = {
    "TallyOpened": TallyOpened,
    "TallyExtended": TallyExtended,
    "Demanded": _demanded,
    "Answered": Answered,
    "DemandLapsed": DemandLapsed,
    "Collected": DepositCollected,
    "ContributionDemanded": ContributionDemanded,
    "ContributionAnswered": ContributionAnswered,
    "ContributionRefused": ContributionRefused,
}
