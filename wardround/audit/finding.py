"""Objects of a store found by their roots, where no document names them, or a wrong one."""

from __future__ import annotations

from collections.abc import Iterator

from wardround.protocol.contribution import ENTRY_BYTES, Entry, contributions_root, unpack_entries
from wardround.protocol.errors import WardroundError
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import StudyParams
from wardround.store import Store
from wardround.store.errors import ObjectTooLarge, StoreError


def find_vector(
    store: Store, params: StudyParams, root: bytes, named: str | None = None
) -> IntVector | None:
    """Find a vector by its root: under the CID that is named, or anywhere in a store.

    Args:
        store: where to look.
        params: the study's.
        root: the vector's.
        named: the CID under which to look first.
    Returns:
        int32, of a sum int64, shape (P,); None when the store has no such vector.
    """
    for _, data in objects_of(store, params.vector_size, named):
        if vector_root(data) == root:
            return params.read_vector(data)
    return None


class VectorIndex:
    """Vectors of a store by their roots: each object is read and hashed once, however many miss."""

    def __init__(self, store: Store, params: StudyParams) -> None:
        self._store, self._params = store, params
        self._cids: dict[bytes, str] = {}
        self._seen: set[str] = set()
        self._is_fresh = False

    def refresh(self) -> None:
        """Look for new objects at the next miss."""
        self._is_fresh = False

    def find(self, root: bytes, named: str | None = None) -> IntVector | None:
        """Find a vector by its root, under the CID that is named or anywhere: see `find_vector`."""
        if root not in self._cids and named is not None and named not in self._seen:
            self._learn(named)
        if root not in self._cids and not self._is_fresh:
            self._scan()
        data = self._read(self._cids[root]) if root in self._cids else None
        return None if data is None else self._params.read_vector(data)

    def _scan(self) -> None:
        self._is_fresh = True
        for cid in _names(self._store):
            if cid not in self._seen:
                self._learn(cid)

    def _learn(self, cid: str) -> None:
        data = self._read(cid)
        if data is not None:
            self._cids[vector_root(data)] = cid

    def _read(self, cid: str) -> memoryview | None:
        """An object of a vector's size; what cannot be read now is tried again later."""
        size = self._params.vector_size
        try:
            if self._store.size(cid) not in (None, size):
                self._seen.add(cid)
                return None
            data = self._store.map(cid, size)
        except ObjectTooLarge:
            self._seen.add(cid)
            return None
        except WardroundError:
            return None
        self._seen.add(cid)
        return data if data.nbytes == size else None


def find_entries(store: Store, root: bytes, count: int) -> list[Entry] | None:
    """Find a cohort's entries, which are stored packed before the cohort is locked.

    Args:
        store: where to look.
        root: the contributions root.
        count: of entries.
    """
    for _, data in objects_of(store, count * ENTRY_BYTES):
        try:
            entries = unpack_entries(bytes(data))
        except WardroundError:
            continue
        if contributions_root(entries) == root:
            return entries
    return None


def objects_of(
    store: Store, size: int, named: str | None = None
) -> Iterator[tuple[str, memoryview]]:
    """Read the objects of one size, the named one first; the others by CID.

    A store that does not answer has none.
    """
    for cid in ([] if named is None else [named]) + [one for one in _names(store) if one != named]:
        try:
            if store.size(cid) not in (None, size):
                continue
            data = store.map(cid, size)
        except WardroundError:
            continue
        if data.nbytes == size:
            yield cid, data


def _names(store: Store) -> list[str]:
    try:
        return list(store.cids())
    except StoreError:
        return []
