"""Audit what is public of a confidential study: all but what follows from encrypted vectors.

A reader without a grant sees digests. Every signature, weight, report, root and cap is still
checked, and with them what each site earns. Only a reader with a grant can check that the model
follows from the updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wardround.audit.audit import StudyAudit
from wardround.chain.study_state import ClosedOnChain
from wardround.protocol.checks import Asked, History
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import contributions_root, sort_entries, total_weight
from wardround.protocol.errors import ReplayFailed
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.replay import HeldRound, check_commitments, check_entries, fetch_vector
from wardround.protocol.settlement import stored_scores
from wardround.store.errors import ObjectSealed


@dataclass(frozen=True)
class PublicRound:
    """A round whose public part holds.

    Attributes:
        unread: what is encrypted and there is no grant for: ``update of SITE (CID)``, ``model``.
    """

    closed: ClosedOnChain
    unread: tuple[str, ...]


def public_rounds(audit: StudyAudit) -> Iterator[PublicRound]:
    """Check the public part of every closed round, in order.

    Raises:
        ReplayFailed: something recorded does not follow; names it.
        StoreError: a public object is missing or altered.
    """
    base, history = audit.facts.params.initial_model, audit.recorded_before()
    if audit.earlier:
        base = audit.earlier[-1].closing.record.model
    for closed in audit.closed:
        unread, history = _check(audit, closed, base, history)
        base = closed.closing.record.model
        yield PublicRound(closed, unread)


def _check(
    audit: StudyAudit, closed: ClosedOnChain, base: Root, history: History
) -> tuple[tuple[str, ...], History]:
    facts, fetch, record = audit.facts, audit.store.map, closed.closing.record

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise ReplayFailed(closed.round, what, "the manifest's is not the one on chain")

    seen = audit.seen(closed)
    held = HeldRound(Asked(facts, audit.spec, closed.round, history), seen)
    manifest = parse_manifest(fetch(cid_from_sha256(record.manifest), MANIFEST_MAX_BYTES))
    stated = (manifest.study, manifest.round, manifest.chain_id, manifest.contract)
    domain = facts.domain
    here = (hex_of(facts.study), closed.round, domain.chain_id, domain.contract.lower())
    require(stated == here, "study and round")
    require(manifest.base.root == hex_of(base), "base model")
    require(manifest.model.root == hex_of(record.model), "model")
    entries = [row.entry() for row in manifest.contributions]
    require(entries == sort_entries(entries), "order of contributions")
    require(contributions_root(entries) == record.contributions, "contributions")
    require((len(entries), total_weight(entries)) == (record.count, record.total_weight), "weights")
    check_entries(facts, closed.round, base, entries)
    held.check_dropped(manifest)
    audit.check_registered(closed, manifest)
    check_commitments(facts.params, manifest, seen)
    stored_scores(manifest, fetch)
    unread: list[str] = []
    for entry, row in zip(entries, manifest.contributions, strict=True):
        held.check_report(entry, row, fetch)
        vector = _vector(audit, row.update.cid)
        if vector is None:
            unread.append(f"update of {entry.site} ({row.update.cid})")
        else:
            require(vector_root(vector.data) == entry.update, f"update of {entry.site}")
    model = _vector(audit, manifest.model.cid)
    if model is None:
        unread.append(f"model ({manifest.model.cid})")
    else:
        require(vector_root(model.data) == record.model, "model")
    return tuple(unread), history.after(manifest, audit.spec, fetch)


def _vector(audit: StudyAudit, cid: str) -> IntVector | None:
    try:
        return fetch_vector(audit.facts, audit.store.map, cid)
    except ObjectSealed:
        return None
