"""Objects of a store found by their roots, where no document names them, or a wrong one."""

from __future__ import annotations

from collections.abc import Iterator

from wardround.protocol.contribution import ENTRY_BYTES, Entry, contributions_root, unpack_entries
from wardround.protocol.errors import WardroundError
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import StudyParams
from wardround.store import Store


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
    """Read the objects of one size, the named one first; the others by CID."""
    for cid in ([] if named is None else [named]) + [one for one in store.cids() if one != named]:
        try:
            if store.size(cid) not in (None, size):
                continue
            data = store.map(cid, size)
        except WardroundError:
            continue
        if data.nbytes == size:
            yield cid, data
