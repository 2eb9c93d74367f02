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
from wardround.protocol.errors import Malformed, OutOfRange
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    Chunks,
    CoordinateEvidence,
    Leaf,
    OmissionEvidence,
    OrderEvidence,
    UpdateEvidence,
)
from wardround.protocol.fixed_point import BLOCK, IntVector, check_fits
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.merkle import (
    CHUNK_BYTES,
    inclusion_proof,
    leaf_hash,
    range_proof,
    vector_leaves,
)
from wardround.protocol.record import Record, RuleId
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


def chunks_from(data: bytes | memoryview, first: int, count: int) -> Chunks:
    """Cut consecutive 1024-byte chunks out of a vector's bytes, with their proof.

    Raises:
        Malformed: the vector has no such chunks.
    """
    view = memoryview(data).cast("B")
    path = range_proof(vector_leaves(view), first, count)
    start = first * CHUNK_BYTES
    return Chunks(first, count, bytes(view[start : start + count * CHUNK_BYTES]), tuple(path))


def first_wrong_coordinate(
    rule: Rule,
    base: IntVector,
    updates: Sequence[IntVector],
    weights: Sequence[int],
    model: IntVector,
) -> int | None:
    """Find the first coordinate in which a recorded model is not what the rule gives.

    Args:
        rule: the study's.
        base: the model before, int32, of a sum int64, shape (P,).
        updates: arrays of the same type and shape, one per site.
        weights: one per site; only the mean uses them.
        model: the recorded one, of the same type and shape.
    Returns:
        The coordinate, or None when all are right. A model outside of int32, and a sum of what
        exceeds the study's bound, are always wrong: no honest coordinator closes such a round.
    Raises:
        ProtocolError: the updates cannot be aggregated at all; see
        `wardround.protocol.rules.aggregate`.
    """
    try:
        change = aggregate(rule, updates, weights)
    except OutOfRange as error:
        return error.index
    for start in range(0, base.size, BLOCK):
        block = slice(start, start + BLOCK)
        expected = change[block].astype(np.int64)
        if rule.id is not RuleId.SUM:
            expected += base[block]
        wrong = expected != model[block]
        if wrong.any():
            return start + int(np.argmax(wrong))
    return None


def coordinate_evidence(
    rule: Rule,
    coordinate: int,
    entries: bytes,
    updates: Sequence[IntVector],
    base: IntVector,
    model: IntVector,
) -> CoordinateEvidence:
    """Collect what a contract needs to compute one coordinate itself.

    Args:
        rule: the study's.
        coordinate: which one, from 0.
        entries: packed, in the order of the record's tree.
        updates: int32 arrays of shape (P,), of a sum int64, in the order of the entries.
        base: the model before; a sum's is not shown.
        model: the recorded model.
    """
    width = rule.id.coordinate_bytes
    index = coordinate * width // CHUNK_BYTES

    def leaf(vector: IntVector) -> Leaf:
        return chunk_leaf(vector.data, index)

    shown = base_leaf(rule.id, base, index)
    return CoordinateEvidence(
        coordinate, entries, tuple(map(leaf, updates)), shown, leaf(model), width
    )


def base_leaf(rule: RuleId, base: IntVector, index: int) -> Leaf:
    """A chunk of the model before; an empty one of a sum, which is added to nothing."""
    return Leaf(index, b"", ()) if rule is RuleId.SUM else chunk_leaf(base.data, index)


def unfit_update(
    rule: Rule, bound: int, entry: Leaf, update: IntVector, base: IntVector
) -> UpdateEvidence | None:
    """Prove that no round can take an update in; None where one can.

    Args:
        rule: the study's.
        bound: the study's, in fixed point.
        entry: the one that names the update.
        update: int32, of a sum int64, shape (P,).
        base: the model before, of the same type and shape; a sum's is not looked at.
    """
    try:
        check_fits(update, bound, None if rule.id is RuleId.SUM else base)
    except OutOfRange as error:
        index = error.index * rule.id.coordinate_bytes // CHUNK_BYTES
        shown = chunk_leaf(update.data, index), base_leaf(rule.id, base, index)
        return UpdateEvidence(entry, error.index, *shown)
    return None


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
