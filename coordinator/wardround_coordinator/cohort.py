"""A locked cohort, found again in the store by the coordinator that closes the round."""

from __future__ import annotations

from wardround.audit.finding import find_entries, objects_of
from wardround.chain.events import CohortLocked
from wardround.protocol.cid import Cid, cid_from_sha256
from wardround.protocol.contribution import (
    Entry,
    pack_entries,
    sort_entries,
    total_weight,
)
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import Root, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.replay import check_entries
from wardround.protocol.settlement import Vector
from wardround.store import Store
from wardround_coordinator.round import Accepted


def keep_cohort(store: Store, entries: list[Entry]) -> None:
    """Store a cohort's entries, packed, before they are locked."""
    store.put(pack_entries(entries))


def find_cohort(
    store: Store, facts: StudyFacts, locked: CohortLocked, base: Vector
) -> list[Accepted]:
    """Find the cohort that a coordinator has locked, and check all of it, as its closer has to.

    Args:
        store: has the entries (`keep_cohort`) and the updates.
        facts: of the study.
        locked: what the chain has.
        base: the model on which the contributions build.
    Returns:
        The contributions, in the order of their sites.
    Raises:
        StudyMismatch: something of it is not in the store, or breaks the study's rules: an honest
            coordinator must not close the round with it.
        ReplayFailed: an entry is no member's, or not signed.
    """
    params = facts.params
    entries = find_entries(store, locked.contributions, locked.count)
    what = f"locked cohort of round {locked.round}"
    if entries is None:
        raise StudyMismatch(what, hex_of(locked.contributions), "not in the store")
    if entries != sort_entries(entries) or len({one.site for one in entries}) != len(entries):
        raise StudyMismatch(what, "each site once, sorted", "another order")
    check_entries(facts, locked.round, base.root, entries)
    if total_weight(entries) != locked.total_weight:
        raise StudyMismatch(what, str(total_weight(entries)), str(locked.total_weight))
    wanted, cids = {one.update for one in entries}, dict[Root, str]()
    for cid, data in objects_of(store, params.vector_size):
        if len(cids) == len(wanted):
            break
        root = vector_root(data)
        if root in wanted:
            cids[root] = cid
    missing = [one for one in entries if one.update not in cids]
    if missing:
        raise StudyMismatch(
            f"update of {missing[0].site}", hex_of(missing[0].update), "not in the store"
        )
    return [Accepted(one, Cid(cids[one.update]), cid_from_sha256(one.report)) for one in entries]
