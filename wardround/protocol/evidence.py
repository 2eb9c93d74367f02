"""What is shown to a contract to prove that a closed round breaks the rules.

A contract holds only hashes of a round. Each kind of evidence carries the few bytes under those
hashes that a breach shows in: one coordinate, one entry, two neighbours, or all entries.

Source:
    RFC 9162 section 2.1.3 (inclusion proofs); Court.sol.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
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
class UpdateEvidence(Evidence):
    """One coordinate of an update that no round can take in.

    Attributes:
        entry: the one that names the update.
        coordinate: beyond the study's bound, or leading the model out of int32.
        update: its chunk in the update.
        base: its chunk in the model before; of a sum an empty one.
    """

    challenge = "challengeUpdate"
    entry: Leaf
    coordinate: int
    update: Leaf
    base: Leaf

    @property
    def calldata_bytes(self) -> int:
        return sum(leaf.calldata_bytes for leaf in (self.entry, self.update, self.base))


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
    DISTANCES = 4
    NORMS = 5
    RANKS = 6
    SCORES = 7

    @property
    def is_named(self) -> bool:
        """Whether it is a row of a named commitment, with a page of its sum tree."""
        return self >= What.DISTANCES


@dataclass(frozen=True)
class Demand(Evidence):
    """Withheld data: a chunk of a model or of an update, an entry, or of a named commitment.

    Attributes:
        what: of which tree it is a leaf.
        index: which leaf; of a named commitment the page of a row's sum tree.
        entry: of an update, whose it is.
        row: of a named commitment.
    """

    challenge = "demandChunk"
    what: What
    index: int
    entry: Leaf | None = None
    row: int = 0

    @property
    def place(self) -> int:
        """Of the entry, or of the row."""
        return self.row if self.entry is None else self.entry.index

    @property
    def calldata_bytes(self) -> int:
        return 0 if self.entry is None else self.entry.calldata_bytes


@dataclass(frozen=True)
class Hidden:
    """Leaves of one tree, or rows of one name, that are not to be had, so that each is demanded.

    Attributes:
        demand: of one of them; the others differ by their place.
        places: of all that are needed.
        shown: those of them that were shown on chain.
        by_row: whether a place is a row; else it is a leaf, or a page of a row's sum tree.
    """

    demand: Demand
    places: range
    shown: Collection[int] = ()
    by_row: bool = False

    def left(self, asked: Collection[int] = ()) -> int:
        """How many are neither shown nor asked for."""
        known = {*self.shown, *asked}
        return len(self.places) - sum(place in self.places for place in known)

    def demands(self, asked: Collection[int] = ()) -> Iterator[Demand]:
        """Demands of what is neither shown nor asked for, in the order of the places."""
        known = {*self.shown, *asked}
        for place in self.places:
            if place in known:
                continue
            if self.by_row:
                yield replace(self.demand, row=place)
            else:
                yield replace(self.demand, index=place)


@dataclass(frozen=True)
class CoordinateEvidence(Evidence):
    """All entries of a round and one chunk of every vector: enough to compute one coordinate.

    Attributes:
        coordinate: which one, from 0.
        entries: packed, 157 bytes each.
        updates: the chunk of each entry's update, in the order of the entries; None where the rule
            leaves the entry out.
        base: the chunk of the model before; of a sum an empty one, because it is added to nothing.
        model: the chunk of the recorded model.
        width: bytes of a coordinate.
        named: where the rule takes norms or ranks, the opening of their root.
        rows: all of them, one behind the other.
    """

    challenge = "challengeCoordinate"
    coordinate: int
    entries: bytes
    updates: tuple[Leaf | None, ...]
    base: Leaf
    model: Leaf
    width: int = 4
    named: bytes = b""
    rows: bytes = b""

    @property
    def calldata_bytes(self) -> int:
        shown = sum(leaf.calldata_bytes for leaf in self.updates if leaf is not None)
        return len(self.entries) + shown + self._fixed_cost

    @property
    def openings(self) -> bytes:
        """The chunks of the updates and their paths, one behind the other."""
        return b"".join(leaf.opening for leaf in self.updates if leaf is not None)

    @property
    def values(self) -> tuple[int, ...]:
        """The coordinate in each update that is shown."""
        shown = (leaf.data for leaf in self.updates if leaf is not None)
        return tuple(value_at(data, self.coordinate, self.width) for data in shown)

    def order_statistics(self, rule: Rule) -> tuple[int, int]:
        """The two values between which a rule averages; zeros where it has none.

        Of a median they are the two middle values, of a trimmed mean the lowest and the highest
        that are kept. A contract that is given them can check their ranks by counting.
        """
        ordered, count = sorted(self.values), len(self.updates)
        if rule.id not in (RuleId.MEDIAN, RuleId.TRIMMED_MEAN):
            return 0, 0
        if rule.id is RuleId.MEDIAN:
            return ordered[(count - 1) // 2], ordered[count // 2]
        return ordered[rule.argument], ordered[count - 1 - rule.argument]

    def steps(self, limit_bytes: int = CALLDATA_LIMIT) -> list[CoordinateEvidence]:
        """Cut it into parts that each fit one transaction, entries in order.

        Raises:
            Malformed: not even one entry fits.
        """
        size = (limit_bytes - self._fixed_cost) // self._entry_cost
        if size < 1:
            raise Malformed("evidence", f"one entry does not fit {limit_bytes} bytes")
        return [
            replace(
                self,
                entries=self.entries[start * ENTRY_BYTES : (start + size) * ENTRY_BYTES],
                updates=self.updates[start : start + size],
            )
            for start in range(0, len(self.updates), size)
        ]

    @property
    def _fixed_cost(self) -> int:
        models = self.base.calldata_bytes + self.model.calldata_bytes
        return models + len(self.named) + len(self.rows)

    @property
    def _entry_cost(self) -> int:
        # Vectors have one length, so all chunks at a place have one size and one depth.
        return ENTRY_BYTES + self.model.calldata_bytes


def value_at(chunk: bytes, coordinate: int, width: int = 4) -> int:
    """Read a coordinate of so many bytes out of its chunk."""
    start = width * coordinate % CHUNK_BYTES
    return int.from_bytes(chunk[start : start + width], "little", signed=True)
