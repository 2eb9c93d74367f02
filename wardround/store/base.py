"""What every content store does.

An object is named by its CID, so it can never be changed, only be missing or altered, and every
read finds that out: no caller hashes again what a store returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from wardround.protocol.cid import Cid

MAX_OBJECT_BYTES = 1 << 32


class Store(ABC):
    """Objects under their CIDs.

    Attributes:
        is_forkable: whether a process may go on reading it after a fork, beside its parent; not
            where the two would share a connection or a place in a file.
    """

    is_forkable: bool = False

    @abstractmethod
    def put(self, data: bytes | memoryview) -> Cid:
        """Keep an object; when this returns, it survives a crash. Idempotent."""

    def put_public(self, data: bytes | memoryview) -> Cid:
        """Keep an object that everybody may read, also where the store encrypts; see `put`."""
        return self.put(data)

    @abstractmethod
    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Read an object whole.

        Args:
            cid: as `put` returned it.
            max_bytes: what the caller is ready to hold; nothing longer is ever read.

        Raises:
            Malformed: not a CID.
            ObjectMissing: not here.
            ObjectAltered: the bytes found here are not those that the CID names.
            ObjectTooLarge: longer than `max_bytes`.
        """

    @abstractmethod
    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        """Verify a large object and give a read-only view of it without a copy, where possible.

        Raises:
            As `get`.
        """

    @abstractmethod
    def has(self, cid: str) -> bool:
        """Whether an object of this CID is here; it is not read."""

    def size(self, cid: str) -> int | None:
        """Bytes of an object, unverified; None where they are not known without reading it.

        Raises:
            ObjectMissing: not here.
        """
        return None

    @abstractmethod
    def cids(self) -> Iterator[Cid]:
        """Name every object, in the order of their CIDs."""

    def close(self) -> None:
        """Let go of connections; the next request opens them again."""
        return
