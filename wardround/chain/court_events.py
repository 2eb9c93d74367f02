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


_Reader = Callable[[Log, dict[str, Any]], CourtEvent]


def read_court_events(contract: Contract, logs: Iterable[Log]) -> list[CourtEvent]:
    """Read the events of this contract that are known here, in the order of the logs."""
    events = []
    for log in logs:
        found = contract.event(log)
        if found is not None and found[0] in _READERS:
            events.append(_READERS[found[0]](log, found[1]))
    return events


def _in_order(kind: Callable[..., CourtEvent], *names: str) -> _Reader:
    return lambda log, fields: kind(log, *(fields[name] for name in names))


def _proven(kind: str) -> _Reader:
    common = ("study", "round", "challenger")

    def read(log: Log, fields: dict[str, Any]) -> CourtEvent:
        details = {name: value for name, value in fields.items() if name not in common}
        study, number, challenger = (fields[name] for name in common)
        return Proven(log, study, number, challenger, kind, details)

    return read


def _demanded(log: Log, fields: dict[str, Any]) -> CourtEvent:
    return Demanded(
        log,
        fields["study"],
        fields["round"],
        fields["demand"],
        fields["demander"],
        What(fields["what"]),
        fields["index"],
        fields["entryIndex"],
        fields["deadline"],
        fields["deposit"],
    )


_READERS: dict[str, _Reader] = {
    "CoordinateProven": _proven("coordinate"),
    "EntryProven": _proven("entry"),
    "OrderProven": _proven("order"),
    "TotalsProven": _proven("totals"),
    "OmissionProven": _proven("omission"),
    "RewardsProven": _proven("rewards"),
    "WithheldProven": _proven("withheld"),
    "TallyOpened": _in_order(TallyOpened, "study", "round", "challenger", "tally", "coordinate"),
    "TallyExtended": _in_order(TallyExtended, "tally", "count", "totalWeight"),
    "Demanded": _demanded,
    "Answered": _in_order(Answered, "demand", "answerer", "data"),
    "DemandLapsed": _in_order(DemandLapsed, "demand"),
    "Collected": _in_order(DepositCollected, "study", "account", "amount"),
    "ContributionDemanded": _in_order(
        ContributionDemanded, "study", "round", "site", "chunk", "deadline"
    ),
    "ContributionAnswered": _in_order(
        ContributionAnswered, "study", "round", "site", "chunk", "data"
    ),
    "ContributionRefused": _in_order(ContributionRefused, "study", "round", "site", "coordinate"),
}
