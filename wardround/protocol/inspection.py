"""Look through a round's entries and vectors for what is wrong, and cut the evidence out.

A replay has failed for a round; this module finds where, and prepares what a
contract needs to see it too.

Source:
    RFC 9162 section 2.1.3 (inclusion proofs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from wardround.protocol.contribution import ENTRY_BYTES, Entry
from wardround.protocol.errors import Malformed
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    CHUNK_COORDINATES,
    CoordinateEvidence,
    Leaf,
    OmissionEvidence,
    OrderEvidence,
)
from wardround.protocol.fixed_point import BLOCK, Int32Vector
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.merkle import CHUNK_BYTES, inclusion_proof, leaf_hash, vector_leaves
from wardround.protocol.record import Record
from wardround.protocol.rules import Rule, aggregate

# ---------------------------------------------------------------- vectors


def chunk_leaf(data: bytes | memoryview, index: int) -> Leaf:
    """Cut one 1024-byte chunk out of a vector's bytes, with its proof.

    Raises:
        Malformed: the vector has no such chunk.
    """
    view = memoryview(data).cast("B")
    path = inclusion_proof(vector_leaves(view), index)
    start = index * CHUNK_BYTES
    return Leaf(index, bytes(view[start : start + CHUNK_BYTES]), tuple(path))


def first_wrong_coordinate(
    rule: Rule,
    base: Int32Vector,
    updates: Sequence[Int32Vector],
    weights: Sequence[int],
    model: Int32Vector,
) -> int | None:
    """Find the first coordinate in which a recorded model is not base plus aggregate.

    Args:
        rule: the study's.
        base: the model before, int32, shape (P,).
        updates: int32 arrays of shape (P,), one per site.
        weights: one per site; only the mean uses them.
        model: the recorded one, int32, shape (P,).
    Returns:
        The coordinate, or None when all are right. A sum outside of int32 is always wrong: an
        honest coordinator cannot close such a round.
    Raises:
        ProtocolError: the updates cannot be aggregated at all; see
        `wardround.protocol.rules.aggregate`.
    """
    change = aggregate(rule, updates, weights)
    for start in range(0, base.size, BLOCK):
        block = slice(start, start + BLOCK)
        wrong = base[block].astype(np.int64) + change[block] != model[block]
        if wrong.any():
            return start + int(np.argmax(wrong))
    return None


def coordinate_evidence(
    coordinate: int,
    entries: bytes,
    updates: Sequence[Int32Vector],
    base: Int32Vector,
    model: Int32Vector,
) -> CoordinateEvidence:
    """Collect what a contract needs to compute one coordinate itself.

    Args:
        coordinate: which one, from 0.
        entries: packed, in the order of the record's tree.
        updates: int32 arrays of shape (P,), in the order of the entries.
        base: the model before.
        model: the recorded model.
    """
    index = coordinate // CHUNK_COORDINATES

    def leaf(vector: Int32Vector) -> Leaf:
        return chunk_leaf(vector.data, index)

    return CoordinateEvidence(
        coordinate, entries, tuple(map(leaf, updates)), leaf(base), leaf(model)
    )


# ---------------------------------------------------------------- entries


def split_entries(entries: bytes) -> list[bytes]:
    """Split packed entries without reading them.

    Raises:
        Malformed: not a whole number of entries.
    """
    if len(entries) % ENTRY_BYTES:
        raise Malformed("entries", f"{len(entries)} bytes are not a multiple of {ENTRY_BYTES}")
    return [entries[start : start + ENTRY_BYTES] for start in range(0, len(entries), ENTRY_BYTES)]


def entry_leaf(entries: Sequence[bytes], index: int) -> Leaf:
    """One packed entry with its proof.

    Raises:
        Malformed: there is no such entry.
    """
    path = inclusion_proof([leaf_hash(entry) for entry in entries], index)
    return Leaf(index, entries[index], tuple(path))


def unsorted_pair(entries: Sequence[bytes]) -> OrderEvidence | None:
    """Prove that two neighbours are one site twice, or not ascending; None when none are."""
    for index, (first, second) in enumerate(pairwise(entries)):
        if first[:20] >= second[:20]:
            return OrderEvidence(entry_leaf(entries, index), entry_leaf(entries, index + 1))
    return None


def omission(entries: Sequence[bytes], site: SiteAddress) -> OmissionEvidence:
    """Prove that a site has no entry.

    Args:
        entries: packed, ascending by site, at least one.
        site: the one that is missing.
    Raises:
        Malformed: it is not missing.
    """
    key = bytes.fromhex(site[2:])
    place = sum(entry[:20] < key for entry in entries)
    if place < len(entries) and entries[place][:20] == key:
        raise Malformed("omission", f"{site} stands among the entries")
    return OmissionEvidence(
        site,
        place,
        entry_leaf(entries, place - 1) if place else None,
        entry_leaf(entries, place) if place < len(entries) else None,
    )


def wrong_totals(entries: Sequence[Entry], record: Record) -> str | None:
    """Name how a record's count or total weight differs from its entries."""
    count, total = len(entries), sum(entry.weight for entry in entries)
    if count != record.count:
        return f"the record counts {record.count} contributions, its tree holds {count}"
    if total != record.total_weight:
        return f"the record's total weight is {record.total_weight}, its entries' is {total}"
    return None


# ---------------------------------------------------------------- tally


def tally_steps(entries: bytes, limit_bytes: int = CALLDATA_LIMIT) -> Iterator[bytes]:
    """Cut packed entries into parts that each fit one transaction."""
    size = limit_bytes // ENTRY_BYTES * ENTRY_BYTES
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
