"""What an honest coordinator may be accused of, with true data and a false claim.

Each accusation is one that would be believed if it were true: the entries, chunks and paths are
those of the round. The accuser is the standby, who would have half of the bond and the role.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.audit.challenge import send_challenge
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested
from wardround.chain.errors import ContractReverted
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import split_rows
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    CoordinateEvidence,
    Demand,
    EntryEvidence,
    Evidence,
    OmissionEvidence,
    OrderEvidence,
    TotalsEvidence,
    What,
)
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.inspection import coordinate_evidence, entry_leaf
from wardround.protocol.manifest import Manifest, parse_manifest
from wardround.protocol.rules import Rule
from wardround.protocol.whole_inspection import scaled_by, with_rows
from wardround.store import Store

#: So few bytes a transaction that the smallest round takes several.
SMALL_STEPS_BYTES = 4000


@dataclass(frozen=True)
class Accused:
    """An honest round, with everything that the store has of it."""

    court: Court
    contested: Contested
    rule: Rule
    parameter_count: int
    manifest: Manifest
    store: Store

    @classmethod
    def of(
        cls, court: Court, contested: Contested, rule: Rule, parameter_count: int, store: Store
    ) -> Accused:
        """Read the manifest."""
        cid = cid_from_sha256(contested.closing.record.manifest)
        manifest = parse_manifest(store.get(cid))
        return cls(court, contested, rule, parameter_count, manifest, store)

    @property
    def entries(self) -> list[bytes]:
        """Packed, in order."""
        return [row.entry().pack() for row in self.manifest.contributions]

    def coordinate(self) -> CoordinateEvidence:
        """Coordinate 300, which is right."""
        count = self.parameter_count
        updates = [
            vector_from_bytes(self.store.get(row.update.cid), count)
            for row in self.manifest.contributions
        ]
        base, model = (
            vector_from_bytes(self.store.get(ref.cid), count)
            for ref in (self.manifest.base, self.manifest.model)
        )
        entries = b"".join(self.entries)
        evidence = coordinate_evidence(self.rule, 300, entries, updates, base, model)
        name = scaled_by(self.rule)
        if name is None:
            return evidence
        rows = split_rows(name, self.store.get(self.manifest.commitments[name].cid))
        return with_rows(evidence, self.rule, self.manifest.committed(), rows)

    def entry(self) -> EntryEvidence:
        """The first entry, which its member signed."""
        return EntryEvidence(entry_leaf(self.entries, 0))

    def order(self) -> OrderEvidence:
        """The first two entries, which ascend."""
        return OrderEvidence(entry_leaf(self.entries, 0), entry_leaf(self.entries, 1))

    def totals(self) -> TotalsEvidence:
        """All entries, which are as many and as heavy as recorded."""
        return TotalsEvidence(b"".join(self.entries))

    def omission(self) -> OmissionEvidence:
        """The second site, with the claim that it is missing between the first and the third."""
        site = self.manifest.contributions[1].entry().site
        before, behind = entry_leaf(self.entries, 0), entry_leaf(self.entries, 1)
        return OmissionEvidence(site, 1, before, behind)

    def demand(self) -> Demand:
        """A chunk of the model, which everybody has."""
        return Demand(What.MODEL, 1)


@dataclass(frozen=True)
class Accusation:
    """Something to accuse an honest round of, and the error that refuses it."""

    title: str
    evidence: Callable[[Accused], Evidence]
    refused_with: str
    limit_bytes: int = CALLDATA_LIMIT


ACCUSATIONS = (
    Accusation("wrong coordinate", Accused.coordinate, "Court_CoordinateRight"),
    Accusation(
        "the same, in steps",
        Accused.coordinate,
        "Court_CoordinateRight",
        SMALL_STEPS_BYTES,
    ),
    Accusation("wrong entry", Accused.entry, "Court_EntryRight"),
    Accusation("wrong order", Accused.order, "Court_OrderRight"),
    Accusation("wrong totals", Accused.totals, "Court_TotalsRight"),
    Accusation("omission", Accused.omission, "Court_NotOmitted"),
)


def accuse(accused: Accused, accuser: LocalAccount, accusation: Accusation) -> str:
    """Bring an accusation before the court; the name of the error that refuses it, or nothing."""
    evidence = accusation.evidence(accused)
    try:
        send_challenge(
            accused.court,
            accuser,
            accused.contested,
            evidence,
            rule=accused.rule,
            limit_bytes=accusation.limit_bytes,
        )
    except ContractReverted as error:
        return error.name
    return ""
