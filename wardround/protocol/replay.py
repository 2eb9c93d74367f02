"""Recompute a closed round from what the chain and the content store hold, and from nothing else.

A round holds when every signature is its site's, every object has its committed bytes, and the
model and manifest that follow are the recorded ones, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.checks import (
    Asked,
    CheckFailed,
    History,
    check_copies,
    check_entry,
    check_report,
    check_update,
)
from wardround.protocol.cid import Cid, cid_from_sha256
from wardround.protocol.commitments import (
    DISTANCES,
    ROW_BYTES,
    Commitments,
    commitments_root,
    names_of,
    split_rows,
)
from wardround.protocol.contribution import Entry, pack_entries, sort_entries
from wardround.protocol.errors import ReplayFailed, WardroundError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root, SiteAddress, hex_of
from wardround.protocol.manifest import (
    MANIFEST_MAX_BYTES,
    Manifest,
    ManifestEntry,
    parse_manifest,
)
from wardround.protocol.record import Closing, StudyParams
from wardround.protocol.report import REPORT_MAX_BYTES
from wardround.protocol.rules import RunningMean, aggregate
from wardround.protocol.settlement import (
    Fetch,
    RoundFrame,
    Settlement,
    StoredVector,
    Vector,
    settle,
)
from wardround.protocol.study import StudySpec, parse_specification

_SPECIFICATION_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class ClosedRound:
    """One closed round on chain; ``entries`` only where they are recorded.

    ``registered`` gives the contributions, packed, that sites put on chain themselves, and
    ``locked_by`` who locked the cohort, where one did. The coordinator that closed the round had to
    take exactly these, and all that another had locked, so what a report or a copy has wrong is
    not held against it. They are asked only where something is amiss: an answer takes a search.
    """

    round: int
    closing: Closing
    entries: bytes | None
    registered: Callable[[], Mapping[SiteAddress, bytes]] = dict
    locked_by: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Exemption:
    """A check that failed for a contribution which the round's coordinator had to take.

    Attributes:
        by: who made it: the site, which registered it, or the coordinator that had locked it.
    """

    site: SiteAddress
    check: str
    seen: str
    by: str

    @property
    def words(self) -> str:
        """For people, in one line."""
        did = "registered it" if self.by == self.site else "had locked it"
        return f"since {self.by} {did}: {self.check}: {self.seen}"


@dataclass(frozen=True)
class Replayed:
    """A round that was recomputed and equals the chain's.

    Attributes:
        history: what the round and those before it leave for the checks of the next.
    """

    settlement: Settlement
    exemptions: tuple[Exemption, ...]
    history: History


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
    history: History,
) -> Replayed:
    """Recompute one round.

    Args:
        facts: the study as the chain knows it.
        spec: its specification, already checked.
        base: the model of the round before, already recomputed.
        closed: the round as the chain knows it.
        fetch: reads and verifies objects of the store.
        history: of the rounds before.
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
    held = HeldRound(Asked(facts, spec, number, history), closed)
    held.check_dropped(manifest)
    check_commitments(facts.params, manifest, closed)
    for entry, row in zip(entries, manifest.contributions, strict=True):
        held.check_report(entry, row, fetch)

    pairs = held.verified(_read_updates(facts, manifest, entries, fetch), base.values)
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
    cid = Cid(manifest.model.cid)
    model = StoredVector(bytes(fetch(cid, facts.params.vector_size)), cid)
    settled = settle(frame, entries, objects, total, manifest.dropped, updates, model)
    require(settled.model.root == record.model, "model", "the recomputed root is another")
    require(settled.model.data == model.data, "model", "the stored bytes are others")
    check_rows(manifest, closed, settled.commitments, fetch)
    require(settled.manifest_data == bytes(data), "manifest", "the recomputed one is another")
    require(settled.record == record, "record", "the recomputed one is another")
    following = history.after(manifest, spec, fetch)
    return Replayed(settled, tuple(held.exemptions), following)


def check_entries(facts: StudyFacts, number: int, base: Root, entries: Sequence[Entry]) -> None:
    """Check membership, weights and signatures of a round's entries.

    Raises:
        ReplayFailed: one is not what the study allows; names its site.
    """
    for entry in entries:
        try:
            check_entry(facts, number, base, entry)
        except CheckFailed as error:
            raise _failed(number, f"site {entry.site}", error) from error


class HeldRound:
    """A closed round, held to the checks that its coordinator had to make of each contribution."""

    def __init__(self, asked: Asked, closed: ClosedRound) -> None:
        """Take what the round had to ask for, and what was closed."""
        self._asked, self._closed = asked, closed
        self._taken: dict[Root, Entry] = {}
        self.exemptions: list[Exemption] = []

    def check_dropped(self, manifest: Manifest) -> None:
        """Check what the chain can tell: why else a site was left out is its coordinator's word.

        Raises:
            ReplayFailed: a site contributed, stands twice or was never admitted, or the chain
                contradicts the reason.
        """
        facts, number = self._asked.facts, self._asked.round
        taken = {row.site for row in manifest.contributions}
        members = {site.lower(): member for site, member in facts.members.items()}
        for row in manifest.dropped:
            member = members.get(row.site)
            flaw = None
            if row.site in taken or member is None:
                flaw = "contributed, stands twice, or was never admitted"
            elif row.reason == "not_member" and member.belongs(number):
                flaw = "is a member, and was dropped as none"
            elif row.reason == "not_locked" and not facts.params.locked_cohort:
                flaw = "was dropped for a lock, and the study has none"
            elif row.reason in ("not_shown", "refused") and row.site not in {
                site.lower() for site in self._registered
            }:
                flaw = f"was dropped as {row.reason}, and has registered nothing"
            if flaw is not None:
                raise ReplayFailed(number, "dropped", f"{row.site} {flaw}")
            taken.add(row.site)

    def check_report(self, entry: Entry, row: ManifestEntry, fetch: Fetch) -> None:
        """Check a report; of a registered contribution it may be in no store.

        Raises:
            ReplayFailed: it is not the one that the site signed, or states what it must not.
            WardroundError: it is missing or altered.
        """
        try:
            data = fetch(row.report.cid, REPORT_MAX_BYTES)
        except WardroundError as error:
            if not self._exempt(entry, "report", str(error)):
                raise
            return
        try:
            check_report(self._asked, entry, data)
        except CheckFailed as error:
            self._excuse(f"report of {entry.site}", entry, error)

    def verified(
        self, updates: Iterable[tuple[Entry, IntVector]], base: IntVector
    ) -> Iterator[tuple[Entry, IntVector]]:
        """Let through updates that are as signed, in range, and no copies.

        Args:
            updates: with their entries.
            base: the model that they start from.
        Raises:
            ReplayFailed: one is not.
        """
        for entry, update in updates:
            what = f"update of {entry.site}"
            try:
                # One out of range that its site registered could have been refused on chain.
                check_update(self._asked, entry, update, base)
            except CheckFailed as error:
                raise _failed(self._asked.round, what, error) from error
            self._check_copies(entry, update)
            yield entry, update

    def _check_copies(self, entry: Entry, update: IntVector) -> None:
        root = entry.update
        same = self._taken.get(root)
        if same is not None and self._exempt(same, "copied_update", f"as {entry.site}"):
            # Of the two, that one came over the chain, and this one may have been first.
            same = None
        try:
            check_copies(self._asked, update, root, () if same is None else (root,))
        except CheckFailed as error:
            self._excuse(f"update of {entry.site}", entry, error)
        if same is None:
            self._taken[root] = entry

    def _excuse(self, what: str, entry: Entry, error: CheckFailed) -> None:
        if not self._exempt(entry, error.check, error.seen):
            raise _failed(self._asked.round, what, error) from error

    def _exempt(self, entry: Entry, check: str, seen: str) -> bool:
        """Note a check that failed, where the coordinator had to take the entry; tell whether."""
        by: str | None = entry.site
        if self._registered.get(entry.site) != entry.pack():
            by = self._locked_elsewhere
        if by is not None:
            self.exemptions.append(Exemption(entry.site, check, seen, by))
        return by is not None

    @cached_property
    def _registered(self) -> Mapping[SiteAddress, bytes]:
        return self._closed.registered()

    @cached_property
    def _locked_elsewhere(self) -> str | None:
        """Which other coordinator has locked what the round was closed with, if one has."""
        by = self._closed.locked_by()
        return None if by == self._closed.closing.coordinator else by


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


def _failed(number: int, what: str, error: CheckFailed) -> ReplayFailed:
    return ReplayFailed(number, what, f"{error.seen} [{error.check}]")


def _read_updates(
    facts: StudyFacts, manifest: Manifest, entries: Sequence[Entry], fetch: Fetch
) -> Iterator[tuple[Entry, IntVector]]:
    for entry, row in zip(entries, manifest.contributions, strict=True):
        yield entry, fetch_vector(facts, fetch, row.update.cid)


def _running_mean(parameter_count: int, updates: Iterable[tuple[Entry, IntVector]]) -> IntVector:
    running = RunningMean(parameter_count)
    for entry, update in updates:
        running.add(update, entry.weight)
    return running.finish()
