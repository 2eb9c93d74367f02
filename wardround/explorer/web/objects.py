"""Objects of the content store as pages show them; altered ones are shown as altered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from wardround.protocol.cid import cid_of
from wardround.protocol.errors import ProtocolError, WardroundError
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.report import parse_report
from wardround.protocol.study import parse_specification
from wardround.store import FolderStore, Store
from wardround.store.errors import ObjectAltered, StoreError

#: What one page or check may download; larger objects are fetched from the store itself.
RAW_BYTES_MAX = 64 << 20
_ROOT = "vector root"
_SPECIFICATION_MAX_BYTES = 1 << 20
_COORDINATES_SHOWN = 64
_CID = re.compile(r"\b(bafkrei[a-z2-7]{52})\b")
_MEANINGS = {
    "manifest": (
        "What a round was made of: each site's signed update and report, and the models. "
        "Its SHA-256 is in the round's record on chain."
    ),
    "report": (
        "A site's own report of its training in one round; its signature covers the SHA-256."
    ),
    "specification": (
        "The study as its sites agreed on it. Its SHA-256 is among the study's parameters."
    ),
    "vector": (
        "A model or a site's update, as fixed-point numbers: the study's scale_bits say how many "
        "bits of each coordinate are a fraction. Rounds name it by its vector root."
    ),
    "unknown object": "It is in the store, but is nothing that a round or study is made of.",
}


@dataclass(frozen=True)
class Shown:
    """An object as a page shows it."""

    kind: str
    bytes: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    problem: str = ""
    root: str = ""

    @property
    def meaning(self) -> str:
        """What such an object is for."""
        return _MEANINGS.get(self.kind, "")

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The text, cut where it names another object: each piece, and the CID it is or empty."""
        return [
            (piece, piece if place % 2 else "") for place, piece in enumerate(_CID.split(self.text))
        ]


class Objects:
    """Reads objects by their CIDs. Every read is verified by the store."""

    def __init__(self, store: Store | None) -> None:
        self.store = store

    def opened(self) -> Store:
        """The store.

        Raises:
            StoreError: there is none.
        """
        if self.store is None:
            raise StoreError("this explorer has no content store: start it with --store.")
        return self.store

    def altered(self, cid: str) -> str:
        """The error of an object whose bytes do not have its CID; empty otherwise."""
        try:
            if self.store is not None:
                self.store.get(cid, MANIFEST_MAX_BYTES)
        except ObjectAltered as error:
            return str(error)
        except WardroundError:
            return ""
        return ""

    def raw(self, cid: str) -> bytes:
        """An object's bytes as they are here, altered or not: the reader's browser hashes them.

        Raises:
            StoreError: not here, or too large for a page.
        """
        store = self.opened()
        try:
            return store.get(cid, RAW_BYTES_MAX)
        except ObjectAltered:
            if not isinstance(store, FolderStore):
                raise
            with (store.folder / cid).open("rb") as file:
                return file.read(RAW_BYTES_MAX)

    def shown(self, cid: str) -> Shown:
        """An object, its kind found by reading it as each kind in turn.

        Raises:
            StoreError: not here, or too large for a page.
        """
        data = self.raw(cid)
        found = cid_of(data)
        problem = "" if found == cid else f"Its bytes have the CID {found}."
        kind, facts, text = _described(data)
        return Shown(kind, len(data), facts, text, problem, dict(facts).get(_ROOT, ""))


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
        (_ROOT, hex_of(vector_root(data))),
        ("smallest, largest", f"{int(vector.min()):,}, {int(vector.max()):,}"),
    ]
    return "vector", facts, head + (", …" if vector.size > _COORDINATES_SHOWN else "")
