"""The lines of a journal: what each holds, and the digests that chain them.

One RFC 8785 JSON object a line. The first line is the genesis; each other line
is a transaction, or a block without one (``raw`` is ``0x``). Every line ends with a digest:
SHA-256 over the digest of the line before and the line itself without its digest. A byte changed
anywhere is found on its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from wardround.devchain.errors import JournalAltered
from wardround.devchain.evm import Genesis
from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.errors import Malformed

FORMAT = "wardround-journal/1"
#: What the first line's digest follows from.
FIRST = bytes(32)

_SEAL_FIELDS = {"baseFee", "hash"}
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_ENTRY_FIELDS = {"block", "digest", "index", "logs", "raw", "status", "timestamp"}
_HEADER_FIELDS = {"balances", "chainId", "digest", "format", "timestamp"}


@dataclass(frozen=True)
class JournalEntry:
    """One line: a transaction and what became of it.

    Args:
        index: from 0, without a gap.
        block: the block's number.
        timestamp: the block's, seconds since 1970.
        raw: the signed transaction; empty for a block that has none.
        status: 1 when it succeeded, 0 when it failed and was mined all the same.
        logs: SHA-256 of what it logged, see `wardround.devchain.journal.logs_digest`.
        block_hash: the block's, 32 bytes, on its last line, where it must come out equal.
        base_fee_wei: the block's, beside its hash; after a reorganisation anvil's does not follow
            from the block before.
    """

    index: int
    block: int
    timestamp: int
    raw: bytes
    status: int
    logs: bytes
    block_hash: bytes | None = None
    base_fee_wei: int | None = None

    def document(self) -> dict[str, Any]:
        """The line as a JSON value, without its digest."""
        document: dict[str, Any] = {
            "block": self.block,
            "index": self.index,
            "logs": "0x" + self.logs.hex(),
            "raw": "0x" + self.raw.hex(),
            "status": self.status,
            "timestamp": self.timestamp,
        }
        if self.block_hash is not None:
            document["hash"] = "0x" + self.block_hash.hex()
            document["baseFee"] = str(self.base_fee_wei)
        return document


@dataclass(frozen=True)
class Content:
    """A journal that was read and found whole.

    Attributes:
        digests: of every line from the first; what was noted of a journal that went on since is
            among them.
    """

    genesis: Genesis
    entries: tuple[JournalEntry, ...]
    digests: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """Of the last line; it commits to the whole journal."""
        return self.digests[-1]


def header(genesis: Genesis) -> dict[str, Any]:
    """The first line as a JSON value, without its digest."""
    return {
        "balances": {
            address.lower(): str(balance) for address, balance in genesis.balances.items()
        },
        "chainId": genesis.chain_id,
        "format": FORMAT,
        "timestamp": genesis.timestamp,
    }


def parse(path: Path, data: bytes, torn_allowed: bool) -> tuple[Content, int]:
    """Read lines and check each against the one before.

    Returns:
        What they hold, and how many bytes of them are whole lines.

    Raises:
        JournalAltered: a line is not the one that was written; names it.
    """
    *lines, tail = data.split(b"\n")
    if not lines:
        raise JournalAltered(str(path), 1, "there is no whole line")
    documents: list[dict[str, Any]] = []
    digests: list[bytes] = []
    digest = FIRST
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
            raise JournalAltered(str(path), number, "cut off", truncated=True)
    return Content(genesis, entries, tuple(digests)), len(data) - len(tail)


def _checked(path: Path, number: int, line: bytes, before: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        document = parse_canonical(line, "line")
    except Malformed as error:
        raise JournalAltered(str(path), number, error.reason) from error
    if not isinstance(document, dict) or "digest" not in document:
        raise JournalAltered(str(path), number, "not a line of a journal")
    stated = document.pop("digest")
    _, digest = sealed(document, before)
    if stated != "0x" + digest.hex():
        raise JournalAltered(str(path), number, "its digest does not follow from its bytes")
    return document, digest


def _genesis(path: Path, document: Mapping[str, Any]) -> Genesis:
    if document.get("format") != FORMAT or set(document) != _HEADER_FIELDS - {"digest"}:
        raise JournalAltered(str(path), 1, f"not a journal of format {FORMAT}")
    _require_numbers(path, 1, document, ("chainId", "timestamp"))
    balances = document["balances"]
    if not isinstance(balances, dict) or not all(
        _ADDRESS.fullmatch(address) and _is(_DECIMAL, balance)
        for address, balance in balances.items()
    ):
        raise JournalAltered(str(path), 1, "its balances are no decimal numbers by address")
    balances = {address: int(balance) for address, balance in balances.items()}
    return Genesis(document["chainId"], document["timestamp"], balances)


def _entries(path: Path, documents: list[dict[str, Any]]) -> Iterator[JournalEntry]:
    block = 0
    for index, document in enumerate(documents):
        line = index + 2
        fields = set(document)
        sealed_block = fields >= _SEAL_FIELDS
        wanted = _ENTRY_FIELDS - {"digest"} | (_SEAL_FIELDS if sealed_block else set())
        if fields == wanted:
            _require_numbers(path, line, document, ("block", "index", "status", "timestamp"))
        if fields != wanted or document["index"] != index:
            raise JournalAltered(str(path), line, "not the line that belongs here")
        if document["block"] not in (block, block + 1):
            raise JournalAltered(str(path), line, "its block does not follow")
        if not all(_is(_HEX, document[field]) for field in fields & {"raw", "logs", "hash"}):
            raise JournalAltered(str(path), line, "not lower-case hexadecimal")
        if sealed_block and not _is(_DECIMAL, document["baseFee"]):
            raise JournalAltered(str(path), line, "its fee is not a decimal number")
        block = document["block"]
        yield JournalEntry(
            index,
            block,
            document["timestamp"],
            bytes.fromhex(document["raw"][2:]),
            document["status"],
            bytes.fromhex(document["logs"][2:]),
            bytes.fromhex(document["hash"][2:]) if sealed_block else None,
            int(document["baseFee"]) if sealed_block else None,
        )


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _require_numbers(
    path: Path, line: int, document: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    for name in names:
        # type() and not isinstance(): true is no number.
        if type(document[name]) is not int or document[name] < 0:
            raise JournalAltered(str(path), line, f"its {name} is no number from 0 on")


def sealed(document: Mapping[str, Any], before: bytes) -> tuple[bytes, bytes]:
    """The line of a document, and its digest, 32 bytes, which the next line follows from."""
    digest = sha256(before + canonical_bytes(document)).digest()
    return canonical_bytes({**document, "digest": "0x" + digest.hex()}) + b"\n", digest
