"""The views and events of WardRound, typed.

Source:
    IWardRound.sol
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from wardround.chain.artifacts import load_artifact
from wardround.chain.blocks import Receipt
from wardround.chain.bound import BoundContract
from wardround.chain.chain import Chain
from wardround.chain.contract import AbiItem, Contract
from wardround.chain.errors import ContractReverted, TransactionRefused
from wardround.chain.events import (
    Claimed,
    CohortLocked,
    Event,
    Overturned,
    Registered,
    RoundClosed,
    SiteAdmitted,
    SiteRemoved,
    StudyCreated,
    read_events,
)
from wardround.chain.study_state import (
    STILL_MEMBER,
    ClosedOnChain,
    OpenRound,
    Seat,
    SiteSlot,
    StudyState,
)
from wardround.chain.study_token import StudyToken
from wardround.protocol.contribution import Domain, is_signed_by_key
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.facts import Member, StudyFacts
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.record import (
    ZERO_ADDRESS,
    Closing,
    Recording,
    RuleId,
    ScoringId,
    StudyParams,
    genesis_closing,
)

#: Source: ERC-1271 (standard signature validation method for contracts).
_ERC1271: tuple[AbiItem, ...] = (
    {
        "type": "function",
        "name": "isValidSignature",
        "inputs": [{"name": "hash", "type": "bytes32"}, {"name": "signature", "type": "bytes"}],
        "outputs": [{"name": "", "type": "bytes4"}],
    },
)
_ERC1271_VALID = bytes.fromhex("1626ba7e")


def members_of(events: Iterable[Event]) -> dict[SiteAddress, Member]:
    """Who was admitted to a study and until when, by its events in order."""
    members: dict[SiteAddress, Member] = {}
    for event in events:
        if isinstance(event, SiteAdmitted):
            members[event.site] = Member(event.max_weight, event.since, STILL_MEMBER)
        elif isinstance(event, SiteRemoved) and event.site in members:
            members[event.site] = replace(members[event.site], until=event.until)
    return members


class StudyReader(BoundContract):
    """What the contract at an address answers about studies; nothing is sent."""

    ARTIFACT = "WardRound"

    def __init__(self, chain: Chain, address: str) -> None:
        # A token's refusal comes through the contract unchanged.
        chain.errors.learn(load_artifact("StudyToken").abi)
        super().__init__(chain, address)

    @property
    def domain(self) -> Domain:
        """What signatures for this contract are good for."""
        return Domain(self.chain.chain_id, self.address)

    def court(self) -> str:
        """Address of the contract that judges challenges."""
        return str(self._ask("COURT"))

    def escrow(self) -> str:
        """Address of the contract that every study's escrow is a clone of."""
        return str(self._ask("ESCROW"))

    def escrow_of(self, study: StudyId) -> str:
        """Where a study's tokens are, also before it is created."""
        return str(self._ask("escrowOf", study))

    def exists(self, study: StudyId) -> bool:
        """Whether a study was created."""
        try:
            self.study(study)
        except ContractReverted as error:
            if error.name == "WardRound_StudyUnknown":
                return False
            raise
        return True

    def study(self, study: StudyId) -> StudyState:
        """Read a study's present state."""
        values: list[Any] = list(self._ask("study", study))
        names = list(StudyState.__dataclass_fields__)
        values[names.index("recording")] = Recording(values[names.index("recording")])
        values[names.index("rule")] = RuleId(values[names.index("rule")])
        values[names.index("scoring")] = ScoringId(values[names.index("scoring")])
        return StudyState(*values)

    def decimals(self, study: StudyId) -> int:
        """Decimals of a study's token; see `StudyToken.decimals`."""
        return StudyToken(self.chain, self.study(study).token).decimals()

    def open_round(self, study: StudyId) -> OpenRound:
        """The round being worked on, in one request.

        Raises:
            ContractReverted: ``WardRound_StudyOver`` after the last round.
        """
        return OpenRound(*self._ask("openRound", study))

    def locked_cohort(self, study: StudyId, round_number: int) -> CohortLocked | None:
        """Read what the open round's cohort was locked as; None where it is not."""
        state = self.study(study)
        if state.head != round_number or state.locked_by == ZERO_ADDRESS:
            return None
        event = self._last_lock(study, round_number)
        if event is None or event.attempt != state.attempt:
            raise StudyMismatch(f"lock of round {round_number}", "locked", "no event")
        return event

    def locked_entries(
        self, study: StudyId, round_number: int, by_block: int | None = None
    ) -> bytes | None:
        """The entries in the calldata of a round's last lock, where it has one with full recording.

        Args:
            study: the study.
            round_number: the round.
            by_block: look at no later lock.
        """
        event = self._last_lock(study, round_number, by_block)
        if event is None:
            return None
        transaction = self.chain.transaction(event.log.transaction_hash)
        if transaction is None or transaction.to != self.address:
            return None
        called = self.contract.arguments(transaction.data)
        return called[1].get("entries") if called is not None else None

    def locked_by(self, study: StudyId, round_number: int, by_block: int) -> str | None:
        """Who locked a round's cohort last, up to a block; None where it was not locked."""
        event = self._last_lock(study, round_number, by_block)
        return None if event is None else event.coordinator

    def commitment(self, study: StudyId, round_number: int) -> bytes:
        """Hash of a round's closing, or of the open round's lock; zero when neither was."""
        return bytes(self._ask("commitment", study, round_number))

    def site(self, study: StudyId, site: str) -> SiteSlot:
        """A site's admission."""
        return SiteSlot(*self._ask("site", study, site))

    def seat(self, study: StudyId, coordinator: str) -> Seat:
        """A coordinator's place and bond."""
        return Seat(*self._ask("seat", study, coordinator))

    def is_auditor(self, study: StudyId, auditor: str) -> bool:
        """Whether an attestation by this address counts."""
        return bool(self._ask("isAuditor", study, auditor))

    def is_paid(self, study: StudyId, round_number: int, site: str) -> bool:
        """Whether a site was paid its share of a round."""
        return bool(self._ask("isPaid", study, round_number, site))

    def paid_of(self, study: StudyId, round_number: int) -> tuple[int, int]:
        """What a round has paid, in the token's smallest unit, and to how many sites."""
        amount, count = self._ask("paidOf", study, round_number)
        return int(amount), int(count)

    def claims(self, study: StudyId, site: str) -> dict[int, int]:
        """What a site was paid, in the token's smallest unit, by round."""
        events = self._logged("Claimed", study, _address_topic(site))
        return {event.round: event.amount for event in events if isinstance(event, Claimed)}

    def claimed(self, study: StudyId, site: str) -> int:
        """All that a site was paid, in the token's smallest unit."""
        return sum(self.claims(study, site).values())

    def payout_changes(self, study: StudyId, site: str) -> int:
        """How often a site's payout address was changed, which its next signature names."""
        topics = [self.contract.event_topic("PayoutChanged"), study, _address_topic(site)]
        return len(self.chain.logs(self.address, topics))

    def is_signed(self, account: str, digest: bytes, signature: bytes) -> bool:
        """Whether an account has signed 32 bytes, by its key or as a contract (ERC-1271)."""
        if is_signed_by_key(account, digest, signature):
            return True
        call = Contract(_ERC1271, account).function("isValidSignature", digest, signature)
        try:
            return bool(self.chain.call(call) == _ERC1271_VALID)
        except (ContractReverted, TransactionRefused):
            return False  # no contract, or one that does not accept it

    def is_fee_paid(self, study: StudyId, round_number: int) -> bool:
        """Whether a round's closing fee was paid."""
        return bool(self._ask("isFeePaid", study, round_number))

    def owed(self, study: StudyId, account: str) -> int:
        """What `collect` would pay."""
        return int(self._ask("owed", study, account))

    def registered(self, study: StudyId, round_number: int) -> list[Registered]:
        """Contributions that were registered for a round as it starts now, one a site."""
        events = self.registrations(study, round_number)
        if not events:
            return []
        # Those on top of a round that was overturned bind no longer.
        start = self.commitment(study, round_number - 1)
        return [event for event in events if event.previous == start]

    def registrations(self, study: StudyId, round_number: int) -> list[Registered]:
        """All that was registered for a round, also on top of rounds that were overturned."""
        events = self._logged("Registered", study, round_number.to_bytes(32, "big"))
        return [event for event in events if isinstance(event, Registered)]

    def registrations_of(self, study: StudyId, site: str) -> list[Registered]:
        """All that was registered for a site, in any round."""
        events = self._logged("Registered", study)
        return [one for one in events if isinstance(one, Registered) and one.site == site]

    def reached_before(self, study: StudyId) -> int:
        """The last round that was open when a round was overturned; 0 if none was.

        The contract lets rounds up to this one wait for the cut-off of registrations.
        """
        if not self._logged("Overturned", study):
            return 0
        closed = reached = 0
        for event in self.events(study):
            if isinstance(event, RoundClosed):
                closed = event.round
            elif isinstance(event, Overturned):
                reached, closed = max(reached, closed + 1), event.round - 1
        return reached

    def is_final(self, study: StudyId, round_number: int, closing: Closing) -> bool:
        """Whether a closing is final; one that is overturned, or none of the study's, is not."""
        try:
            return bool(self._ask("isFinal", study, round_number, closing.abi()))
        except ContractReverted as error:
            if error.name != "WardRound_CommitmentDiffers":
                raise
            return False

    def final_closings(self, study: StudyId) -> list[tuple[int, Closing]]:
        """Read the closings that are final, by attestations or by time, from round 1 on.

        A round is final no later than the next one, so of a thousand ten are asked about.
        """
        closings = self.closings(study)
        count = bisect_left(closings, True, key=lambda one: not self.is_final(study, *one))
        return closings[:count]

    # ---------------------------------------------------------------- events

    def events(
        self, study: StudyId | None = None, from_block: int = 0, to_block: int | None = None
    ) -> list[Event]:
        """Everything that happened, to one study or to all, in chain order."""
        topics = [] if study is None else [None, study]
        return read_events(
            self.contract, self.chain.logs(self.address, topics, from_block, to_block)
        )

    def events_of(self, receipt: Receipt) -> list[Event]:
        """What one transaction did."""
        return read_events(self.contract, receipt.logs)

    def params(self, study: StudyId) -> StudyParams:
        """A study's parameters, checked against its id.

        Raises:
            StudyMismatch: the chain has no such study, or names other parameters.
        """
        return self.created(study).params

    def created(self, study: StudyId) -> StudyCreated:
        """Read the event of a study's creation: its parameters, coordinators and auditors.

        Raises:
            StudyMismatch: the chain has no such study, or names other parameters, coordinators or
                auditors than its id.
        """
        for event in self._logged("StudyCreated", study):
            if isinstance(event, StudyCreated) and event.params.study_id == study:
                event.params.check_parties(event.parties)
                return event
        raise StudyMismatch(
            "study", "no such study", hex_of(study), "check its id and the contract"
        )

    def facts(self, study: StudyId) -> StudyFacts:
        """Read what is on chain about a study, independent of any round.

        Raises:
            StudyMismatch: the chain has no such study, or names other parameters.
        """
        return StudyFacts(self.domain, self.params(study), self.members(study))

    def members(self, study: StudyId) -> dict[SiteAddress, Member]:
        """Who is or was admitted to a study, and until when."""
        # A site that was removed is never admitted again, so removals may be read last.
        admitted, removed = (self._logged(one, study) for one in ("SiteAdmitted", "SiteRemoved"))
        return members_of([*admitted, *removed])

    def rounds_of(self, study: StudyId) -> int:
        """How many rounds a study has; fewer than its parameters where it was ended."""
        return self.study(study).rounds

    def closed_rounds(self, study: StudyId) -> list[ClosedOnChain]:
        """Read all closed rounds, from 1 on without a gap.

        Raises:
            StudyMismatch: an event is not what the contract committed to.
        """
        head = self.study(study).head
        # A round that was overturned is closed again: its last closing is the valid one.
        last = {event.round: event for event in self._closing_events(study)}
        return [self._closed(study, number, last.get(number)) for number in range(1, head)]

    def closed(self, study: StudyId, round_number: int) -> ClosedOnChain:
        """Read one closed round by its number.

        Raises:
            StudyMismatch: it was never closed, or its event is not the contract's.
        """
        return self._closed(study, round_number, self._last_closing(study, round_number))

    def closings(self, study: StudyId) -> list[tuple[int, Closing]]:
        """Read all closings by round from 1 on, in three requests however many there are.

        Only the last one is compared with what the contract is committed to. The next
        round builds on it; `closed_rounds` checks the others too.

        Raises:
            StudyMismatch: an event is missing, or the last is not the contract's.
        """
        head = self.study(study).head
        last = {event.round: event.closing for event in self._closing_events(study)}
        numbers = range(1, head)
        if missing := [number for number in numbers if number not in last]:
            raise StudyMismatch(f"closing of round {missing[0]}", "committed to", "no event")
        if head > 1:
            commitment = self.commitment(study, head - 1)
            if last[head - 1].commitment != commitment:
                found = hex_of(last[head - 1].commitment)
                raise StudyMismatch(f"closing of round {head - 1}", hex_of(commitment), found)
        return [(number, last[number]) for number in numbers]

    def last_closing(self, study: StudyId) -> Closing:
        """The closing of the last round that stands; the study's start where there is none."""
        closings = self.closings(study)
        return closings[-1][1] if closings else genesis_closing(self.params(study).initial_model)

    def closed_round(self, study: StudyId, event: RoundClosed) -> ClosedOnChain:
        """Read the round that an event closed.

        Raises:
            StudyMismatch: the contract is committed to another closing, or the round is open
                again.
        """
        head = self.study(study).head
        if head <= event.round:
            raise StudyMismatch("open round", str(head), f"behind round {event.round}")
        return self._closed(study, event.round, event)

    # ---------------------------------------------------------------- inside

    def _closed(
        self, study: StudyId, round_number: int, event: RoundClosed | None
    ) -> ClosedOnChain:
        commitment = self.commitment(study, round_number)
        if event is None or event.closing.commitment != commitment:
            found = "no event" if event is None else hex_of(event.closing.commitment)
            raise StudyMismatch(f"closing of round {round_number}", hex_of(commitment), found)
        log = event.log
        transaction = self.chain.transaction(log.transaction_hash)
        receipt = self.chain.receipt(log.transaction_hash)
        if transaction is None or receipt is None:
            raise StudyMismatch(
                f"transaction of round {round_number}", "not there", log.transaction_hash
            )
        entries = None
        if transaction.to == self.address:
            called = self.contract.arguments(transaction.data)
            if called is not None and called[0] == "closeRound":
                entries = called[1]["entries"]
            elif called is not None and called[0] == "closeRoundRoot":
                entries = self.locked_entries(study, round_number, log.block_number)
        return ClosedOnChain(
            round_number,
            event.closing,
            entries,
            log.transaction_hash,
            log.block_number,
            receipt.gas_used,
        )

    def _last_lock(
        self, study: StudyId, round_number: int, by_block: int | None = None
    ) -> CohortLocked | None:
        found = [
            event
            for event in self._logged("CohortLocked", study, round_number.to_bytes(32, "big"))
            if isinstance(event, CohortLocked)
            and (by_block is None or event.log.block_number <= by_block)
        ]
        return found[-1] if found else None

    def _last_closing(self, study: StudyId, round_number: int) -> RoundClosed | None:
        closings = self._closing_events(study, round_number.to_bytes(32, "big"))
        return closings[-1] if closings else None

    def _closing_events(self, study: StudyId, *topics: bytes) -> list[RoundClosed]:
        events = self._logged("RoundClosed", study, *topics)
        return [event for event in events if isinstance(event, RoundClosed)]

    def _logged(self, event: str, study: StudyId, *topics: bytes) -> list[Event]:
        wanted = [self.contract.event_topic(event), study, *topics]
        return read_events(self.contract, self.chain.logs(self.address, wanted))

    def _happened(self, event: str, study: StudyId, *addresses: str) -> bool:
        return bool(self._logged(event, study, *map(_address_topic, addresses)))


def _address_topic(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
