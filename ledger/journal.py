"""The journal of a development chain: every signed transaction, so that all can be run again.

One RFC 8785 JSON object a line. The first line says what the chain starts from; each other line
is a transaction, or a block without one (``raw`` is ``0x``). Every line ends with a digest:
SHA-256 over the digest of the line before and the line itself without its digest. A byte changed
anywhere is found on its line. Lines missing at the end are not: keep `Journal.digest` elsewhere,
or ask the chain that is run again what it should hold.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from ledger.chain import Chain
from ledger.contract import Log
from ledger.embedded import EmbeddedChain
from ledger.errors import JournalAltered, JournalInUse, JournalTruncated
from ledger.evm import Executed, Genesis, Refused
from protocol.canonical import canonical_bytes, parse_canonical
from protocol.errors import NotCanonical

FORMAT = "wardround-journal/1"

_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_FIRST = bytes(32)
_ENTRY_FIELDS = {"block", "digest", "index", "logs", "raw", "status", "timestamp"}
_HEADER_FIELDS = {"balances", "chainId", "digest", "format", "timestamp"}


@dataclass(frozen=True)
class Entry:
    """One line: a transaction and what became of it.

    Args:
        index: from 0, without a gap.
        block: the block's number.
        timestamp: the block's, seconds since 1970.
        raw: the signed transaction; empty for a block that has none.
        status: 1 when it succeeded, 0 when it failed and was mined all the same.
        logs: SHA-256 of what it logged, see `logs_digest`.
    """

    index: int
    block: int
    timestamp: int
    raw: bytes
    status: int
    logs: bytes

    def document(self) -> dict[str, Any]:
        """The line as a JSON value, without its digest."""
        return {
            "block": self.block,
            "index": self.index,
            "logs": "0x" + self.logs.hex(),
            "raw": "0x" + self.raw.hex(),
            "status": self.status,
            "timestamp": self.timestamp,
        }


@dataclass(frozen=True)
class Content:
    """A journal that was read and found whole.

    Attributes:
        digests: of every line from the first; what was noted of a journal that went on since is
            among them.
    """

    genesis: Genesis
    entries: tuple[Entry, ...]
    digests: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """Of the last line; it stands for the whole journal."""
        return self.digests[-1]


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
        digest: of the last line; it stands for the whole journal.
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
        document = {
            "balances": {
                address.lower(): str(balance) for address, balance in genesis.balances.items()
            },
            "chainId": genesis.chain_id,
            "format": FORMAT,
            "timestamp": genesis.timestamp,
        }
        line, digest = _sealed(document, _FIRST)
        # Whole or absent: a first line cut off by a crash could not be mended.
        temporary = path.with_name(f".{path.name}.new")
        with temporary.open("wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
        return cls(path, Content(genesis, (), (digest,)), _opened(path))

    @classmethod
    def reopen(cls, path: Path) -> tuple[Journal, Content]:
        """Open a journal to go on, dropping a last line that a crash cut off.

        Raises:
            JournalAltered: a line is not the one that was written.
            JournalInUse: another process appends to it.
        """
        descriptor = _opened(path)
        try:
            data = path.read_bytes()
            content, whole_bytes = _parse(path, data, torn_allowed=True)
            if whole_bytes < len(data):
                os.ftruncate(descriptor, whole_bytes)
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, content, descriptor), content

    def append(self, block: int, timestamp: int, raw: bytes, status: int, logs: bytes) -> None:
        """Add a transaction; when this returns, it survives a crash."""
        entry = Entry(self._next_index, block, timestamp, raw, status, logs)
        line, self.digest = _sealed(entry.document(), self.digest)
        written = 0
        while written < len(line):
            written += os.write(self._descriptor, line[written:])
        os.fsync(self._descriptor)
        self._next_index += 1
        self.next_block = block + 1

    def record(self, block: int, timestamp: int, mined: list[Executed]) -> None:
        """Add a block of an embedded chain: a `ledger.embedded.Recorder`."""
        if not mined:
            self.append(block, timestamp, b"", 1, logs_digest(()))
        for one in mined:
            self.append(block, timestamp, one.raw, one.status, logs_digest(one.logs))

    def catch_up(self, chain: Chain) -> None:
        """Add the blocks that a chain of our own has mined since the last call.

        Args:
            chain: started from this journal's genesis, such as an anvil's.
        """
        for number in range(self.next_block, chain.block().number + 1):
            block = chain.block(number)
            if not block.transactions:
                self.append(number, block.timestamp, b"", 1, logs_digest(()))
            for transaction_hash in block.transactions:
                raw = bytes.fromhex(chain.rpc("eth_getRawTransactionByHash", transaction_hash)[2:])
                receipt = chain.receipt(transaction_hash)
                assert receipt is not None  # its block has it
                logs = logs_digest(receipt.logs)
                self.append(number, block.timestamp, raw, receipt.status, logs)

    def close(self) -> None:
        """Let other processes append. Harmless the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_journal(path: Path) -> Content:
    """Read a journal and check every line.

    Raises:
        JournalAltered: a line is not the one that was written; names it.
        JournalTruncated: the last line was cut off by a crash; `Journal.reopen` drops it.
    """
    content, _ = _parse(path, path.read_bytes(), torn_allowed=False)
    return content


def replay_journal(path: Path, name: str = "replay") -> EmbeddedChain:
    """Run all of a journal again on a fresh EVM.

    Args:
        path: the journal, of an embedded chain or of an anvil of ours.
        name: of the chain that comes out, as in ``embedded:NAME``.

    Returns:
        A chain in the state that the journal leads to.

    Raises:
        JournalAltered: a line was changed, or does not do what it says.
        JournalTruncated: the last line was cut off.
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
        JournalAltered: a line was changed, or does not do what it says.
        JournalInUse: the process still runs.
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


def _repeat(path: Path, chain: EmbeddedChain, block: list[Entry]) -> None:
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


def _parse(path: Path, data: bytes, torn_allowed: bool) -> tuple[Content, int]:
    *lines, tail = data.split(b"\n")
    if not lines:
        raise JournalAltered(str(path), 1, "there is no whole line")
    documents: list[dict[str, Any]] = []
    digests: list[bytes] = []
    digest = _FIRST
    for number, line in enumerate(lines, start=1):
        document, digest = _checked(path, number, line, digest)
        documents.append(document)
        digests.append(digest)
    genesis = _genesis(path, documents[0])
    entries = tuple(_entries(path, documents[1:]))
    if tail:
        number = len(lines) + 1
        # What a crash leaves is the beginning of a line: nothing after its closing brace.
        if b"}" in tail[:-1]:
            raise JournalAltered(str(path), number, "its end of line was changed")
        if not torn_allowed:
            raise JournalTruncated(str(path), number)
    return Content(genesis, entries, tuple(digests)), len(data) - len(tail)


def _checked(path: Path, number: int, line: bytes, before: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        document = parse_canonical(line, "line")
    except NotCanonical as error:
        raise JournalAltered(str(path), number, error.reason) from error
    if not isinstance(document, dict) or "digest" not in document:
        raise JournalAltered(str(path), number, "not a line of a journal")
    stated = document.pop("digest")
    _, digest = _sealed(document, before)
    if stated != "0x" + digest.hex():
        raise JournalAltered(str(path), number, "its digest does not follow from its bytes")
    return document, digest


def _genesis(path: Path, document: Mapping[str, Any]) -> Genesis:
    if document.get("format") != FORMAT or set(document) != _HEADER_FIELDS - {"digest"}:
        raise JournalAltered(str(path), 1, f"not a journal of format {FORMAT}")
    balances = {address: int(balance) for address, balance in document["balances"].items()}
    return Genesis(document["chainId"], document["timestamp"], balances)


def _entries(path: Path, documents: list[dict[str, Any]]) -> Iterator[Entry]:
    block = 0
    for index, document in enumerate(documents):
        line = index + 2
        if set(document) != _ENTRY_FIELDS - {"digest"} or document["index"] != index:
            raise JournalAltered(str(path), line, "not the line that belongs here")
        if document["block"] not in (block, block + 1):
            raise JournalAltered(str(path), line, "its block does not follow")
        if not all(_HEX.fullmatch(document[field]) for field in ("raw", "logs")):
            raise JournalAltered(str(path), line, "not lower-case hexadecimal")
        block = document["block"]
        yield Entry(
            index,
            block,
            document["timestamp"],
            bytes.fromhex(document["raw"][2:]),
            document["status"],
            bytes.fromhex(document["logs"][2:]),
        )


def _sealed(document: Mapping[str, Any], before: bytes) -> tuple[bytes, bytes]:
    digest = sha256(before + canonical_bytes(document)).digest()
    return canonical_bytes({**document, "digest": "0x" + digest.hex()}) + b"\n", digest


def _opened(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalInUse(str(path)) from error
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
