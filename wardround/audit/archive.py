"""Evidence in one file: a study, or one of its rounds, to be verified with no chain and no store.

A ZIP archive of fixed names. Nothing in it is trusted: names, sizes and ratios are checked before
anything is read, and nothing is ever unpacked to a disk.

    evidence.json            what it is: chain, contract, study, first round, blocks looked at
    chain/transactions.jsonl each transaction as it was signed, with what it logged
    chain/blocks.jsonl       each block's header, and all receipts that its root is over
    journal.jsonl            of a development chain: every transaction from its first block on
    objects/CID              specification, manifests, reports, updates, models
    abi/NAME.json            how to read the events and calls
    README.txt               what it proves and what not
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field

from wardround.protocol.cid import Cid, cid_of, sha256_of_cid
from wardround.protocol.documents import Form, validate_form
from wardround.protocol.errors import ProtocolError, WardroundError
from wardround.protocol.report import Address, Hex32
from wardround.protocol.version import FORMER, Protocol
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge

FORMAT = "wardround-evidence/1"
TRANSACTIONS = "chain/transactions.jsonl"
BLOCKS = "chain/blocks.jsonl"
JOURNAL = "journal.jsonl"
DESCRIPTION = "evidence.json"
INSTRUCTIONS = "README.txt"

#: Of all entries together, and of each kind that is read whole.
MAX_BYTES = 1 << 33
MAX_ENTRIES = 200_000
_MAX_DOCUMENT_BYTES = 1 << 20
_MAX_LINES_BYTES = 1 << 30
JOURNAL_MAX_BYTES = 1 << 30
#: Deflate cannot do better than about a thousand to one; honest entries are far below.
_MAX_RATIO = 200
_SMALL_BYTES = 1 << 20

_NAME = re.compile(
    r"evidence\.json|README\.txt|journal\.jsonl|chain/(?:transactions|blocks)\.jsonl"
    r"|abi/(?:WardRound|Court)\.json|objects/b[a-z2-7]{58}",
    re.ASCII,
)
_ENCRYPTED = 1


class Description(Form):
    """``evidence.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: A file from before it was written here is another protocol's.
    protocol: Annotated[Protocol, Field(validate_default=True)] = cast(Protocol, FORMER)
    format: str
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    court: Address
    study: Hex32
    first_round: Annotated[int, Field(ge=1, lt=2**32)]
    last_round: Annotated[int, Field(ge=0, lt=2**32)]
    first_block: Annotated[int, Field(ge=0, lt=2**53)]
    last_block: Annotated[int, Field(ge=-1, lt=2**53)]
    last_hash: Hex32


class Archive:
    """An evidence archive, open to read; use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        """Open it and look at its names and sizes.

        Raises:
            ProtocolError: it is none, or is built to do harm.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise self.invalid(f"it is no ZIP archive ({error})") from error
        try:
            self._entries = self._looked_at()
            text = self.read(DESCRIPTION, _MAX_DOCUMENT_BYTES)
            self.description = self._described(text)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def names(self) -> frozenset[str]:
        """What is in it."""
        return frozenset(self._entries)

    def size(self, name: str) -> int:
        """How many bytes an entry has, by its header."""
        return self._entries[name].file_size

    def read(self, name: str, max_bytes: int) -> bytes:
        """Read an entry whole.

        Raises:
            ProtocolError: it is missing, longer than its header or the limit, or damaged.
        """
        found = self._entries.get(name)
        if found is None:
            raise self.invalid(f"{name} is missing")
        if found.file_size > max_bytes:
            reason = f"{name} has {found.file_size} bytes where at most {max_bytes} belong"
            raise self.invalid(reason)
        try:
            with self._zip.open(found) as file:
                data = file.read(found.file_size + 1)
        except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError) as error:
            raise self.invalid(f"{name} is damaged ({error})") from error
        except Exception as error:
            # zlib's own error has no public base class but Exception.
            if type(error).__module__ != "zlib":
                raise
            raise self.invalid(f"{name} is damaged ({error})") from error
        if len(data) != found.file_size:
            raise self.invalid(f"{name} has not as many bytes as it says")
        return data

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The JSON objects of an entry, one a line.

        Raises:
            ProtocolError: a line is none.
        """
        for number, line in enumerate(self.read(name, _MAX_LINES_BYTES).splitlines(), start=1):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise self.invalid(f"{name}:{number} is not JSON") from error
            if not isinstance(value, dict):
                raise self.invalid(f"{name}:{number} is no object")
            yield value

    def invalid(self, reason: str) -> ProtocolError:
        """It is no archive, or does not prove what it claims."""
        return ProtocolError(f"archive {self.path}: {reason}: do not rely on it.")

    def _looked_at(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        total = 0
        infos = self._zip.infolist()
        if len(infos) > MAX_ENTRIES:
            raise self.invalid(f"it has {len(infos)} entries")
        for info in infos:
            name = info.filename
            if not _NAME.fullmatch(name) or name in found:
                raise self.invalid(f"an entry {name!r:.60} does not belong")
            if info.flag_bits & _ENCRYPTED:
                raise self.invalid(f"{name} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.invalid(f"{name} is compressed in another way")
            packed = max(1, info.compress_size)
            if info.file_size > _SMALL_BYTES and info.file_size // packed > _MAX_RATIO:
                raise self.invalid(f"{name} unpacks to far more than it is")
            total += info.file_size
            found[name] = info
        if total > MAX_BYTES:
            raise self.invalid(f"it unpacks to {total} bytes")
        return found

    def _described(self, data: bytes) -> Description:
        try:
            value = json.loads(data)
            described = validate_form(Description, value, "", f"{self.path}:{DESCRIPTION}")
        except (ValueError, RecursionError, WardroundError) as error:
            raise self.invalid(f"{DESCRIPTION}: {error}") from error
        if described.format != FORMAT:
            raise self.invalid(f"its format is not {FORMAT}")
        return described


class ArchiveStore(Store):
    """The objects of an archive; every read is verified against the CID."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def put(self, data: bytes | memoryview) -> Cid:
        """Refuse: an archive is read alone."""
        raise self._archive.invalid("nothing can be put into it")

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        sha256_of_cid(cid)
        name = f"objects/{cid}"
        if name not in self._archive.names:
            raise ObjectMissing(cid, str(self._archive.path))
        size = self._archive.size(name)
        if size > max_bytes:
            raise ObjectTooLarge(cid, size, max_bytes)
        data = self._archive.read(name, size)
        found = cid_of(data)
        if found != cid:
            raise ObjectAltered(cid, found, str(self._archive.path))
        return data

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        return memoryview(self.get(cid, max_bytes))

    def has(self, cid: str) -> bool:
        """Whether an object is in it, unread."""
        return f"objects/{cid}" in self._archive.names

    def cids(self) -> Iterator[Cid]:
        """Name every object, in order."""
        names = sorted(name for name in self._archive.names if name.startswith("objects/"))
        return (Cid(name.removeprefix("objects/")) for name in names)
