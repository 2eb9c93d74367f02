"""What the guard decides: every check between a request and a signature.

It believes nothing that the process that trains says. What it can read from the chain, from the
site's approvals or from the site's own table, it reads there; a vector it is given whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wardround.chain.errors import ChainError, ContractReverted
from wardround.chain.study_state import OpenRound, SiteSlot
from wardround.host.steps import Step, durable
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form
from wardround.protocol.errors import ProtocolError
from wardround.protocol.fixed_point import Int32Vector, vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, StudyId, bytes32, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Closing
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.budget import Budget
from wardround_client.guard.chain import ChainReader
from wardround_client.guard.contents import check_update, read_report, same_report
from wardround_client.guard.errors import (
    AlreadySigned,
    BaseModelWrong,
    ChainSilent,
    CodeChanged,
    EvaluationOff,
    ExamplesWrong,
    MetricNotAllowed,
    NotAMember,
    RequestMalformed,
    RoundNotOpen,
    StudyNotApproved,
    UpdateOutOfRange,
    WeightTooHigh,
)
from wardround_client.guard.log import GuardLog, Line
from wardround_client.guard.requests import (
    AskBegin,
    AskIdentity,
    AskMaxWeight,
    AskOpenRound,
    AskRelease,
    AskSign,
    Begun,
    Identified,
    Opened,
    Released,
    Request,
    SignedAnswer,
    Weighed,
)
from wardround_client.guard.tables import TableFacts, count_rows
from wardround_client.home import Home
from wardround_client.settings import MEASURE_NAMES, HomeSettings

#: Reads so many bytes of a vector that follows the request.
ReadBytes = Callable[[int], bytes]


class Guard:
    """A site's guard: key, policy, log. Requests are decided one at a time."""

    def __init__(
        self,
        home: Home,
        settings: HomeSettings,
        address: SiteAddress,
        key: bytes,
        log: GuardLog,
    ) -> None:
        self.address = address
        self.log = log
        self._home, self._settings, self._key = home, settings, key
        self._approvals = Approvals(home.approvals, address)
        self._chain = ChainReader(settings.chain)
        self._book = Book(log.kept)
        self._budget = Budget(self._book, log, settings, key)
        self._facts: dict[RoundKey, TableFacts] = {}
        self._lock = threading.RLock()

    def answer(self, request: Request, read: ReadBytes) -> Form:
        """Decide a request.

        Args:
            request: of the agreed form, and nothing else is known of it.
            read: gives the bytes of a vector; called only for lengths that the study allows.
        Raises:
            Refusal: what is asked for must not leave.
            LogUnwritable: what leaves could not be written down, so it does not.
        """
        if isinstance(request, AskSign):
            approval = self._approval(request.study)
            base, update = self._vectors(request, approval, read)
            with self._lock:
                return self._sign(request, approval, base, update)
        with self._lock:
            match request:
                case AskIdentity():
                    return Identified(name=self._settings.site.name, site=self.address)
                case AskOpenRound():
                    opened = self._open_round(self._approval(request.study).study, 0)
                    commitment = hex_of(opened.previous_commitment)
                    return Opened(round=opened.round, previous_commitment=commitment)
                case AskMaxWeight():
                    return Weighed(max_weight=self._slot(self._approval(request.study)).max_weight)
                case AskBegin():
                    return self._begin(request)
                case AskRelease():
                    return self._release(request)

    def refused(self, fields: dict[str, Any], error: Exception) -> None:
        """Write down that something was refused."""
        with self._lock:
            self.log.append("refused", error=type(error).__name__, words=str(error)[:600], **fields)

    def note(self, kind: str, **fields: Any) -> None:
        """Write down that something happened."""
        with self._lock:
            self.log.append(kind, **fields)

    def check_chain(self) -> None:
        """Ask the chain whether it is the one that the settings name.

        Raises:
            ChainError: it is another, or does not answer.
        """
        with self._lock:
            self._chain.contract()

    def check_table(self) -> TableFacts:
        """Count the site's rows.

        Raises:
            TableUnusable: they cannot be read.
        """
        return count_rows(self._home.folder, self._settings, os.environ)

    def close(self) -> None:
        """Let go of chain and log."""
        with self._lock:
            self._chain.close()
            self.log.close()

    # ---------------------------------------------------------------- the questions

    def _begin(self, request: AskBegin) -> Begun:
        approval = self._approval(request.study)
        if request.code != hex_of(approval.code):
            raise CodeChanged(hex_of(approval.code), request.code)
        key, _ = self._round(approval, request.round, request.previous)
        facts = self._facts[key] = self.check_table()
        return self._budget.begin(approval, key, facts)

    def _sign(
        self, request: AskSign, approval: Approval, base: Int32Vector, update: Int32Vector
    ) -> SignedAnswer:
        key, slot = self._round(approval, request.round, request.previous)
        root = vector_root(base.data)
        if root != key.base:
            raise BaseModelWrong("the base model", hex_of(key.base), hex_of(root))
        entry = Entry(
            self.address,
            request.weight,
            vector_root(update.data),
            sha256_digest(request.report.encode()),
            bytes(65),
        )
        known = self._book.signed(key)
        if known is not None:
            return _again(known, entry, request, approval.study)
        report = read_report(
            request.report.encode(),
            approval,
            request.round,
            self.address,
            self._settings.policy.metrics,
        )
        facts = self._facts.get(key) or self.check_table()
        if report.examples != facts.examples:
            raise ExamplesWrong("training rows", facts.examples, report.examples)
        limit = min(slot.max_weight, facts.examples)
        if not 1 <= request.weight <= limit:
            raise WeightTooHigh(request.weight, limit)
        norm = check_update(update, base, approval.spec, self._settings.policy.max_update_norm)
        self._budget.check(report, approval, key, facts)
        statement = entry.contribution(approval.study, request.round, key.base)
        signature = statement.sign(self._chain.domain(), self._key)
        # Durable before it leaves: after a crash here the same is asked again, and found.
        with durable(Step.SIGNATURE_LOGGED):
            line = self.log.append(
                "signed",
                **key.fields(),
                update=hex_of(entry.update),
                update_bytes=request.update_bytes,
                norm=norm,
                weight=request.weight,
                report=request.report,
                report_sha256=hex_of(entry.report),
                signature=hex_of(signature),
            )
        self._book.take(line)
        return _answer(replace(entry, signature=signature), request.report)

    def _release(self, request: AskRelease) -> Released:
        policy = self._settings.policy
        if not policy.evaluate:
            raise EvaluationOff
        approval = self._approval(request.study)
        closing = _closing(request.previous)
        known = self._ask(lambda chain: chain.commitment(approval.study, request.round - 1))
        if closing.commitment != known:
            what = f"the record of round {request.round - 1}"
            raise BaseModelWrong(what, hex_of(known), hex_of(closing.commitment))
        model = closing.record.model
        if request.model != hex_of(model):
            # Whoever may choose the model may ask about single test rows.
            raise BaseModelWrong("the model to measure", hex_of(model), request.model)
        unknown = sorted(set(request.measures) - MEASURE_NAMES - {"examples"})
        if unknown:
            raise MetricNotAllowed(unknown[0])
        tests = self.check_table().tests
        stated = request.measures.get("examples", -1)
        if stated != tests:
            raise ExamplesWrong("test rows", tests, int(stated))
        allowed = {*policy.metrics, "examples"}
        measures = {name: value for name, value in request.measures.items() if name in allowed}
        self.log.append(
            "released",
            study=request.study,
            round=request.round,
            model=request.model,
            measures=measures,
        )
        return Released(measures=measures)

    # ---------------------------------------------------------------- the checks

    def _approval(self, study: str) -> Approval:
        found = StudyId(bytes32(study, "study"))
        with self._lock:
            approval = self._approvals.of(found)
        chain = self._settings.chain
        if (approval.chain_id, approval.contract) != (chain.chain_id, chain.contract):
            raise StudyNotApproved(found)
        return approval

    def _vectors(
        self, request: AskSign, approval: Approval, read: ReadBytes
    ) -> tuple[Int32Vector, Int32Vector]:
        """Read base model and update, once their lengths are the study's."""
        count = approval.params.parameter_count
        for what, length in (("base model", request.base_bytes), ("update", request.update_bytes)):
            if length != 4 * count:
                raise UpdateOutOfRange(f"the length in bytes ({what})", length, 4 * count)
        base = vector_from_bytes(read(request.base_bytes), count)
        return base, vector_from_bytes(read(request.update_bytes), count)

    def _round(self, approval: Approval, number: int, previous: str) -> tuple[RoundKey, SiteSlot]:
        """See that a round is open, that its base model is the chain's, and the site a member."""
        closing = _closing(previous)
        opened = self._open_round(approval.study, number)
        if opened.round != number:
            raise RoundNotOpen(approval.study, number, f"the chain has round {opened.round} open")
        if closing.commitment != opened.previous_commitment:
            raise BaseModelWrong(
                "the record of the round before",
                hex_of(opened.previous_commitment),
                hex_of(closing.commitment),
            )
        slot = self._slot(approval)
        if not slot.is_member(number):
            raise NotAMember(self.address, approval.study, number)
        return RoundKey(approval.study, number, closing.record.model), slot

    # ---------------------------------------------------------------- the chain

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return self._chain.ask(question)
        except ContractReverted:
            raise
        except ChainError as error:
            raise ChainSilent(str(error)) from None

    def _open_round(self, study: StudyId, number: int) -> OpenRound:
        try:
            opened: OpenRound = self._ask(lambda chain: chain.open_round(study))
        except ContractReverted as error:
            raise RoundNotOpen(study, number, f"the contract says {error.name}") from None
        return opened

    def _slot(self, approval: Approval) -> SiteSlot:
        slot: SiteSlot = self._ask(lambda chain: chain.site(approval.study, self.address))
        return slot


def _closing(text: str) -> Closing:
    try:
        return Closing.decode(bytes.fromhex(text[2:]))
    except ProtocolError as error:
        raise RequestMalformed(str(error)) from None


def _again(known: Line, entry: Entry, request: AskSign, study: StudyId) -> SignedAnswer:
    """Give the signature that was given before, to the same contribution."""
    same = known["update"] == hex_of(entry.update) and known["weight"] == entry.weight
    if not same or not same_report(known["report"].encode(), request.report.encode()):
        raise AlreadySigned(study, request.round, known["update"])
    signed = replace(
        entry,
        report=sha256_digest(known["report"].encode()),
        signature=bytes.fromhex(known["signature"][2:]),
    )
    return _answer(signed, known["report"])


def _answer(entry: Entry, report: str) -> SignedAnswer:
    return SignedAnswer(entry=hex_of(entry.pack()), report=report)
