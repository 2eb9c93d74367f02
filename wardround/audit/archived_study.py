"""The study of an archive, from transactions that verify themselves.

Checked with no chain: every signed transaction gives its hash and its sender; every header gives
its block's hash; every log is in the receipts that the header's root is over; every closing is the
record that its transaction carried. Not checked here: whether those blocks are the chain's, and
whether something was left out of the archive between them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eth_utils import keccak

from wardround.audit.archive import BLOCKS, JOURNAL, JOURNAL_MAX_BYTES, TRANSACTIONS, Archive
from wardround.chain.artifacts import load_artifact
from wardround.chain.chain import Chain
from wardround.chain.contract import Contract, Log
from wardround.chain.events import (
    CohortLocked,
    Event,
    OtherEvent,
    Overturned,
    Registered,
    RoundClosed,
    StudyCreated,
    read_events,
)
from wardround.chain.headers import read_header, receipts_root
from wardround.chain.signed import read_signed
from wardround.chain.study_reader import members_of
from wardround.chain.study_state import ClosedOnChain
from wardround.devchain.journal import replay_journal
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import Malformed, StudyMismatch
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import StudyId, address_of, bytes32, hex_of

_BROKEN = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError)


@dataclass(frozen=True)
class ArchivedTransaction:
    """A transaction of an archive.

    Attributes:
        sender: recovered from the signature; None where it is not in the archive as signed.
        to, data: what was called, from the signed bytes.
    """

    hash: str
    block: int
    gas_used: int
    sender: str | None
    to: str | None
    data: bytes
    logs: tuple[Log, ...]


class ArchivedStudy:
    """The study of an archive, as `wardround.audit.audit.StudyRecords`.

    Attributes:
        study: its id.
        transactions: in the order of the chain.
        signed: how many of them are there as they were signed.
        blocks: how many headers and receipt roots were recomputed.
    """

    def __init__(self, archive: Archive) -> None:
        """Read and check the transactions.

        Raises:
            ProtocolError: one does not prove what it states.
        """
        self._invalid = archive.invalid
        described = archive.description
        self.domain = Domain(described.chain_id, address_of(described.contract))
        self.study = StudyId(bytes32(described.study, "study"))
        self._contract = Contract(load_artifact("WardRound").abi, self.domain.contract)
        receipts = dict(self._blocks(archive))
        self.blocks = len(receipts)
        self.transactions = list(self._transactions(archive, receipts))
        self.signed = sum(one.sender is not None for one in self.transactions)
        events = read_events(self._contract, (log for one in self.transactions for log in one.logs))
        self._events: list[Event] = [event for event in events if event.study == self.study]

    def facts(self, study: StudyId) -> StudyFacts:
        """The study by the archive's events, independent of any round.

        Raises:
            StudyMismatch: it has no such study, or other parameters, coordinators or auditors.
        """
        events = (event for event in self._events if isinstance(event, StudyCreated))
        created = next((event for event in events if event.params.study_id == study), None)
        if created is None:
            raise StudyMismatch("study", "not in the archive", hex_of(study))
        created.params.check_parties(created.parties)
        return StudyFacts(self.domain, created.params, members_of(self._events))

    def rounds_of(self, study: StudyId) -> int:
        """How many rounds the study has; fewer than its parameters where it was ended."""
        ended = [
            int(event.values["rounds"])
            for event in self._events
            if isinstance(event, OtherEvent) and event.name == "StudyEnded"
        ]
        return ended[-1] if ended else self.facts(study).params.rounds

    def closed_rounds(self, study: StudyId) -> list[ClosedOnChain]:
        """The closings that stand at the end of the archive.

        Raises:
            ProtocolError: a transaction carried another record than its event has.
        """
        standing: dict[int, RoundClosed] = {}
        for event in self._events:
            if isinstance(event, RoundClosed):
                standing[event.round] = event
            elif isinstance(event, Overturned):
                standing = {one: had for one, had in standing.items() if one < event.round}
        return [self._closed(standing[number]) for number in sorted(standing)]

    def registered(self, study: StudyId, round_number: int) -> list[Registered]:
        """Contributions that sites registered for a round, the last of each site."""
        found = {
            event.site: event
            for event in self._events
            if isinstance(event, Registered) and event.round == round_number
        }
        return list(found.values())

    def locked_by(self, study: StudyId, round_number: int, by_block: int) -> str | None:
        """Who locked a round's cohort last, up to a block; None where it was not locked."""
        found = [
            event.coordinator
            for event in self._events
            if isinstance(event, CohortLocked)
            and event.round == round_number
            and event.log.block_number <= by_block
        ]
        return found[-1] if found else None

    def require_in(self, chain: Chain) -> None:
        """Hold the archive's transactions against a chain.

        Raises:
            ProtocolError: one is not there, or has logged something else.
        """
        if chain.chain_id != self.domain.chain_id:
            raise self._invalid(f"its journal is of chain {chain.chain_id}")
        for sent in self.transactions:
            receipt = chain.receipt(sent.hash)
            if receipt is None or receipt.block_number != sent.block:
                raise self._invalid(f"transaction {sent.hash} is not in its journal")
            if not set(sent.logs) <= set(receipt.logs) or receipt.gas_used != sent.gas_used:
                raise self._invalid(f"transaction {sent.hash} gives something else when executed")

    def _closed(self, event: RoundClosed) -> ClosedOnChain:
        sent = next(one for one in self.transactions if one.hash == event.log.transaction_hash)
        entries = None
        called = None
        if sent.to == self.domain.contract:
            called = self._contract.arguments(sent.data)
        if called is not None:
            name, arguments = called
            if name in ("closeRound", "closeRoundRoot"):
                study, number, record = list(arguments.values())[:3]
                stated = (study, number, tuple(record))
                if stated != (self.study, event.round, event.closing.record.abi()):
                    raise self._invalid(f"transaction {sent.hash} closed another round")
                entries = arguments.get("entries") or self._locked(event)
        return ClosedOnChain(
            event.round, event.closing, entries, sent.hash, sent.block, sent.gas_used
        )

    def _locked(self, event: RoundClosed) -> bytes | None:
        """The entries of the lock before a closing, where it had one with full recording."""
        entries = None
        for sent in self.transactions:
            if sent.hash == event.log.transaction_hash:
                break
            called = None
            if sent.to == self.domain.contract:
                called = self._contract.arguments(sent.data)
            if called is None or called[0] != "lockCohort":
                continue
            if (called[1]["study"], called[1]["round"]) == (self.study, event.round):
                entries = bytes(called[1]["entries"])
        return entries

    # ---------------------------------------------------------------- reading

    def _blocks(self, archive: Archive) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
        """Receipts by the hash of their block, which they were found to belong to."""
        if BLOCKS not in archive.names:
            return
        for line in archive.lines(BLOCKS):
            try:
                header, receipts = read_header(line["header"]), line["receipts"]
                root, stated = receipts_root(receipts), line["header"]["receiptsRoot"]
            except _BROKEN as error:
                raise self._invalid(f"a block is malformed ({error!r:.60})") from error
            if header.recomputed != header.hash:
                raise self._invalid(f"the header of block {header.number} has another hash")
            if root != stated:
                raise self._invalid(f"the receipts of block {header.number} have another root")
            yield header.hash, receipts

    def _transactions(
        self, archive: Archive, receipts: Mapping[str, list[Mapping[str, Any]]]
    ) -> Iterator[ArchivedTransaction]:
        before = (-1, -1)
        for line in archive.lines(TRANSACTIONS):
            try:
                sent, place, block_hash = self._sent(line)
                found = receipts.get(block_hash)
                if found is not None:
                    self._match(sent, found[place[1]])
            except Malformed as error:
                raise self._invalid(f"{error}") from error
            except _BROKEN as error:
                raise self._invalid(f"a transaction is malformed ({error!r:.60})") from error
            if place <= before:
                raise self._invalid("its transactions repeat or are out of order")
            if receipts and found is None:
                raise self._invalid(f"the block of transaction {sent.hash} is missing")
            before = place
            yield sent

    def _sent(self, line: Mapping[str, Any]) -> tuple[ArchivedTransaction, tuple[int, int], str]:
        name, block, position = line["hash"], line["block"], line["position"]
        if not isinstance(block, int) or not isinstance(position, int) or position < 0:
            raise ValueError("its place is no number")
        sender, to, data = None, None, b""
        if line["raw"] is not None:
            raw = bytes.fromhex(line["raw"][2:])
            if hex_of(keccak(raw)) != name:
                raise self._invalid(f"transaction {name} as signed has another hash")
            signed = read_signed(raw)
            sender, to, data = signed.sender, signed.to, signed.data
        logs = tuple(
            Log(
                address_of(log["address"]),
                tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
                block,
                name,
                log["index"],
            )
            for log in line["logs"]
        )
        gas = line["gasUsed"]
        return (
            ArchivedTransaction(name, block, gas, sender, to, data, logs),
            (block, position),
            line["blockHash"],
        )

    def _match(self, sent: ArchivedTransaction, receipt: Mapping[str, Any]) -> None:
        """Every log that is stated must be in the receipt, in its order."""
        there = iter(
            (
                log["address"].lower(),
                tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
            )
            for log in receipt["logs"]
        )
        for log in sent.logs:
            if (log.address.lower(), log.topics, log.data) not in there:
                raise self._invalid(f"a log of transaction {sent.hash} is not in its receipt")


@contextmanager
def replayed_journal(archive: Archive) -> Iterator[Chain]:
    """Execute an archive's journal again.

    Raises:
        JournalAltered: a line was changed, or has another effect than it states.
    """
    with TemporaryDirectory(prefix="wardround-") as folder:
        path = Path(folder) / JOURNAL
        path.write_bytes(archive.read(JOURNAL, JOURNAL_MAX_BYTES))
        chain = replay_journal(path, f"archive-{os.getpid()}-{time.monotonic_ns()}")
        try:
            yield chain
        finally:
            chain.close()
