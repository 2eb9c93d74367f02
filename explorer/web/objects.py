"""Objects of the content store as pages show them; what is altered is shown as altered."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from ledger.errors import ObjectAltered, ObjectMissing, StoreError
from ledger.store import FolderStore, Store
from protocol.cid import cid_from_sha256, cid_of
from protocol.errors import ProtocolError, WardroundError
from protocol.fixed_point import vector_from_bytes
from protocol.identifiers import hex_of
from protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from protocol.merkle import vector_root
from protocol.report import REPORT_MAX_BYTES, Report, parse_report
from protocol.study import StudySpec, parse_specification

#: What one page or check may download; larger objects are fetched from the store itself.
RAW_BYTES_MAX = 64 << 20
_SPECIFICATION_MAX_BYTES = 1 << 20
_COORDINATES_SHOWN = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """A document, or why it cannot be shown. ``altered`` when it is not what the chain names."""

    value: T | None
    problem: str = ""
    altered: bool = False


@dataclass(frozen=True)
class Shown:
    """An object as a page shows it."""

    kind: str
    bytes: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    problem: str = ""


class Objects:
    """Reads objects by their names. Every read is verified by the store."""

    def __init__(self, store: Store | None) -> None:
        self.store = store

    def manifest(self, digest: bytes) -> Found[Manifest]:
        """The manifest with this SHA-256."""
        return self._document(digest, MANIFEST_MAX_BYTES, _manifest)

    def report(self, digest: bytes) -> Found[Report]:
        """The report with this SHA-256."""
        return self._document(digest, REPORT_MAX_BYTES, _report)

    def specification(self, digest: bytes) -> Found[StudySpec]:
        """The specification with this SHA-256."""
        return self._document(digest, _SPECIFICATION_MAX_BYTES, _specification)

    def raw(self, cid: str) -> bytes:
        """An object's bytes as they are here, altered or not: whoever asks is about to hash them.

        Raises:
            StoreError: not here, or too large for a page.
        """
        if self.store is None:
            raise ObjectMissing(cid, "no content store")
        try:
            return self.store.get(cid, RAW_BYTES_MAX)
        except ObjectAltered:
            if not isinstance(self.store, FolderStore):
                raise
            with (self.store.folder / cid).open("rb") as file:
                return file.read(RAW_BYTES_MAX)

    def shown(self, cid: str) -> Shown:
        """An object, told by reading it as each kind in turn.

        Raises:
            StoreError: not here, or too large for a page.
        """
        data = self.raw(cid)
        found = cid_of(data)
        problem = "" if found == cid else f"Its bytes have the name {found}."
        kind, facts, text = _described(data)
        return Shown(kind, len(data), facts, text, problem)

    def _document(self, digest: bytes, limit: int, parse: Callable[[bytes], T]) -> Found[T]:
        if self.store is None:
            return Found(None, "This explorer was started without a content store (--store).")
        try:
            return Found(parse(self.store.get(cid_from_sha256(digest), limit)))
        except StoreError as error:
            return Found(None, str(error), altered=isinstance(error, ObjectAltered))
        except WardroundError as error:
            # Its digest is the one on chain, and yet it is no such document.
            return Found(None, str(error), altered=True)


class _Parsed(Generic[T]):
    """Documents parsed once: read again on every page, so that an altered file is seen.

    Bounded by their bytes, because a manifest has from one kilobyte to a thousand.
    """

    def __init__(self, parse: Callable[[bytes], T], bytes_max: int) -> None:
        self._parse = parse
        self._bytes_max = bytes_max
        self._kept: OrderedDict[bytes, T] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, data: bytes) -> T:
        with self._lock:
            if data in self._kept:
                self._kept.move_to_end(data)
                return self._kept[data]
        value = self._parse(data)
        with self._lock:
            if data not in self._kept:
                self._kept[data] = value
                self._bytes += len(data)
            while self._bytes > self._bytes_max:
                self._bytes -= len(self._kept.popitem(last=False)[0])
        return value


_manifest = _Parsed(parse_manifest, 4 << 20)
_report = _Parsed(parse_report, 2 << 20)
_specification = _Parsed(parse_specification, 1 << 20)


def _described(data: bytes) -> tuple[str, list[tuple[str, str]], str]:
    readers: list[tuple[str, Callable[[bytes], object]]] = [
        ("manifest", parse_manifest),
        ("report", parse_report),
        ("specification", parse_specification),
    ]
    if data[:1] == b"{":
        for kind, parse in readers:
            try:
                parse(data)
            except ProtocolError:
                continue
            return kind, [], json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    if not data or len(data) % 4:
        return "unknown object", [("first bytes", data[:64].hex(" "))], ""
    vector = vector_from_bytes(data, len(data) // 4)
    head = ", ".join(str(value) for value in vector[:_COORDINATES_SHOWN].tolist())
    facts = [
        ("coordinates", f"{vector.size:,} int32, little-endian"),
        ("vector root", hex_of(vector_root(data))),
        ("smallest, largest", f"{int(vector.min()):,}, {int(vector.max()):,}"),
    ]
    return "vector", facts, head + (", …" if vector.size > _COORDINATES_SHOWN else "")
