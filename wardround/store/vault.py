"""Where sealed objects, key rings and public documents are kept, by the CIDs of their content."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wardround.host.durable import OWNER_ONLY, append_line
from wardround.protocol.canonical import parse_canonical
from wardround.protocol.cid import Cid, sha256_of_cid
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import StudyId
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import ObjectAltered, ObjectMissing
from wardround.store.key_ring import RING_MAX_BYTES, is_ring
from wardround.store.sealing import is_sealed, read_header

#: Manifests of thousands of sites are shorter.
DOCUMENT_MAX_BYTES = 1 << 26

_RINGS = "rings-"


def is_document(data: memoryview) -> bool:
    """Whether an object is public: a manifest, a report, a specification, in canonical JSON.

    The numbers of an update or a model never look like one by chance.
    """
    if not 2 <= len(data) <= DOCUMENT_MAX_BYTES or bytes(data[:1]) != b"{":
        return False
    try:
        parse_canonical(data, "document")
    except Malformed:
        return False
    return not is_ring(data)


class Vault(ABC):
    """Sealed objects by the CID of their content, key rings by study, documents in the clear."""

    @abstractmethod
    def document(self, cid: str, max_bytes: int) -> memoryview:
        """Read and verify what is kept in the clear.

        Raises:
            ObjectMissing, ObjectAltered, ObjectTooLarge: as `Store.get`.
        """

    @abstractmethod
    def keep_document(self, data: memoryview) -> Cid:
        """Keep a document in the clear, durably."""

    @abstractmethod
    def sealed(self, study: StudyId, cid: str) -> memoryview:
        """Read what a content's CID was sealed into; it may be anything that claims to be that.

        Raises:
            ObjectMissing: nothing claims to be.
        """

    @abstractmethod
    def keep_sealed(self, study: StudyId, cid: str, data: memoryview) -> None:
        """Keep a sealed object, durably; later `sealed` gives this one."""

    @abstractmethod
    def rings(self, study: StudyId) -> list[bytes]:
        """Every key ring of a study, not verified."""

    @abstractmethod
    def keep_ring(self, study: StudyId, data: bytes) -> None:
        """Keep a key ring, durably."""

    @abstractmethod
    def cids(self, study: StudyId) -> Iterator[Cid]:
        """Name every content, sealed or in the clear."""

    def close(self) -> None:
        """Let go of connections."""
        return


class LocalVault(Vault):
    """A vault over a content store.

    Sealed objects and rings are objects like any other, under the CIDs of their own bytes. An
    index leads from a content's CID to them; it can be rebuilt, for the objects name themselves.

    Args:
        store: holds the objects.
        index: a folder: one file a content, and one a study for its rings; each line is a CID.
    """

    def __init__(self, store: Store, index: Path) -> None:
        self.store = store
        self._index = index
        self._seen: set[Cid] = set()
        index.mkdir(parents=True, exist_ok=True)

    def document(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        data = self.store.map(cid, max_bytes)
        if is_sealed(data) or is_ring(data):
            # Sealed objects and rings are not read by their own names.
            raise ObjectMissing(cid, "the documents")
        return data

    def keep_document(self, data: memoryview) -> Cid:
        return self.store.put(data)

    def sealed(self, study: StudyId, cid: str) -> memoryview:
        """Read a sealed object, the youngest that is whole. See `Vault.sealed`."""
        sha256_of_cid(cid)  # a name that could lead out of the folder is refused
        for again in (False, True):
            if again:
                self.scan()
            for name in reversed(self._lines(cid)):
                try:
                    data = self.store.map(name)
                    header = read_header(data)
                except (ObjectMissing, ObjectAltered, Malformed):
                    continue
                if (header.study, header.cid) == (study, cid):
                    return data
        raise ObjectMissing(cid, "the sealed objects")

    def keep_sealed(self, study: StudyId, cid: str, data: memoryview) -> None:
        sha256_of_cid(cid)
        self._add(cid, self.store.put(data))

    def rings(self, study: StudyId) -> list[bytes]:
        found: list[bytes] = []
        for again in (False, True):
            if again:
                self.scan()
            names = dict.fromkeys(self._lines(_RINGS + study.hex()))
            found = []
            for name in names:
                with suppress(ObjectMissing, ObjectAltered):
                    found.append(self.store.get(name, RING_MAX_BYTES))
            if found and len(found) == len(names):
                break
        return found

    def keep_ring(self, study: StudyId, data: bytes) -> None:
        self._add(_RINGS + study.hex(), self.store.put(data))

    def cids(self, study: StudyId) -> Iterator[Cid]:
        self.scan()
        found = {Cid(path.name) for path in self._index.iterdir() if path.name.startswith("b")}
        for name in self.store.cids():
            data = self.store.map(name)
            if not is_sealed(data) and not is_ring(data):
                found.add(name)
        yield from sorted(found)

    def scan(self) -> None:
        """Add to the index what it does not have: after a loss, or written by another process."""
        for name in self.store.cids():
            if name in self._seen:
                continue
            self._seen.add(name)
            try:
                data = self.store.map(name)
                if is_sealed(data):
                    self._add(read_header(data).cid, name)
                elif is_ring(data):
                    value = parse_canonical(bytes(data), "key ring")
                    self._add(_RINGS + bytes.fromhex(str(value["study"])[2:]).hex(), name)
            except (ObjectMissing, ObjectAltered, Malformed, KeyError, ValueError):
                continue

    def _lines(self, name: str) -> list[str]:
        try:
            text = (self._index / name).read_text("ascii", errors="replace")
        except FileNotFoundError:
            return []
        # A last line that a crash has cut off is no CID.
        return [line for line in text.split("\n")[:-1] if _is_cid(line)]

    def _add(self, name: str, cid: Cid) -> None:
        if cid in self._lines(name):
            return
        append_line(self._index / name, cid.encode(), mode=OWNER_ONLY)


def _is_cid(text: str) -> bool:
    try:
        sha256_of_cid(text)
    except Malformed:
        return False
    return True
