"""From aggregate to record: the one computation that closing and replaying a round share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.contribution import Domain, Entry, contributions_root, total_weight
from wardround.protocol.fixed_point import Int32Vector, add_exact, vector_bytes
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import (
    Dropped,
    Earned,
    Manifest,
    ManifestEntry,
    RewardsRef,
    RuleRef,
    Score,
    ScoringRef,
    VectorRef,
)
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Record
from wardround.protocol.rewards import accumulate, reward_tree, split_floor
from wardround.protocol.scoring import Scoring, alignment_scores
from wardround.protocol.study import StudySpec

#: Gives every update again, in the order of the entries; called only where a score needs it.
Updates = Callable[[], Iterable[Int32Vector]]


@dataclass(frozen=True)
class Vector:
    """A vector with its bytes, root and CID, each computed once."""

    values: Int32Vector
    data: bytes
    root: Root
    cid: Cid

    @classmethod
    def of(cls, values: Int32Vector) -> Vector:
        """Hash a vector, int32 of shape (P,)."""
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
    earned: Mapping[SiteAddress, int]


@dataclass(frozen=True)
class Settlement:
    """A settled round: the new model, who earned what, and what goes on chain."""

    model: Vector
    scores: Mapping[SiteAddress, int]
    shares: Mapping[SiteAddress, int]
    earned: Mapping[SiteAddress, int]
    manifest: Manifest
    manifest_data: bytes
    record: Record


def settle(
    frame: RoundFrame,
    entries: Sequence[Entry],
    objects: Sequence[tuple[str, str]],
    aggregate: Int32Vector,
    updates: Updates,
    dropped: Sequence[Dropped],
) -> Settlement:
    """Compute everything that follows from a round's contributions and their aggregate.

    Args:
        frame: the round.
        entries: contributions sorted by site, at least one.
        objects: CIDs of each entry's update and report, in the same order.
        aggregate: the rule's result over the updates, int32, shape (P,).
        updates: gives the updates again where the scoring rule needs them.
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
    model = Vector.of(add_exact(frame.base.values, aggregate))
    scores = round_scores(spec.scoring, entries, aggregate, updates)
    shares = split_floor(spec.reward_per_round, scores)
    earned = accumulate(frame.earned, shares)
    tree = reward_tree(earned)
    manifest = Manifest(
        protocol="wardround/1",
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
        scoring=ScoringRef(name=spec.scoring.value),
        scores=[Score(site=site.lower(), score=score) for site, score in scores.items()],
        rewards=RewardsRef(
            root=hex_of(tree.root),
            round=str(sum(shares.values())),
            cumulative=[
                Earned(site=site.lower(), amount=str(amount)) for site, amount in earned.items()
            ],
        ),
    )
    data = manifest.encode()
    record = Record(
        contributions=contributions_root(entries),
        model=model.root,
        manifest=sha256_digest(data),
        rewards=tree.root,
        count=len(entries),
        total_weight=total,
        reward_total=sum(earned.values()),
    )
    return Settlement(model, scores, shares, earned, manifest, data, record)


def round_scores(
    scoring: Scoring, entries: Sequence[Entry], aggregate: Int32Vector, updates: Updates
) -> dict[SiteAddress, int]:
    """Score every contribution, in the order of the entries."""
    if scoring is Scoring.EXAMPLES:
        return {entry.site: entry.weight for entry in entries}
    values = alignment_scores(updates(), aggregate)
    return {entry.site: value for entry, value in zip(entries, values, strict=True)}
