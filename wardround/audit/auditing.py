"""Audit a whole study, of a chain and store, a run's folder or an archive; show each finding."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from wardround.audit.archive import JOURNAL, Archive, ArchiveStore
from wardround.audit.archived_study import ArchivedStudy, replayed_journal
from wardround.audit.audit import AuditedRound, StudyAudit, StudyRecords
from wardround.audit.auditor import Auditor
from wardround.audit.claims import rounds_in_words
from wardround.audit.earlier import Earlier
from wardround.audit.findings import Findings
from wardround.audit.finished import FinishedRun
from wardround.audit.notices import unproven_words
from wardround.audit.premises import premises_of
from wardround.audit.progress import with_progress
from wardround.audit.public_audit import public_rounds
from wardround.audit.replayers import hindrance, offered
from wardround.audit.run_folder import RunFolderAudit
from wardround.chain.amounts import tokens_of
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import ReplayFailed, SpecificationError
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.store import Store
from wardround.store.errors import ObjectSealed


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How an audit goes about it.

    Attributes:
        jobs: how many processes share the rounds; None for as many as there are cores.
        run_study_code: build the first model again.
        earlier: rounds that others have audited, which are not recomputed.
    """

    jobs: int | None = None
    run_study_code: bool = False
    earlier: Earlier | None = None

    def processes(self, store: Store) -> int:
        """How many processes may share the rounds.

        Raises:
            SpecificationError: more than one is asked for, and the store is read by one.
        """
        if self.jobs is None:
            return offered(store)
        why = hindrance(store)
        if self.jobs > 1 and why is not None:
            raise SpecificationError(f"--jobs {self.jobs}", f"{why}: leave it out")
        return self.jobs


def audit_archive(path: Path, findings: Findings, depth: Depth) -> None:
    """Audit an evidence archive, with no chain but the one that its journal gives.

    Raises:
        ProtocolError: it is none, or does not prove what it states.
        ReplayFailed: a round does not follow from its inputs.
        UnknownContract: its journal creates other code at the contract's address.
    """
    with Archive(path) as archive:
        described, archived = archive.description, ArchivedStudy(archive)
        study, rounds = archived.study, (described.first_round, described.last_round)
        findings.show(
            "archive",
            f"archive: chain {described.chain_id}, contract {described.contract}, "
            f"blocks {described.first_block} to {described.last_block}",
            f"{len(archived.transactions)} transactions, {archived.signed} as they were "
            f"signed; {archived.blocks} block hashes and receipt roots recomputed",
            chain_id=described.chain_id,
            contract=described.contract,
            first_block=described.first_block,
            last_block=described.last_block,
            transactions=len(archived.transactions),
            signed=archived.signed,
            blocks=archived.blocks,
        )
        store = ArchiveStore(archive)
        if JOURNAL not in archive.names:
            audit_study(archived, study, store, findings, depth, *rounds)
            findings.show(
                "not_checked",
                "Not to be known offline: whether these blocks are the chain's. "
                f"Ask a node for block {described.last_block}: {described.last_hash}",
                what="blocks",
                block=described.last_block,
                hash=described.last_hash,
            )
            return
        with replayed_journal(archive) as chain:
            archived.require_in(chain)
            findings.show(
                "journal",
                "journal: executed again, same results; it holds every transaction",
                transactions=len(archived.transactions),
            )
            contract = WardRound.opened(chain, described.contract)
            audit_study(contract, study, store, findings, depth, *rounds)


def audit_run(run: FinishedRun, findings: Findings, depth: Depth) -> StudyAudit:
    """Audit a run's folder: its journal, its study, its files."""
    if run.replayed is not None:
        findings.show(
            "journal",
            f"journal: {run.replayed} transactions executed again, same results",
            transactions=run.replayed,
        )
    return audit_study(run.contract, run.study, run.store, findings, depth, run=run)


def audit_study(
    contract: StudyRecords,
    study: StudyId,
    store: Store,
    findings: Findings,
    depth: Depth,
    first: int = 1,
    last: int | None = None,
    *,
    run: FinishedRun | None = None,
) -> StudyAudit:
    """Audit a study, and show every finding; the last one is that all holds.

    Args:
        contract: the source of the chain's facts.
        study: which.
        store: where its objects are.
        findings: where to.
        depth: how.
        first: recompute from this round, or where others have audited from the one after.
        last: recompute up to this round; by default to the last that is closed.
        run: the folder that has all of it, whose files are compared too.
    Returns:
        What was audited.
    Raises:
        ReplayFailed: a round does not follow from its inputs, or a lock breaks the rules.
        FileMismatch: a file of the folder is not what chain and store give.
        ObjectSealed: what is public holds; models were not recomputed.
        StoreError: an object is missing or altered; names it.
    """
    if depth.earlier is not None:
        first = depth.earlier.last + 1
    jobs, work = depth.processes(store), StudyAudit(contract, study, store, first, last)
    if depth.earlier is not None:
        depth.earlier.check(work.facts, [*work.earlier, *work.closed])
    folder = None if run is None else RunFolderAudit(run, work)
    _begin(work, contract, findings, depth, first)
    if last is not None and last < work.rounds_closed:
        later = rounds_in_words(range(last + 1, work.rounds_closed + 1))
        findings.show(
            "not_checked", f"not checked: {later}: closed, and not of this archive", what=later
        )
    # Where others have audited them, their manifests must be there all the same.
    for before in work.earlier if depth.earlier is not None else ():
        as_recorded = work.recorded(before)
        if folder is not None:
            folder.add(as_recorded)
    # An archive does not hold the token.
    decimals = contract.decimals(study) if isinstance(contract, WardRound) else None
    try:
        shown = not findings.as_json
        for audited in with_progress(work.rounds(jobs), len(work.closed), shown=shown):
            _show_round(audited, decimals, findings)
            if folder is not None:
                folder.add(audited)
    except ObjectSealed as sealed:
        # What is public can be checked all the same.
        findings.show(
            "sealed",
            "Its store is encrypted, and no key to all of it is here: checked is what is "
            "public: signatures, reports, weights and roots.",
        )
        unread = _audit_public(work, findings)
        raise ObjectSealed(
            f"what is public holds, but {unread} vectors are encrypted and were not read, so "
            "models were not recomputed: ask the study's sponsor for a grant, and name your "
            "reading key (--reading-key FILE, or '&key=FILE' in the --store address)."
        ) from sealed
    objects = work.check_objects()
    if isinstance(contract, WardRound):
        # An archive has closed rounds alone.
        breach = Auditor(contract, study, store).lock_breach()
        if breach is not None:
            raise ReplayFailed(breach.round, "locked cohort", breach.what)
    findings.show(
        "store",
        f"store: {objects} objects have the bytes that their names say",
        objects=objects,
    )
    if folder is not None:
        folder.check()
        compared = ", ".join(folder.compared)
        findings.show(
            "run_folder",
            f"run folder: as chain and store give it: {compared}",
            compared=folder.compared,
        )
        for words in folder.unchecked:
            findings.show("not_checked", f"not checked: {words}", what=words)
    findings.show("verdict", "All holds.", style="bold green", holds=True)
    return work


def _begin(
    work: StudyAudit, contract: StudyRecords, findings: Findings, depth: Depth, first: int
) -> None:
    facts = work.facts
    findings.show(
        "study",
        f"study {hex_of(facts.study)}",
        study=hex_of(facts.study),
        chain_id=facts.domain.chain_id,
        contract=facts.domain.contract.lower(),
    )
    findings.show(
        "specification",
        f"specification: digest on chain, {_closed_words(work)}",
        digest=hex_of(facts.params.specification),
        code=hex_of(facts.params.code),
        closed=work.rounds_closed,
        open=work.left,
    )
    most = max((one.closing.record.count for one in work.closed), default=0)
    if unproven := unproven_words(facts.params.rule, most):
        findings.show("warning", f"warning: {unproven}", style="yellow", sites=most)
    if depth.earlier is not None:
        findings.show(
            "taken",
            depth.earlier.words,
            "  what they leave for checks of later rounds is read from their manifests",
            **depth.earlier.values,
        )
    elif first > 1:
        findings.show(
            "taken",
            f"rounds before {first} are taken as they were recorded",
            first=1,
            last=first - 1,
            by="record",
        )
    built = None
    if depth.run_study_code:
        # Its process imports PyTorch; this one does not.
        from wardround.audit.first_model import rebuild_first_model

        built = rebuild_first_model(work)
    for one in premises_of(work, contract, built):
        findings.show("premise", one.sentence(), premise=one.name, compared=one.is_compared)


def _closed_words(work: StudyAudit) -> str:
    closed = work.rounds_closed
    if work.left == 0:
        return f"all {closed} rounds closed"
    return f"{closed} of {closed + work.left} rounds closed, open: more may follow"


def _show_round(audited: AuditedRound, decimals: int | None, findings: Findings) -> None:
    number, record, rule = audited.closed.round, audited.record, audited.manifest.rule
    model = hex_of(record.model)
    total = sum(audited.shares.values())
    amount = "" if decimals is None else f", {tokens_of(total, decimals)} tokens earned"
    names = [rule.name, *sorted(audited.manifest.commitments)]
    recomputed = " and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0]
    closer = audited.closed.closing.coordinator
    excused = [f"  not held against {closer}, {one.words}" for one in audited.exemptions]
    findings.show(
        "round",
        f"round {number}: {record.count} signatures and updates verified, "
        f"{recomputed} recomputed, model {model[:18]}… equal{amount}",
        *excused,
        round=number,
        closing=hex_of(audited.closed.closing.commitment),
        manifest=hex_of(record.manifest),
        contributions=record.count,
        recomputed=names,
        model=model,
        earned={site.lower(): str(share) for site, share in audited.shares.items()},
        decimals=decimals,
        exempt=[asdict(one) for one in audited.exemptions],
        holds=True,
    )


def _audit_public(work: StudyAudit, findings: Findings) -> int:
    """Check what is public, name what could not be read, and count it."""
    count = 0
    for public in public_rounds(work):
        count += len(public.unread)
        number, entries = public.closed.round, public.closed.closing.record.count
        findings.show(
            "public_round",
            f"round {number}: {entries} signatures and reports verified, roots as recorded; "
            f"{len(public.unread)} vectors not read",
            *(f"  encrypted, and no grant: {name}" for name in public.unread),
            round=number,
            contributions=entries,
            unread=list(public.unread),
            public_holds=True,
        )
    return count
