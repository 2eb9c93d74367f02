"""The events of WardRound as frozen dataclasses, and how they are read from logs.

Source:
    IWardRound.sol, section "events". Fields are the contract's, in snake case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.chain.contract import Contract, Log
from wardround.protocol.identifiers import Root, SiteAddress, StudyId
from wardround.protocol.record import Closing, Record, StudyParams


@dataclass(frozen=True)
class Event:
    """An event of a study, with its log."""

    study: StudyId
    log: Log


@dataclass(frozen=True)
class StudyCreated(Event):
    """A study exists; nothing has been paid in yet."""

    params: StudyParams
    coordinators: tuple[str, ...]
    auditors: tuple[str, ...]


@dataclass(frozen=True)
class Funded(Event):
    """An account paid into a study."""

    payer: str
    amount: int


@dataclass(frozen=True)
class SiteAdmitted(Event):
    """A site is a member from round ``since`` on."""

    site: SiteAddress
    payout: str
    max_weight: int
    since: int


@dataclass(frozen=True)
class SiteRemoved(Event):
    """A site is no member from round ``until`` on."""

    site: SiteAddress
    until: int


@dataclass(frozen=True)
class BondPosted(Event):
    """A coordinator posted its bond and may become active."""

    coordinator: str
    amount: int


@dataclass(frozen=True)
class BondReleased(Event):
    """A coordinator has its bond back."""

    coordinator: str
    amount: int


@dataclass(frozen=True)
class StudyOpened(Event):
    """Round 1 is open."""

    coordinator: str
    opened_at: int


@dataclass(frozen=True)
class Contributed(Event):
    """One entry of a round closed with full recording."""

    round: int
    site: SiteAddress
    update: Root
    weight: int


@dataclass(frozen=True)
class RoundClosed(Event):
    """A round is closed and the next is open."""

    round: int
    closing: Closing


@dataclass(frozen=True)
class Attested(Event):
    """Auditors made every round up to this one final."""

    round: int
    signatures: int


@dataclass(frozen=True)
class TookOver(Event):
    """A standby is the active coordinator now."""

    round: int
    coordinator: str
    previous: str
    opened_at: int


@dataclass(frozen=True)
class Claimed(Event):
    """A site was paid; ``cumulative`` is all it has been paid by the study."""

    site: SiteAddress
    payout: str
    amount: int
    cumulative: int


@dataclass(frozen=True)
class Refunded(Event):
    """The sponsor has back what no site can earn."""

    sponsor: str
    amount: int


@dataclass(frozen=True)
class StudyEnded(Event):
    """A study ends with this number of rounds."""

    rounds: int


@dataclass(frozen=True)
class Registered(Event):
    """A site's contribution was put on chain, so that it cannot be left out."""

    round: int
    site: SiteAddress
    update: Root
    weight: int
    registered_at: int
    entry: bytes


@dataclass(frozen=True)
class Overturned(Event):
    """A closed round was proven wrong and is open again, with every later one void.

    Attributes:
        coordinator: who had closed it.
        reason: what was proven, in a word.
        next: the active coordinator now; the zero address when there is none.
    """

    round: int
    coordinator: str
    challenger: str
    reason: str
    opened_at: int
    next: str


@dataclass(frozen=True)
class Slashed(Event):
    """A coordinator lost its bond: one part to the challenger, the other burnt."""

    coordinator: str
    challenger: str
    reward: int
    burnt: int


@dataclass(frozen=True)
class Held(Event):
    """Rounds from this one on are not final before a time, because a challenge goes on."""

    round: int
    until: int


@dataclass(frozen=True)
class Collected(Event):
    """An account took out what it was owed from slashed bonds."""

    account: str
    amount: int


_Reader = Callable[[StudyId, Log, dict[str, Any]], Event]


def read_event(contract: Contract, log: Log) -> Event | None:
    """Read one log; None when it is not an event of this contract that we know."""
    found = contract.event(log)
    if found is None or found[0] not in _READERS:
        return None
    name, fields = found
    return _READERS[name](StudyId(fields["study"]), log, fields)


def read_events(contract: Contract, logs: Iterable[Log]) -> list[Event]:
    """Read the events of this contract, in the order of the logs."""
    events = (read_event(contract, log) for log in logs)
    return [event for event in events if event is not None]


def _in_order(kind: Callable[..., Event], *names: str) -> _Reader:
    def read(study: StudyId, log: Log, fields: dict[str, Any]) -> Event:
        return kind(study, log, *(fields[name] for name in names))

    return read


def _study_created(study: StudyId, log: Log, fields: dict[str, Any]) -> Event:
    params: Sequence[Any] = fields["params"]
    return StudyCreated(
        study, log, StudyParams.from_abi(params), fields["coordinators"], fields["auditors"]
    )


def _round_closed(study: StudyId, log: Log, fields: dict[str, Any]) -> Event:
    closing = Closing(Record(*fields["record"]), fields["coordinator"], fields["closedAt"])
    return RoundClosed(study, log, fields["round"], closing)


def _overturned(study: StudyId, log: Log, fields: dict[str, Any]) -> Event:
    return Overturned(
        study,
        log,
        fields["round"],
        fields["coordinator"],
        fields["challenger"],
        fields["reason"].rstrip(b"\0").decode("ascii", "replace"),
        fields["openedAt"],
        fields["next"],
    )


_READERS: dict[str, _Reader] = {
    "StudyCreated": _study_created,
    "Funded": _in_order(Funded, "from", "amount"),
    "SiteAdmitted": _in_order(SiteAdmitted, "site", "payout", "maxWeight", "since"),
    "SiteRemoved": _in_order(SiteRemoved, "site", "until"),
    "BondPosted": _in_order(BondPosted, "coordinator", "amount"),
    "BondReleased": _in_order(BondReleased, "coordinator", "amount"),
    "StudyOpened": _in_order(StudyOpened, "coordinator", "openedAt"),
    "Contributed": _in_order(Contributed, "round", "site", "update", "weight"),
    "RoundClosed": _round_closed,
    "Attested": _in_order(Attested, "round", "signatures"),
    "TookOver": _in_order(TookOver, "round", "to", "from", "openedAt"),
    "Claimed": _in_order(Claimed, "site", "payout", "amount", "cumulative"),
    "Refunded": _in_order(Refunded, "sponsor", "amount"),
    "StudyEnded": _in_order(StudyEnded, "rounds"),
    "Registered": _in_order(
        Registered, "round", "site", "update", "weight", "registeredAt", "entry"
    ),
    "Overturned": _overturned,
    "Slashed": _in_order(Slashed, "coordinator", "challenger", "reward", "burnt"),
    "Held": _in_order(Held, "round", "until"),
    "Collected": _in_order(Collected, "account", "amount"),
}
