"""The journal of a development chain: every signed transaction, so that all can be run again.

A byte changed anywhere is found on its line, see `wardround.devchain.journal_lines`. Lines missing
at the end are not: keep `Journal.digest` elsewhere, or ask the chain that is run again what it
should hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from wardround.chain.chain import Chain
from wardround.chain.contract import Log
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.errors import JournalAltered, journal_in_use
from wardround.devchain.evm import Executed, Genesis, Refused
from wardround.devchain.journal_lines import FIRST, Content, JournalEntry, header, parse, sealed
from wardround.host.durable import replacing, write_durably
from wardround.host.lock import take_lock
from wardround.protocol.canonical import canonical_bytes

#: Of one transaction: its signed bytes, its status, and the digest of what it logged.
Outcome = tuple[bytes, int, bytes]


def logs_digest(logs: Iterable[Log]) -> bytes:
    """SHA-256 over the canonical list of address, topics and data of each log, 32 bytes."""
    documents = [
        {
            "address": log.address.lower(),
            "data": "0x" + log.data.hex(),
            "topics": ["0x" + topic.hex() for topic in log.topics],
        }
        for log in logs
    ]
    return sha256(canonical_bytes(documents)).digest()


class Journal:
    """A journal open for appending; one process at a time.

    Attributes:
        digest: of the last line; it commits to the whole journal.
    """

    def __init__(self, path: Path, content: Content, descriptor: int) -> None:
        """For `create` and `reopen`, which check what they pass."""
        self.path = path
        self.genesis = content.genesis
        self.digest = content.digest
        self.next_block = content.entries[-1].block + 1 if content.entries else 1
        self._next_index = len(content.entries)
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, genesis: Genesis) -> Journal:
        """Start a journal in a new file.

        Raises:
            FileExistsError: there is one already; nothing is ever overwritten.
        """
        line, digest = sealed(header(genesis), FIRST)
        write_durably(path, line, new=True)
        return cls(path, Content(genesis, (), (digest,)), _opened(path))

    @classmethod
    def reopen(cls, path: Path) -> tuple[Journal, Content]:
        """Open a journal to go on, dropping a last line that a crash cut off.

        Raises:
            JournalAltered: a line is not the one that was written.
            ChainError: another process appends to it.
        """
        descriptor = _opened(path)
        try:
            data = path.read_bytes()
            content, whole_bytes = parse(path, data, torn_allowed=True)
            if whole_bytes < len(data):
                os.ftruncate(descriptor, whole_bytes)
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, content, descriptor), content

    def append(
        self,
        block: int,
        timestamp: int,
        outcomes: Sequence[Outcome],
        seal: tuple[bytes, int] | None = None,
    ) -> None:
        """Add a block; when this returns, it survives a crash.

        Args:
            block: its number.
            timestamp: its time.
            outcomes: its transactions, in order; none for an empty block.
            seal: its hash and base fee, for its last line; where blocks have it, one that a crash
                has cut short shows.
        """
        listed = outcomes or [(b"", 1, logs_digest(()))]
        lines, digest = b"", self.digest
        for place, (raw, status, logs) in enumerate(listed):
            closing = seal if seal is not None and place == len(listed) - 1 else (None, None)
            entry = JournalEntry(
                self._next_index + place, block, timestamp, raw, status, logs, *closing
            )
            line, digest = sealed(entry.document(), digest)
            lines += line
        written = 0
        while written < len(lines):
            written += os.write(self._descriptor, lines[written:])
        os.fsync(self._descriptor)
        self.digest = digest
        self._next_index += len(listed)
        self.next_block = block + 1

    def record(self, block: int, timestamp: int, mined: list[Executed]) -> None:
        """Add a block of an embedded chain: a `wardround.devchain.embedded.Recorder`."""
        self.append(
            block, timestamp, [(one.raw, one.status, logs_digest(one.logs)) for one in mined]
        )

    def catch_up(self, chain: Chain) -> None:
        """Add the blocks that a chain of our own has mined since the last call.

        Args:
            chain: started from this journal's genesis, such as an anvil's.
        """
        for number in range(self.next_block, chain.block().number + 1):
            block = chain.block(number)
            outcomes = []
            for transaction_hash in block.transactions:
                raw = bytes.fromhex(chain.rpc("eth_getRawTransactionByHash", transaction_hash)[2:])
                receipt = chain.receipt(transaction_hash)
                assert receipt is not None  # its block has it
                outcomes.append((raw, receipt.status, logs_digest(receipt.logs)))
            seal = None
            if block.block_hash is not None and block.base_fee_wei is not None:
                seal = bytes.fromhex(block.block_hash[2:]), block.base_fee_wei
            self.append(number, block.timestamp, outcomes, seal)

    def rewind(self, block: int) -> None:
        """Forget every block after this one: a reorganisation. All or nothing, also in a crash."""
        content, _ = parse(self.path, self.path.read_bytes(), torn_allowed=True)
        kept = tuple(entry for entry in content.entries if entry.block <= block)
        lines, digest = sealed(header(self.genesis), FIRST)
        for entry in kept:
            line, digest = sealed(entry.document(), digest)
            lines += line
        with replacing(self.path) as file:
            file.write(lines)
            # Locked before it has the name: at no moment could another process append to it.
            descriptor = _opened(Path(file.name))
        os.close(self._descriptor)
        self._descriptor = descriptor
        self.digest = digest
        self._next_index = len(kept)
        self.next_block = kept[-1].block + 1 if kept else 1

    def close(self) -> None:
        """Let other processes append. Harmless the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_journal(path: Path) -> Content:
    """Read a journal and check every line.

    Raises:
        JournalAltered: a line is not the one that was written, or the last was cut off by a crash;
            `Journal.reopen` drops that one.
    """
    content, _ = parse(path, path.read_bytes(), torn_allowed=False)
    return content


def replay_journal(path: Path, name: str = "replay") -> EmbeddedChain:
    """Run all of a journal again on a fresh EVM.

    Args:
        path: the journal, of an embedded chain or of an anvil of ours.
        name: of the chain that comes out, as in ``embedded:NAME``.

    Returns:
        A chain in the state that the journal leads to.

    Raises:
        JournalAltered: a line was changed or cut off, or gives another outcome when run.
    """
    return _replayed(path, read_journal(path), name, None)


def start_journaled(path: Path, chain: EmbeddedChain) -> Journal:
    """Keep a journal of an embedded chain that has no block yet but its first.

    From now on a transaction is in the journal before its sender has the receipt.
    """
    journal = Journal.create(path, chain.genesis)
    chain.provider.follow(journal.record)
    return journal


def resume_journaled(
    path: Path, name: str, clock: Callable[[], int] | None = None
) -> tuple[EmbeddedChain, Journal]:
    """Bring back an embedded chain whose process has ended, and go on with its journal.

    Args:
        path: the journal.
        name: of the chain, as in ``embedded:NAME``.
        clock: as of `EmbeddedChain`, for the blocks to come.

    Raises:
        JournalAltered: a line was changed, or gives another outcome when run.
        ChainError: the process still runs.
    """
    journal, content = Journal.reopen(path)
    try:
        chain = _replayed(path, content, name, clock)
    except BaseException:
        journal.close()
        raise
    chain.provider.follow(journal.record)
    return chain, journal


def _replayed(
    path: Path, content: Content, name: str, clock: Callable[[], int] | None
) -> EmbeddedChain:
    chain = EmbeddedChain(name, content.genesis, clock)
    try:
        for _, block in groupby(content.entries, key=lambda entry: entry.block):
            _repeat(path, chain, list(block))
    except BaseException:
        chain.close()
        raise
    return chain


def _repeat(path: Path, chain: EmbeddedChain, block: list[JournalEntry]) -> None:
    line = block[0].index + 2
    timestamp = block[0].timestamp
    try:
        mined = chain.provider.repeat(timestamp, [entry.raw for entry in block if entry.raw])
    except Refused as error:
        raise JournalAltered(str(path), line, f"the chain refuses it: {error}") from error
    if block[0].raw == b"":
        return
    for entry, one in zip(block, mined, strict=True):
        if one.status != entry.status:
            reason = f"run again its status is {one.status}, not {entry.status}"
            raise JournalAltered(str(path), entry.index + 2, reason)
        if logs_digest(one.logs) != entry.logs:
            raise JournalAltered(str(path), entry.index + 2, "run again it logs something else")


def _opened(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    if not take_lock(descriptor):
        os.close(descriptor)
        raise journal_in_use(path)
    return descriptor
