"""One store kept in several places: any of them may be away, or damaged.

A write counts once a quorum of the replicas has it. A read takes the first good answer, and gives
the object to the replicas before it that lacked it or had it damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from wardround.host.reason import reason_of
from wardround.protocol.cid import Cid, cid_of
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectTooLarge,
    StoreError,
    StoreUnreachable,
)

Found = TypeVar("Found", bytes, memoryview)


class ReplicatedStore(Store):
    """Replicas of one store, in the order in which they are asked."""

    def __init__(self, replicas: Sequence[Store], quorum: int | None = None) -> None:
        """Hold the replicas.

        Args:
            replicas: at least one.
            quorum: how many must have what is put; by default more than half of them.
        """
        self.replicas = tuple(replicas)
        self.quorum = len(self.replicas) // 2 + 1 if quorum is None else quorum
        if not 1 <= self.quorum <= len(self.replicas):
            raise ValueError(f"a quorum of {self.quorum} among {len(self.replicas)} replicas")
        self.is_forkable = all(replica.is_forkable for replica in self.replicas)

    def put(self, data: bytes | memoryview) -> Cid:
        """Keep an object in every replica that can take it. See `Store.put`.

        Raises:
            StoreUnreachable: fewer than the quorum have it. Those keep it; put it again.
        """
        failed = self._each(lambda replica: replica.put(data))
        if len(self.replicas) - len(failed) < self.quorum:
            raise _too_few(self.quorum, failed)
        return cid_of(data)

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Read an object from the first replica that has it whole. See `Store.get`."""
        return self._first(cid, lambda replica: replica.get(cid, max_bytes))

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        """Map an object from the first replica that has it whole. See `Store.map`."""
        return self._first(cid, lambda replica: replica.map(cid, max_bytes))

    def has(self, cid: str) -> bool:
        """Whether a replica that answers has it. See `Store.has`."""
        away: StoreError | OSError | None = None
        for replica in self.replicas:
            try:
                if replica.has(cid):
                    return True
            except (StoreError, OSError) as error:
                away = error
        if away is not None:
            # It may be there: no answer is not the answer no.
            raise away
        return False

    def cids(self) -> Iterator[Cid]:
        """Name what any replica that answers has. See `Store.cids`."""
        found: set[Cid] = set()
        failed = self._each(lambda replica: found.update(replica.cids()))
        if len(failed) == len(self.replicas):
            raise _too_few(1, failed)
        yield from sorted(found)

    def repair(self) -> int:
        """Give every replica what it lacks or has damaged; return how many objects were given.

        Raises:
            StoreError, OSError: a replica is away, or no replica has an object whole.
        """
        given = 0
        for cid in self.cids():
            lacking = []
            for replica in self.replicas:
                try:
                    replica.map(cid)
                except (ObjectMissing, ObjectAltered):
                    lacking.append(replica)
            if lacking:
                data = self.map(cid)
                for replica in lacking:
                    # `map` has mended those it asked in vain; the others stand behind.
                    replica.put(data)
                    given += 1
        return given

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()

    def _each(self, act: Callable[[Store], object]) -> dict[str, str]:
        """Do something at every replica; return why some failed, by their names."""
        failed: dict[str, str] = {}
        for place, replica in enumerate(self.replicas):
            try:
                act(replica)
            except (StoreError, OSError) as error:
                failed[_name(replica, place)] = reason_of(error)
        return failed

    def _first(self, cid: str, read: Callable[[Store], Found]) -> Found:
        lacking: list[Store] = []
        errors: list[StoreError | OSError] = []
        for replica in self.replicas:
            try:
                found = read(replica)
            except (ObjectMissing, ObjectAltered, ObjectTooLarge) as error:
                # Too large may be damage, too: the others tell.
                lacking.append(replica)
                errors.append(error)
            except (StoreError, OSError) as error:
                errors.append(error)
            else:
                for one in lacking:
                    # The caller has the object; `repair` reports what cannot be mended.
                    with suppress(StoreError, OSError):
                        one.put(found)
                return found
        raise _worst(errors)


def _worst(errors: Sequence[StoreError | OSError]) -> StoreError | OSError:
    """The error when no replica had it: unreachable before too large, damaged, missing."""
    for kind in (StoreUnreachable, OSError, ObjectTooLarge, ObjectAltered):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0]


def _too_few(quorum: int, failed: Mapping[str, str]) -> StoreUnreachable:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    return StoreUnreachable(", ".join(failed), f"{quorum} replicas must answer; {reasons}")


def _name(replica: Store, place: int) -> str:
    return str(getattr(replica, "url", getattr(replica, "folder", f"replica {place}")))
