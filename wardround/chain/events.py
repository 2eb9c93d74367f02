"""The events of WardRound as frozen dataclasses, and how they are read from logs.

An event that this library acts on, or whose fields it names otherwise than the contract, has a
class of its own; the others are `OtherEvent`.

Source:
    IWardRoundBase.sol, section "events". Fields are the contract's, in snake case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import DecodingError
from pydantic.alias_generators import to_snake

from wardround.chain.contract import Contract, Log
from wardround.chain.errors import unreadable_log
from wardround.host.reason import reason_of
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId
from wardround.protocol.record import Closing, Record, StudyParams, StudyParties


@dataclass(frozen=True)
class Event:
    """An event of a study, with its log."""

    study: StudyId
    log: Log


@dataclass(frozen=True)
class OtherEvent(Event):
    """An event by the contract's name, with its other fields in the contract's order."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class StudyCreated(Event):
    """A study exists; nothing has been paid in yet."""

    params: StudyParams
    parties: StudyParties


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
class RoundClosed(Event):
    """A round is closed and the next is open."""

    round: int
    closing: Closing


@dataclass(frozen=True)
class CohortLocked(Event):
    """The open round is closed with these contributions or not at all, in this attempt.

    Attributes:
        attempt: how many rounds were overturned before.
        coordinator: who locked, and answers for it.
    """

    round: int
    attempt: int
    coordinator: str
    contributions: Root
    count: int
    total_weight: int

    @property
    def closing(self) -> Closing:
        """What the lock commits to: a closing without a model, whose time is the attempt.

        Source:
            WardRoundTypes.sol: Closing.
        """
        none = bytes(32)
        roots = self.contributions, Root(none), Digest(none), Root(none)
        cohort = Record(*roots, self.count, self.total_weight)
        return Closing(cohort, self.coordinator, self.attempt)


@dataclass(frozen=True)
class TookOver(Event):
    """A standby is the active coordinator now."""

    round: int
    coordinator: str
    previous: str
    opened_at: int


@dataclass(frozen=True)
class Registered(Event):
    """A site's contribution was put on chain, so that it cannot be left out.

    Attributes:
        sender: who put it there, against a deposit.
        previous: the commitment of the round before, on whose model it builds.
        entry: packed, 157 bytes.
    """

    round: int
    site: SiteAddress
    sender: str
    previous: bytes
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
class Claimed(Event):
    """A site was paid its share of a final round."""

    site: SiteAddress
    round: int
    payout: str
    amount: int


@dataclass(frozen=True)
class Slashed(Event):
    """A coordinator lost its bond: one part to the challenger, the other burnt.

    ``reward`` is 0 for a proof in the open while another challenge was to be revealed.
    """

    coordinator: str
    challenger: str
    reward: int
    burnt: int


def read_event(contract: Contract, log: Log) -> Event | None:
    """Read one log; None when it is not an event of this contract about a study."""
    name, fields = contract.event(log) or ("", {})
    if "study" not in fields:
        return None
    study = StudyId(fields.pop("study"))
    if name == "StudyCreated":
        parties = StudyParties.of(fields["coordinators"], fields["auditors"])
        # The parameters have the sponsor as well.
        fields = {"params": StudyParams.from_abi(fields["params"]), "parties": parties}
    elif name == "RoundClosed":
        record = Record(*fields["record"])
        closing = Closing(record, fields["coordinator"], fields["closedAt"])
        fields = {"round": fields["round"], "closing": closing}
    elif name == "Overturned":
        fields["reason"] = fields["reason"].rstrip(b"\0").decode("ascii", "replace")
    if name in _READERS:
        return _READERS[name](study, log, *fields.values())
    return OtherEvent(study, log, name, {to_snake(key): fields[key] for key in fields})


def read_events(contract: Contract, logs: Iterable[Log]) -> list[Event]:
    """Read the events of this contract, in the order of the logs.

    Raises:
        ChainError: a node gives as a log of the contract what it cannot have logged.
    """
    events = []
    for log in logs:
        try:
            event = read_event(contract, log)
        except (DecodingError, ValueError) as error:
            raise unreadable_log(log.address, log.transaction_hash, reason_of(error)) from error
        if event is not None:
            events.append(event)
    return events


#: Classes by the contract's names; each has the event's fields in the contract's order.
_READERS: dict[str, Callable[..., Event]] = {
    kind.__name__: kind
    for kind in (
        *(StudyCreated, Funded, SiteAdmitted, SiteRemoved, RoundClosed, TookOver, Registered),
        *(CohortLocked, Overturned, Claimed, Slashed),
    )
}
