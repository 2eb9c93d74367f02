"""Recompute a closed round from what the chain and the content store hold, and from nothing else.

A round holds when every signature is its site's, every object has its committed bytes, and the
model and manifest that follow are the recorded ones, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import (
    DISTANCES,
    ROW_BYTES,
    Commitments,
    commitments_root,
    names_of,
    split_rows,
)
from wardround.protocol.contribution import Domain, Entry, pack_entries, sort_entries
from wardround.protocol.errors import ReplayFailed, SignatureInvalid, WardroundError
from wardround.protocol.fixed_point import IntVector, largest_magnitude
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Closing, StudyParams
from wardround.protocol.report import REPORT_MAX_BYTES, parse_report
from wardround.protocol.rules import RunningMean, aggregate
from wardround.protocol.settlement import Fetch, RoundFrame, Settlement, Vector, settle
from wardround.protocol.study import StudySpec, parse_specification

_SPECIFICATION_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Member:
    """A site as the contract admits it: its cap, and the rounds it belongs to."""

    max_weight: int
    since: int
    until: int

    def belongs(self, round_number: int) -> bool:
        """Whether the site may contribute to a round; ``until`` 0 means no end."""
        return self.since <= round_number and (self.until == 0 or round_number < self.until)


@dataclass(frozen=True)
class StudyFacts:
    """A study on chain, independent of any round."""

    domain: Domain
    params: StudyParams
    members: Mapping[SiteAddress, Member]

    @property
    def study(self) -> StudyId:
        """The study's identifier."""
        return self.params.study_id


@dataclass(frozen=True)
class ClosedRound:
    """One closed round on chain; ``entries`` only where they are recorded.

    ``registered`` gives the sites that put their contribution on chain themselves: their
    coordinator had to take it as it was, so its report is not held against it.
    It is asked only where something is amiss, because the answer takes a search.
    """

    round: int
    closing: Closing
    entries: bytes | None
    registered: Callable[[], Set[SiteAddress]] = frozenset


def fetch_specification(facts: StudyFacts, fetch: Fetch) -> StudySpec:
    """Read the study's specification from the store, by the digest on chain.

    Raises:
        ReplayFailed: the stored document is not what the chain names.
        Malformed: the chain names something that is no specification.
    """
    digest = facts.params.specification
    data = fetch(cid_from_sha256(digest), _SPECIFICATION_MAX_BYTES)
    spec = parse_specification(data)
    if spec.digest != digest:
        raise ReplayFailed(0, "specification", "its digest is not the one on chain")
    if spec.expected(facts.params) != facts.params:
        raise ReplayFailed(0, "specification", "it does not give the parameters on chain")
    return spec


def fetch_vector(facts: StudyFacts, fetch: Fetch, cid: str) -> IntVector:
    """Read a vector of the study's length; int32, of a sum int64, shape (P,), read-only."""
    return facts.params.read_vector(fetch(cid, facts.params.vector_size))


def replay_round(
    facts: StudyFacts,
    spec: StudySpec,
    base: Vector,
    closed: ClosedRound,
    fetch: Fetch,
) -> Settlement:
    """Recompute one round.

    Args:
        facts: the study as the chain knows it.
        spec: its specification, already checked.
        base: the model of the round before, already recomputed.
        closed: the round as the chain knows it.
        fetch: reads and verifies objects of the store.
    Returns:
        The settlement that follows, whose record is the chain's.
    Raises:
        ReplayFailed: something recorded does not follow; names it.
        WardroundError: an object is missing, altered or malformed; names it.
    """
    record, number = closed.closing.record, closed.round

    def require(holds: bool, what: str, reason: str) -> None:
        if not holds:
            raise ReplayFailed(number, what, reason)

    data = fetch(cid_from_sha256(record.manifest), MANIFEST_MAX_BYTES)
    require(sha256_digest(data) == record.manifest, "manifest", "its digest is not on chain")
    manifest = parse_manifest(data)
    require(manifest.base.root == hex_of(base.root), "base model", "not the round before's")
    entries = [row.entry() for row in manifest.contributions]
    require(entries == sort_entries(entries), "contributions", "not sorted by site")
    if closed.entries is not None:
        same = pack_entries(entries) == closed.entries
        require(same, "contributions", "the manifest's differ from those in the transaction")
    check_entries(facts, number, base.root, entries)
    check_dropped(facts, manifest, number)
    check_commitments(facts.params, manifest, closed)
    for entry, row in zip(entries, manifest.contributions, strict=True):
        try:
            check_report(facts, closed, entry, fetch(row.report.cid, REPORT_MAX_BYTES))
        except WardroundError:
            if entry.site not in closed.registered():
                raise

    pairs = _verified(spec, closed, _read_updates(facts, manifest, entries, fetch))
    updates: list[IntVector] = []
    if spec.rule.streams and not spec.commits:
        total = _running_mean(facts.params.parameter_count, pairs)
    else:
        # Stored vectors are memory maps, so this holds names and not numbers.
        updates = [update for _, update in pairs]
        total = aggregate(spec.rule, updates, [entry.weight for entry in entries])
    frame = RoundFrame(
        domain=facts.domain,
        study=facts.study,
        spec=spec,
        round=number,
        coordinator=closed.closing.coordinator,
        base=base,
    )
    objects = [(row.update.cid, row.report.cid) for row in manifest.contributions]
    settled = settle(frame, entries, objects, total, manifest.dropped, updates)
    model = fetch(manifest.model.cid, len(settled.model.data))
    require(settled.model.root == record.model, "model", "the recomputed root is another")
    require(bytes(model) == settled.model.data, "model", "the stored bytes are others")
    check_rows(manifest, closed, settled.commitments, fetch)
    require(settled.manifest_data == bytes(data), "manifest", "the recomputed one is another")
    require(settled.record == record, "record", "the recomputed one is another")
    return settled


def check_entries(facts: StudyFacts, number: int, base: Root, entries: Sequence[Entry]) -> None:
    """Check membership, weights and signatures of a round's entries.

    Raises:
        ReplayFailed: one is not what the study allows; names its site.
    """
    for entry in entries:
        member = facts.members.get(entry.site)
        if member is None or not member.belongs(number):
            raise ReplayFailed(number, f"site {entry.site}", "not a member in this round")
        if not 1 <= entry.weight <= member.max_weight:
            reason = f"weight {entry.weight} is not in 1 .. {member.max_weight}"
            raise ReplayFailed(number, f"site {entry.site}", reason)
        statement = entry.contribution(facts.study, number, base)
        try:
            statement.check_signature(facts.domain, entry.signature)
        except SignatureInvalid as error:
            raise ReplayFailed(number, f"site {entry.site}", str(error)) from error


def check_dropped(facts: StudyFacts, manifest: Manifest, number: int) -> None:
    """Check what can be checked: why a site was left out is its coordinator's word."""
    taken = {row.site for row in manifest.contributions}
    known = {site.lower() for site in facts.members}
    for row in manifest.dropped:
        if row.site in taken or row.site not in known:
            reason = f"{row.site} contributed, stands twice, or was never admitted"
            raise ReplayFailed(number, "dropped", reason)
        taken.add(row.site)


def check_commitments(params: StudyParams, manifest: Manifest, closed: ClosedRound) -> None:
    """Check what a round commits to by name.

    Raises:
        ReplayFailed: other names than the study's rule and scoring have, or another root than the
            record's.
    """
    names = names_of(params.rule, params.scoring)
    for name in sorted(manifest.commitments.keys() ^ set(names)):
        reason = f"{name} is missing" if name in names else f"unknown commitment {name!r}"
        raise ReplayFailed(closed.round, "commitments", reason)
    if commitments_root(manifest.committed()) != closed.closing.record.commitments:
        raise ReplayFailed(closed.round, "commitments", "the record's root is another")


def check_rows(
    manifest: Manifest, closed: ClosedRound, expected: Commitments, fetch: Fetch
) -> None:
    """Compare the rows that a round commits to, and stores, with those that follow.

    Raises:
        ReplayFailed: they differ; names the first row, and whose it is.
        WardroundError: stored rows are missing or altered.
    """
    sites = [row.site for row in manifest.contributions]
    for name, rows in expected.rows.items():
        whole, stated = len(rows) * ROW_BYTES[name], manifest.committed()[name]
        found = split_rows(name, bytes(fetch(manifest.commitments[name].cid, whole)))
        owners = sites
        if name == DISTANCES:
            owners = [f"{one} and {other}" for one, other in combinations(sites, 2)]
        for owner, row, wanted in zip(owners, found, rows, strict=False):
            if row != wanted:
                raise ReplayFailed(closed.round, name, f"the row of {owner} is another")
        if len(found) != len(rows) or stated != expected.roots[name]:
            raise ReplayFailed(closed.round, name, "the stored rows are not those of its root")


def check_report(
    facts: StudyFacts, closed: ClosedRound, entry: Entry, data: bytes | memoryview
) -> None:
    """Check that a report is the one that a site signed, and speaks of this contribution.

    Raises:
        ReplayFailed: it is not, or does not; names its site.
    """
    what = f"report of {entry.site}"
    if sha256_digest(data) != entry.report:
        raise ReplayFailed(closed.round, what, "its digest is not the one signed")
    try:
        report = parse_report(data)
    except WardroundError as error:
        raise ReplayFailed(closed.round, what, str(error)) from error
    stated = (report.study, report.round, report.site)
    if stated != (hex_of(facts.study), closed.round, entry.site.lower()):
        raise ReplayFailed(closed.round, what, "it speaks of another study, round or site")
    if report.code != hex_of(facts.params.code):
        raise ReplayFailed(closed.round, what, "the site ran other code than the study's")
    if report.examples < entry.weight:
        raise ReplayFailed(closed.round, what, "it states fewer examples than the weight")


def _read_updates(
    facts: StudyFacts, manifest: Manifest, entries: Sequence[Entry], fetch: Fetch
) -> Iterator[tuple[Entry, IntVector]]:
    for entry, row in zip(entries, manifest.contributions, strict=True):
        yield entry, fetch_vector(facts, fetch, row.update.cid)


def _verified(
    spec: StudySpec, closed: ClosedRound, updates: Iterable[tuple[Entry, IntVector]]
) -> Iterator[tuple[Entry, IntVector]]:
    """Let through only updates with their signed root and within the study's bound."""
    for entry, update in updates:
        what = f"update of {entry.site}"
        if vector_root(update.data) != entry.update:
            raise ReplayFailed(closed.round, what, "its root is not the one signed")
        # One that its site registered could have been refused on chain.
        if largest_magnitude(update) > spec.update_limit:
            raise ReplayFailed(closed.round, what, "a coordinate exceeds the study's bound")
        yield entry, update


def _running_mean(parameter_count: int, updates: Iterable[tuple[Entry, IntVector]]) -> IntVector:
    running = RunningMean(parameter_count)
    for entry, update in updates:
        running.add(update, entry.weight)
    return running.finish()
