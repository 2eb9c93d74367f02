"""From aggregate to record: the one computation that closing and replaying a round share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import Domain, Entry, contributions_root, total_weight
from wardround.protocol.fixed_point import IntVector, vector_bytes
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import (
    Dropped,
    Manifest,
    ManifestEntry,
    RuleRef,
    ScoringRef,
    VectorRef,
)
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Record
from wardround.protocol.rewards import shares_floor
from wardround.protocol.rules import new_model
from wardround.protocol.study import StudySpec
from wardround.protocol.version import PROTOCOL


@dataclass(frozen=True)
class Vector:
    """A vector with its bytes, root and CID, each computed once."""

    values: IntVector
    data: bytes
    root: Root
    cid: Cid

    @classmethod
    def of(cls, values: IntVector) -> Vector:
        """Hash a vector, int32 of shape (P,), or int64 of a study of sums."""
        data = vector_bytes(values)
        return cls(values, data, vector_root(data), cid_of(data))

    def ref(self) -> VectorRef:
        """The entry as a manifest has it."""
        return VectorRef(root=hex_of(self.root), cid=self.cid)


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
    """A settled round: the new model, what each site earns by it, and what goes on chain."""

    model: Vector
    shares: Mapping[SiteAddress, int]
    manifest: Manifest
    manifest_data: bytes
    record: Record


def settle(
    frame: RoundFrame,
    entries: Sequence[Entry],
    objects: Sequence[tuple[str, str]],
    aggregate: IntVector,
    dropped: Sequence[Dropped],
) -> Settlement:
    """Compute everything that follows from a round's contributions and their aggregate.

    Args:
        frame: the round.
        entries: contributions sorted by site, at least one.
        objects: CIDs of each entry's update and report, in the same order.
        aggregate: the rule's result over the updates, int32, of a sum int64, shape (P,).
        dropped: sites that were asked and are not among the entries.
    Returns:
        The settlement; equal inputs give equal bytes.
    Raises:
        OutOfRange: base plus aggregate leaves int32.
        ProtocolError: a weight is out of range.
        Malformed: the manifest would be too long.
    """
    spec = frame.spec
    total = total_weight(entries)
    model = Vector.of(new_model(spec.rule, frame.base.values, aggregate))
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
        commitments={},
    )
    data = manifest.encode()
    record = Record(
        contributions=contributions_root(entries),
        model=model.root,
        manifest=sha256_digest(data),
        commitments=commitments_root({}),
        count=len(entries),
        total_weight=total,
    )
    shares = shares_floor(spec.reward_per_round, entries, total)
    return Settlement(model, shares, manifest, data, record)
