"""What is shown to a contract to prove that a closed round breaks the rules.

A contract holds only hashes of a round. Each kind of evidence carries the few bytes under those
hashes that a breach shows in: one coordinate, one entry, two neighbours, or all entries.

Source:
    RFC 9162 section 2.1.3 (inclusion proofs); Court.sol.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from wardround.protocol.contribution import ENTRY_BYTES
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.merkle import CHUNK_BYTES
from wardround.protocol.record import RuleId
from wardround.protocol.rules import Rule

#: Nodes pass on no transaction above 128 KiB; the rest is left to signature and head.
CALLDATA_LIMIT = 126 * 1024


@dataclass(frozen=True)
class Leaf:
    """A leaf of a tree with its place, and the siblings that lead to the root."""

    index: int
    data: bytes
    path: tuple[bytes, ...]

    @classmethod
    def opened(cls, index: int, opening: bytes, length: int) -> Leaf:
        """Take an opening apart, whose leaf has so many bytes."""
        path = opening[length:]
        siblings = tuple(path[start : start + 32] for start in range(0, len(path), 32))
        return cls(index, opening[:length], siblings)

    @property
    def opening(self) -> bytes:
        """The leaf, then its siblings one after another, from the leaf upwards."""
        return self.data + b"".join(self.path)

    @property
    def calldata_bytes(self) -> int:
        """Length of data and path."""
        return len(self.data) + 32 * len(self.path)


@dataclass(frozen=True)
class Chunks:
    """Consecutive chunks of a vector, and what leads from them to its root.

    Attributes:
        first: the place of the first of them.
        count: how many they are.
        data: their bytes, one behind the other.
        path: see `merkle.range_proof`.
    """

    first: int
    count: int
    data: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Evidence:
    """What one challenge takes; ``challenge`` names the entry point."""

    challenge: ClassVar[str]

    @property
    def calldata_bytes(self) -> int:
        """About how long the transactions are that carry it: what a challenge costs."""
        raise NotImplementedError


@dataclass(frozen=True)
class EntryEvidence(Evidence):
    """One entry that may not stand in its round: no member's, over its cap, or unsigned."""

    challenge = "challengeEntry"
    entry: Leaf

    @property
    def calldata_bytes(self) -> int:
        return self.entry.calldata_bytes


@dataclass(frozen=True)
class OrderEvidence(Evidence):
    """Two neighbours that are one site twice, or not ascending by site."""

    challenge = "challengeOrder"
    first: Leaf
    second: Leaf

    @property
    def calldata_bytes(self) -> int:
        return self.first.calldata_bytes + self.second.calldata_bytes


@dataclass(frozen=True)
class OmissionEvidence(Evidence):
    """The entries between which a registered site should stand; None beyond either edge.

    ``place`` is where it would stand: the number of entries before it.
    """

    challenge = "challengeOmission"
    site: SiteAddress
    place: int
    before: Leaf | None
    behind: Leaf | None

    @property
    def calldata_bytes(self) -> int:
        return sum(leaf.calldata_bytes for leaf in (self.before, self.behind) if leaf is not None)


@dataclass(frozen=True)
class TotalsEvidence(Evidence):
    """All entries, packed: their count or total weight is not the record's."""

    challenge = "challengeTotals"
    entries: bytes

    @property
    def calldata_bytes(self) -> int:
        return len(self.entries)


class What(IntEnum):
    """What can be demanded, in the contract's order."""

    MODEL = 0
    UPDATE = 1
    ENTRY = 2
    BASE = 3


@dataclass(frozen=True)
class Demand(Evidence):
    """Withheld data: a chunk of a model or of an update, or an entry.

    Attributes:
        what: of which tree it is a leaf.
        index: which leaf.
        entry: of an update, whose it is.
    """

    challenge = "demandChunk"
    what: What
    index: int
    entry: Leaf | None = None

    @property
    def calldata_bytes(self) -> int:
        return 0 if self.entry is None else self.entry.calldata_bytes


@dataclass(frozen=True)
class CoordinateEvidence(Evidence):
    """All entries of a round and one chunk of every vector: enough to compute one coordinate.

    Attributes:
        coordinate: which one, from 0.
        entries: packed, 157 bytes each.
        updates: the chunk of each entry's update, in the order of the entries.
        base: the chunk of the model before; of a sum an empty one, because it is added to nothing.
        model: the chunk of the recorded model.
        width: bytes of a coordinate.
    """

    challenge = "challengeCoordinate"
    coordinate: int
    entries: bytes
    updates: tuple[Leaf, ...]
    base: Leaf
    model: Leaf
    width: int = 4

    @property
    def calldata_bytes(self) -> int:
        leaves = (*self.updates, self.base, self.model)
        return len(self.entries) + sum(leaf.calldata_bytes for leaf in leaves)

    @property
    def values(self) -> tuple[int, ...]:
        """The coordinate in each update."""
        return tuple(value_at(leaf.data, self.coordinate, self.width) for leaf in self.updates)

    def order_statistics(self, rule: Rule) -> tuple[int, int]:
        """The two values between which a rule averages; mean and sum have none: zeros.

        Of a median they are the two middle values, of a trimmed mean the lowest and the highest
        that are kept. A contract that is given them can check their ranks by counting.
        """
        ordered, count = sorted(self.values), len(self.updates)
        if rule.id in (RuleId.MEAN, RuleId.SUM):
            return 0, 0
        if rule.id is RuleId.MEDIAN:
            return ordered[(count - 1) // 2], ordered[count // 2]
        return ordered[rule.argument], ordered[count - 1 - rule.argument]

    def steps(self, limit_bytes: int = CALLDATA_LIMIT) -> list[CoordinateEvidence]:
        """Cut it into parts that each fit one transaction, entries in order.

        Raises:
            Malformed: not even one entry fits.
        """
        fixed = self.calldata_bytes - len(self.updates) * self._entry_cost
        size = (limit_bytes - fixed) // self._entry_cost
        if size < 1:
            raise Malformed("evidence", f"one entry does not fit {limit_bytes} bytes")
        return [
            CoordinateEvidence(
                self.coordinate,
                self.entries[start * ENTRY_BYTES : (start + size) * ENTRY_BYTES],
                self.updates[start : start + size],
                self.base,
                self.model,
                self.width,
            )
            for start in range(0, len(self.updates), size)
        ]

    @property
    def _entry_cost(self) -> int:
        # Vectors have one length, so all chunks at a place have one size and one depth.
        first = self.updates[0]
        return ENTRY_BYTES + len(first.data) + 32 * len(first.path)


def value_at(chunk: bytes, coordinate: int, width: int = 4) -> int:
    """Read a coordinate of so many bytes out of its chunk."""
    start = width * coordinate % CHUNK_BYTES
    return int.from_bytes(chunk[start : start + width], "little", signed=True)
