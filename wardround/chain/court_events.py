"""The events of Court as frozen dataclasses, and how they are read from logs.

One that this library does not act on is a plain `CourtEvent`.

Source:
    ICourtBase.sol, section "events". Fields are the contract's, in snake case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import DecodingError

from wardround.chain.contract import Contract, Log
from wardround.chain.errors import unreadable_log
from wardround.host.reason import reason_of
from wardround.protocol.evidence import What
from wardround.protocol.identifiers import SiteAddress, StudyId


@dataclass(frozen=True)
class CourtEvent:
    """An event of Court by the contract's name, with its log."""

    log: Log
    name: str


@dataclass(frozen=True)
class Proven(CourtEvent):
    """A breach was proven, and its round overturned.

    Attributes:
        kind: ``coordinate``, ``entry``, ``order``, ``totals``, ``omission``, ``node``, ``score``,
            ``rank`` or ``withheld``.
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
class Committed(CourtEvent):
    """A challenger has committed to a challenge; ``closing`` is the accused round's commitment."""

    study: StudyId
    round: int
    challenger: str
    closing: bytes
    commitment: bytes
    until: int


@dataclass(frozen=True)
class Demanded(CourtEvent):
    """Data must be shown before a deadline; who shows it has half of the deposit."""

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
    """Demanded data was shown: the chunk or the entry, and its path behind it."""

    demand: bytes
    answerer: str
    opening: bytes


@dataclass(frozen=True)
class ContributionDemanded(CourtEvent):
    """A site must show a chunk of what it registered before a deadline, for a payment."""

    study: StudyId
    round: int
    site: SiteAddress
    previous: bytes
    entry_hash: bytes
    chunk: int
    chunks: int
    sender: str
    stake: int
    payer: str
    payment: int
    deadline: int


@dataclass(frozen=True)
class ContributionAnswered(CourtEvent):
    """Chunks of a registered update were shown: ``data`` has them from the ``first`` on."""

    study: StudyId
    round: int
    site: SiteAddress
    previous: bytes
    first: int
    data: bytes


@dataclass(frozen=True)
class ContributionClosed(CourtEvent):
    """A registration's deposit went back to its sender, or to the coordinator that saw no bytes."""

    study: StudyId
    round: int
    site: SiteAddress
    previous: bytes
    to: str
    amount: int


def read_court_events(contract: Contract, logs: Iterable[Log]) -> list[CourtEvent]:
    """Read the events of this contract, in the order of the logs.

    Raises:
        ChainError: a node gives as a log of the contract what it cannot have logged.
    """
    events = []
    for log in logs:
        try:
            found = contract.event(log)
            if found is not None:
                events.append(_read(log, *found))
        except (DecodingError, ValueError) as error:
            raise unreadable_log(log.address, log.transaction_hash, reason_of(error)) from error
    return events


def _read(log: Log, name: str, fields: dict[str, Any]) -> CourtEvent:
    if name.endswith("Proven"):
        study, number, challenger = (fields.pop(key) for key in ("study", "round", "challenger"))
        kind = name.removesuffix("Proven").lower()
        return Proven(log, name, study, number, challenger, kind, fields)
    if name == "Demanded":
        fields["what"] = What(fields["what"])
    return (
        _READERS[name](log, name, *fields.values()) if name in _READERS else CourtEvent(log, name)
    )


#: A class has the event's fields in the contract's order.
_READERS: dict[str, type[CourtEvent]] = {
    kind.__name__: kind
    for kind in (
        TallyOpened,
        Committed,
        Demanded,
        Answered,
        ContributionDemanded,
        ContributionAnswered,
        ContributionClosed,
    )
}
