"""Read a study before taking part in it: from the chain, and its specification from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.host.code import application_digest
from wardround.host.reason import reason_of
from wardround.host.study_file import NOT_OF_MODELS, read_files, study_from_text
from wardround.learning.datasets.table import SiteData, Table
from wardround.learning.privacy.accountant import Neighbours
from wardround.learning.trial_apart import try_apart
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.documents import decode_text
from wardround.protocol.errors import SpecificationError, StudyMismatch
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, hex_of
from wardround.protocol.model import FILES_MAX_BYTES, ModelSpec, StudyFiles
from wardround.protocol.record import RuleId, StudyParams
from wardround.protocol.study import PrivacySpec, StudySpec, parse_specification
from wardround.store.study_store import open_study_store
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import read_book
from wardround_client.guard.budget import check_private_enough
from wardround_client.guard.outlook import Outlook, outlook
from wardround_client.guard.people import PeopleStore
from wardround_client.guard.tables import check_unsolvable, load_home_data
from wardround_client.guard.terms import check_terms
from wardround_client.home import Home
from wardround_client.site_code import shown_files
from wardround_client.site_disclosure import Disclosure
from wardround_client.site_terms import describe_terms
from wardround_client.trainer.start import sandbox_of, sandbox_words

_SPECIFICATION_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Proposal:
    """A study that may be approved, and what it would work on."""

    approval: Approval
    data: SiteData
    disclosure: Disclosure
    #: None of a study without privacy.
    outlook: Outlook | None


def propose(
    home: Home,
    ward: WardRound,
    study: StudyId,
    store: str | None,
    file: Path | None,
    now: int,
) -> Proposal:
    """Put together what an administrator decides about.

    Args:
        store: where the specification is, as `open_study_store` takes it; or
        file: the study's file.
        now: seconds since 1970.
    Raises:
        StudyMismatch: the chain has no such study, the specification is another one's, or the
            parameters on chain do not follow from it.
        Refusal: ``code-not-installed`` where the study asks for other code than is installed;
            ``terms-refused`` where the policy does not accept a term of the study;
            ``privacy-refused`` where its training is not private enough for this table, or no
            round of it fits what the table's patients may still give away;
            ``rows-solvable`` where its readers can solve for the rows.
        SpecificationError: it pins no layout of a model of its own.
        SourceError: the site's table does not fit its schema.
        LearningError: the table does not fit the study's model, or has no rows.
        LogError: what was spent before cannot be read.
    """
    settings, created = home.settings(), ward.created(study)
    params, parties = created.params, created.parties
    spec = _specification(ward, study, params.specification, store, file)
    if spec.digest != params.specification:
        raise StudyMismatch("specification", hex_of(params.specification), hex_of(spec.digest))
    _check_params(spec, params)
    installed = hex_of(application_digest())
    if hex_of(params.code) != installed:
        asked = hex_of(params.code)
        raise Refusal(
            "code-not-installed",
            f"nothing is approved: the study runs code {asked}, and {installed} is installed here; "
            "install the release that the study names. A site runs no code but its own.",
        )
    if spec.model.is_own and spec.model.layout is None:
        raise SpecificationError("study", "it does not pin the layout of its model's parameters")
    if spec.rule.id is RuleId.SUM:
        raise SpecificationError("study", NOT_OF_MODELS, key="aggregation.rule")
    check_terms(params, parties, spec, settings.policy)
    check_private_enough(spec, study, settings)
    data = load_home_data(home.folder, settings, os.environ)
    # PyTorch takes seconds to import.
    from wardround.learning.models import check_fits

    classes = int(max(data.train.labels.max(), data.test.labels.max())) + 1
    check_fits(spec.model, data.train.features.shape[1:], classes)
    chain, train = settings.chain, data.train
    check_unsolvable(spec, params, train, settings.policy)
    people = None if train.groups is None else train.person_count
    approval = Approval(
        chain.chain_id, chain.contract, params, parties, spec, now, len(train), people
    )
    disclosure = Disclosure(spec, params, data, settings.policy, store)
    spent, store_of_people = read_book(home.log).spent, PeopleStore(home.people)
    ahead = outlook(spec, study, train, settings, spent, store_of_people)
    return Proposal(approval, data, disclosure, ahead)


def _check_params(spec: StudySpec, params: StudyParams) -> None:
    """Compare what the contract enforces with what the specification, which is shown, gives."""
    for field, given, on_chain in zip(
        fields(params), astuple(spec.expected(params)), astuple(params), strict=True
    ):
        if given != on_chain:
            raise StudyMismatch(f"{field.name} by the specification", str(on_chain), str(given))


def try_model(proposal: Proposal, home: Home) -> Iterator[str]:
    """Try a model of the study's own in this site's sandbox, without a row; report what was found.

    A model that comes with wardround is part of the installed code, and is not tried again.

    Raises:
        LearningError: it cannot be federated, or its trial ends otherwise.
        StudyMismatch: it has another number of parameters than on chain.
        SpecificationError: the machine offers no sandbox, and the policy asks for one.
    """
    spec, params = proposal.approval.spec, proposal.approval.params
    if not spec.model.is_own:
        return
    policy = proposal.disclosure.policy
    yield f"trying the study's model on made-up rows; sandbox: {sandbox_words(policy)}"
    found = try_apart(spec, sandbox_of(home, policy))
    if found.parameters != params.parameter_count:
        count = str(params.parameter_count)
        raise StudyMismatch("the number of the model's parameters", count, str(found.parameters))
    yield "it trains, and the trial found nothing that it keeps beside its parameters"
    if found.root != hex_of(params.initial_model):
        yield (
            "the first model on chain is not the one that is built here: another machine or version"
            " of PyTorch may round otherwise, or the sponsor began with other numbers"
        )


def describe(proposal: Proposal, ward: WardRound, site: SiteAddress) -> Iterator[str]:
    """Write a study for people, a line at a time: its own files in full, and what it does."""
    if files := proposal.approval.spec.files:
        yield "the study's own files, which run here if you approve"
        yield from shown_files(files)
        yield ""
    approval, spec, params = proposal.approval, proposal.approval.spec, proposal.approval.params
    training, privacy = spec.training, spec.privacy
    state, slot = ward.study(approval.study), ward.site(approval.study, site)
    yield f"study {hex_of(approval.study)}"
    yield f"  name         {spec.study.name}, {spec.study.rounds} rounds"
    arguments = ", ".join(f"{key} {value!r}" for key, value in spec.model.arguments.items())
    yield f"  model        {spec.model.label} ({arguments}): {params.parameter_count:,} parameters"
    times = training.local_epochs
    length = (
        f"{training.local_steps} steps"
        if times is None
        else f"{times} {'pass' if times == 1 else 'passes'} over the rows"
    )
    batch = f"batches of {training.batch_size}" if training.batch_size else "all rows at once"
    yield (
        f"  training     {training.optimizer}, learning rate {training.learning_rate:g}, "
        f"{length} a round, {batch}"
    )
    rows = len(proposal.data.train)
    yield f"  your rows    {rows:,} to train on, {len(proposal.data.test):,} to measure on"
    if privacy is None or proposal.outlook is None:
        yield "  privacy      none asked for: updates are made from your rows without noise"
    else:
        target = "no limit" if privacy.target_epsilon is None else f"{privacy.target_epsilon:g}"
        yield (
            f"  privacy      of single {privacy.unit}s: noise {privacy.noise_multiplier:g}, "
            f"clipping {privacy.max_grad_norm:g}, delta {privacy.delta:g}, epsilon at most {target}"
        )
        for line in _outlook_lines(proposal.outlook, privacy, proposal.data.train, spec):
            yield f"               {line}"
    token = StudyToken(ward.chain, params.token)
    yield from describe_terms(params, approval.parties, spec, state, token)
    if slot.since:
        weight = f"weight up to {slot.max_weight:,}"
        yield f"  this site    admitted with {weight}, paid to {slot.payout}"
    else:
        yield f"  this site    not admitted yet: send {site} to the sponsor"
    yield f"  code         {hex_of(approval.code)}, as installed here"
    yield f"  spec         {hex_of(spec.digest)}"
    yield from proposal.disclosure.lines()
    walls = sandbox_words(proposal.disclosure.policy)
    yield f"  sandbox      around what trains on your rows: {walls}"


def _outlook_lines(
    ahead: Outlook, privacy: PrivacySpec, train: Table, spec: StudySpec
) -> Iterator[str]:
    worst, count = ahead.worst, f"{train.person_count:,}"
    yield f"you could take part in {ahead.rounds:,} of {spec.study.rounds:,} rounds"
    one_more, one_other = (worst.study.epsilon(privacy.delta, which) for which in Neighbours)
    if train.groups is None:
        who, unit = f"each of your {count} rows", "row"
    else:
        rows = "1 row" if worst.rows_each == 1 else f"{worst.rows_each:,} rows"
        who, unit = f"of your {count} patients the one who gives most ({rows})", "patient"
    yield (
        f"{who} would then be at epsilon {one_more:.3g}, "
        f"at {one_other:.3g} with one {unit} replaced"
    )
    if train.groups is None:
        yield (
            "no [data] group names your patients, so each row counts as one: "
            "who has several has about as many times that epsilon"
        )


def _specification(
    ward: WardRound, study: StudyId, digest: Digest, store: str | None, file: Path | None
) -> StudySpec:
    spec = _read_specification(ward, study, digest, store, file)
    if spec.model.is_own and not spec.files:
        spec = spec.with_files(_own_files(ward, study, spec.model, store, file))
    return spec


def _own_files(
    ward: WardRound, study: StudyId, model: ModelSpec, store: str | None, file: Path | None
) -> StudyFiles:
    """Read the study's own files, no further than they may be long, from where its text is."""
    if store is None:
        assert file is not None  # the specification came from there
        try:
            return read_files(file.parent, model.files)
        except OSError as error:
            reason = f"the study's own {error.filename} cannot be read: {reason_of(error)}"
            raise SpecificationError(file, reason) from error
    with closing(open_study_store(store, Path(), ward, study)) as opened_store:
        return {name: opened_store.get(cid, FILES_MAX_BYTES) for name, cid in model.cids().items()}


def _read_specification(
    ward: WardRound, study: StudyId, digest: Digest, store: str | None, file: Path | None
) -> StudySpec:
    if file is not None:
        with file.open("rb") as opened:
            data = opened.read(_SPECIFICATION_MAX_BYTES + 1)
        if len(data) > _SPECIFICATION_MAX_BYTES:
            raise SpecificationError(file, "it is too long")
        # As it is stored, or as a person writes it.
        if data.startswith(b"{"):
            return parse_specification(data)
        spec = study_from_text(StudySpec, decode_text(data, str(file)), str(file), file.parent)
        if spec.model.is_own:
            reason = "a study with files of its own is read as it is stored: give --store instead"
            raise SpecificationError(file, reason)
        return spec
    if store is None:
        raise SpecificationError("study", "give --store or --spec, to read it from")
    # Of a confidential store too: the specification is for everybody to read, without a key.
    with closing(open_study_store(store, Path(), ward, study)) as opened_store:
        data = opened_store.get(cid_from_sha256(digest), _SPECIFICATION_MAX_BYTES)
    return parse_specification(data)
