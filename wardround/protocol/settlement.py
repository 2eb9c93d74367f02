"""From aggregate to record: the one computation that closing and replaying a round share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.commitments import (
    ROW_BYTES,
    SCORES,
    Commitments,
    commit,
    score_of,
    split_rows,
)
from wardround.protocol.contribution import Domain, Entry, contributions_root, total_weight
from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import (
    IntVector,
    counts_from_bytes,
    vector_bytes,
    vector_from_bytes,
)
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import (
    Dropped,
    Manifest,
    ManifestEntry,
    RowsRef,
    RuleRef,
    ScoringRef,
    VectorRef,
)
from wardround.protocol.merkle import entries_root, vector_root
from wardround.protocol.record import Record
from wardround.protocol.rewards import shares_floor
from wardround.protocol.rules import new_model
from wardround.protocol.study import StudySpec
from wardround.protocol.version import PROTOCOL

#: Reads an object by CID, refusing more than so many bytes, and verifies it against the CID.
Fetch = Callable[[str, int], bytes | memoryview]


@dataclass(frozen=True)
class StoredVector:
    """A vector's bytes as a store gave them, verified against their CID."""

    data: bytes
    cid: Cid


@dataclass(frozen=True)
class Vector:
    """A vector with its bytes, root and CID, each computed once."""

    values: IntVector
    data: bytes
    root: Root
    cid: Cid

    @classmethod
    def of(cls, values: IntVector, stored: StoredVector | None = None) -> Vector:
        """Hash a vector.

        Args:
            values: int32 of shape (P,), or int64 of a study of sums; copied.
            stored: an object read before; the same bytes have its name, and are not hashed again.
        """
        data = vector_bytes(values)
        # A large model is in memory once: its values are its bytes.
        read = counts_from_bytes if values.itemsize == 8 else vector_from_bytes
        values = read(data, values.size)
        cid = stored.cid if stored is not None and stored.data == data else cid_of(data)
        return cls(values, data, vector_root(data), cid)

    def ref(self) -> VectorRef:
        """The entry as a manifest has it."""
        return VectorRef(root=hex_of(self.root), cid=self.cid)


def stored_scores(manifest: Manifest, fetch: Fetch) -> tuple[int, ...]:
    """Read the scores that a closed round pays by, in the order of its entries; none by weight.

    Raises:
        Malformed: the stored rows are none.
        WardroundError: they are missing or altered.
    """
    if SCORES not in manifest.commitments:
        return ()
    size = len(manifest.contributions) * ROW_BYTES[SCORES]
    rows = split_rows(SCORES, bytes(fetch(manifest.commitments[SCORES].cid, size)))
    if len(rows) != len(manifest.contributions):
        raise Malformed(SCORES, f"{len(rows)} rows for {len(manifest.contributions)} entries")
    if entries_root(rows) != manifest.committed()[SCORES]:
        raise Malformed(SCORES, "the rows have another root than the one that is committed to")
    return tuple(map(score_of, rows))


@dataclass(frozen=True)
class RoundFrame:
    """What is fixed before a round begins: where it belongs, and what it starts from."""

    domain: Domain
    study: StudyId
    spec: StudySpec
    round: int
    coordinator: str
    base: Vector


@dataclass(frozen=True)
class Settlement:
    """A settled round: the new model, what each site earns by it, and what goes on chain.

    Attributes:
        commitments: rows by name, to be stored beside model and manifest.
    """

    model: Vector
    shares: Mapping[SiteAddress, int]
    commitments: Commitments
    manifest: Manifest
    manifest_data: bytes
    record: Record


def settle(
    frame: RoundFrame,
    entries: Sequence[Entry],
    objects: Sequence[tuple[str, str]],
    aggregate: IntVector,
    dropped: Sequence[Dropped],
    updates: Sequence[IntVector],
    stored: StoredVector | None = None,
) -> Settlement:
    """Compute everything that follows from a round's contributions and their aggregate.

    Args:
        frame: the round.
        entries: contributions sorted by site, at least one.
        objects: CIDs of each entry's update and report, in the same order.
        aggregate: the rule's result over the updates, int32, of a sum int64, shape (P,).
        dropped: sites that were asked and are not among the entries.
        updates: of each entry, in the same order; not read where `StudySpec.commits` is false, and
            may be left out there.
        stored: the model that is expected, where it was read before.
    Returns:
        The settlement; equal inputs give equal bytes.
    Raises:
        OutOfRange: base plus aggregate leaves int32.
        ProtocolError: a weight is out of range.
        Malformed: the manifest would be too long.
    """
    spec = frame.spec
    total = total_weight(entries)
    weights = [entry.weight for entry in entries]
    committed = commit(spec.rule, spec.scoring, weights, updates, aggregate)
    values = new_model(spec.rule, frame.base.values, aggregate)
    del aggregate  # as large as the model, which is about to be in memory twice
    model = Vector.of(values, stored)
    del values
    manifest = Manifest(
        protocol=PROTOCOL,
        chain_id=frame.domain.chain_id,
        contract=frame.domain.contract.lower(),
        study=hex_of(frame.study),
        round=frame.round,
        coordinator=frame.coordinator.lower(),
        parameters=model.values.size,
        scale_bits=spec.aggregation.scale_bits,
        rule=RuleRef(name=spec.rule.name, argument=spec.rule.argument),
        base=frame.base.ref(),
        model=model.ref(),
        contributions=[
            ManifestEntry.of(entry, *cids) for entry, cids in zip(entries, objects, strict=True)
        ],
        dropped=sorted(dropped, key=lambda row: (row.site, row.reason, row.evidence)),
        scoring=ScoringRef(name=spec.rewards.scoring),
        commitments={
            name: RowsRef(root=hex_of(root), cid=cid_of(committed.data(name)))
            for name, root in committed.roots.items()
        },
    )
    data = manifest.encode()
    record = Record(
        contributions=contributions_root(entries),
        model=model.root,
        manifest=sha256_digest(data),
        commitments=committed.root,
        count=len(entries),
        total_weight=total,
    )
    shares = shares_floor(spec.reward_per_round, entries, total, committed.scores)
    return Settlement(model, shares, committed, manifest, data, record)
