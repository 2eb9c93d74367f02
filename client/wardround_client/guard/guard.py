"""What the guard decides: every check between a request and a signature.

It does not trust the code that trains. What it can read from the chain, from the site's approvals
or from the site's own table, it reads there; vectors it receives whole, and hashes itself.

A hospital's guard answers at a socket (`guard.server`); a simulated site's is called in process, or
behind its socket where the sites have processes of their own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from eth_account import Account

from wardround.chain.errors import ChainError, ContractReverted
from wardround.chain.study_state import SiteSlot
from wardround.chain.ward_round import WardRound
from wardround.host.steps import Step, durable
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.fixed_point import (
    Int32Vector,
    vector_from_bytes,
)
from wardround.protocol.identifiers import SiteAddress, StudyId, bytes32, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Closing
from wardround_client.errors import LogError, Refusal, RefusedForNow
from wardround_client.guard.approvals import Approval, Approvals, not_approved
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.budget import Budget
from wardround_client.guard.chain import ChainReader
from wardround_client.guard.contents import (
    check_update,
    code_changed,
    metric_not_allowed,
    out_of_range,
    read_report,
    same_report,
)
from wardround_client.guard.log import GuardLog, Line, Now
from wardround_client.guard.requests import (
    AskBegin,
    AskIdentity,
    AskRelease,
    AskSign,
    Begun,
    Identified,
    Released,
    Request,
    SignedAnswer,
    malformed,
    parse_request,
)
from wardround_client.guard.tables import TableFacts, count_rows
from wardround_client.home import Home
from wardround_client.settings import MEASURE_NAMES

AnswerT = TypeVar("AnswerT", bound=Form)
FoundT = TypeVar("FoundT")
#: Reads so many bytes of a vector that follows the request.
ReadBytes = Callable[[int], bytes]


class Guard:
    """A site's guard: key, policy, log. Requests are decided one at a time."""

    def __init__(self, home: Home, key: bytes, now: Now, noise_key: bytes | None = None) -> None:
        """Open a home's log.

        Args:
            key: signs; 32 bytes.
            now: seconds since 1970.
            noise_key: of private training, instead of `key`; a simulation's, so that it repeats.
        Raises:
            SpecificationError: not a site's home, or ``site.toml`` cannot be used.
            LogError: the log is missing, damaged or in use.
        """
        self.home = home
        self.address = SiteAddress(Account.from_key(key).address)
        self.name = home.settings().site.name
        self._settings, self._key = home.settings(), key
        self._approvals = Approvals(home.approvals, self.address)
        self._chain = ChainReader(self._settings.chain)
        self.log = GuardLog(home.log, now)
        self._book = Book(self.log.kept)
        self._budget = Budget(self._book, self.log, self._settings, noise_key or key)
        self._facts: dict[RoundKey, TableFacts] = {}
        self._lock = threading.RLock()

    def ask(
        self, kind: type[AnswerT], request: dict[str, Any], parts: Sequence[bytes] = ()
    ) -> AnswerT:
        """Decide a request of this process; see `guard.client.Guarded`."""
        vectors = iter(parts)
        answer = self.decide(request, lambda count: next(vectors))
        assert isinstance(answer, kind)  # the caller knows what it asked for
        return answer

    def decide(self, document: Any, read: ReadBytes) -> Form:
        """Decide a request, and log it where it is refused.

        Args:
            document: a JSON value, of which nothing is known.
            read: gives the bytes of a vector; called only for lengths that the study allows.
        Raises:
            Refusal: what is asked for must not leave. ``round-over`` is not logged: it is normal
                that a coordinator asks a silent site again, and gets its answers elsewhere.
            LogError: what leaves could not be logged, so it does not.
        """
        fields: dict[str, Any] = {"ask": "", **_stated(document)}
        try:
            try:
                return self._answer(parse_request(document), read)
            except (Malformed, TimeoutError) as error:
                raise malformed(str(error)) from None
        except Exception as error:
            if not (isinstance(error, Refusal) and error.name == "round-over"):
                self.refused(fields, error)
            raise

    def refused(self, fields: dict[str, Any], error: Exception) -> None:
        """Log a refusal; one that cannot be logged is still a refusal."""
        name, words = type(error).__name__, str(error)
        if isinstance(error, Refusal):
            name, words = error.name, error.words
        with self._lock, suppress(LogError):
            self.log.append("refused", error=name, words=words[:600], **fields)

    def _answer(self, request: Request, read: ReadBytes) -> Form:
        if isinstance(request, AskSign):
            approval = self._approval(request.study)
            base, update = self._vectors(request, approval, read)
            with self._lock:
                return self._sign(request, approval, base, update)
        with self._lock:
            match request:
                case AskIdentity():
                    return Identified(name=self.name, site=self.address)
                case AskBegin():
                    return self._begin(request)
                case AskRelease():
                    return self._release(request)

    def note(self, kind: str, **fields: Any) -> None:
        """Log an event."""
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
            RefusedForNow: they cannot be read.
        """
        return count_rows(self.home.folder, self._settings, os.environ)

    def close(self) -> None:
        """Let go of chain and log."""
        with self._lock:
            self._chain.close()
            self.log.close()

    # ---------------------------------------------------------------- the questions

    def _begin(self, request: AskBegin) -> Begun:
        approval = self._approval(request.study)
        if request.code != hex_of(approval.code):
            raise code_changed(hex_of(approval.code), request.code)
        key, slot = self._round(approval, request.round, request.previous)
        facts = self._facts[key] = self.check_table()
        allowed = self._budget.begin(approval, key, facts)
        return Begun(max_weight=slot.max_weight, secret=allowed.secret, account=allowed.account)

    def _sign(
        self, request: AskSign, approval: Approval, base: Int32Vector, update: Int32Vector
    ) -> SignedAnswer:
        key, slot = self._round(approval, request.round, request.previous)
        root = vector_root(base.data)
        if root != key.base:
            raise _base_wrong("the base model", hex_of(key.base), hex_of(root))
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
            raise _examples_wrong("training rows", facts.examples, report.examples)
        limit = min(slot.max_weight, facts.examples)
        if not 1 <= request.weight <= limit:
            words = f"weight {request.weight} is not in 1 .. {limit}, the lesser of cap and rows."
            raise Refusal("weight-too-high", words)
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
        return _signed(replace(entry, signature=signature), request.report)

    def _release(self, request: AskRelease) -> Released:
        policy = self._settings.policy
        if not policy.evaluate:
            words = "this site measures no models: [policy] evaluate is false."
            raise Refusal("evaluation-off", words)
        approval = self._approval(request.study)
        closing = _closing(request.previous)
        known = self._ask(lambda ward: ward.commitment(approval.study, request.round - 1))
        if closing.commitment != known:
            what = f"the record of round {request.round - 1}"
            raise _base_wrong(what, hex_of(known), hex_of(closing.commitment))
        model = closing.record.model
        if request.model != hex_of(model):
            # A model of the asker's own choice could ask about single test rows.
            raise _base_wrong("the model to measure", hex_of(model), request.model)
        unknown = sorted(set(request.measures) - MEASURE_NAMES - {"examples"})
        if unknown:
            raise metric_not_allowed(unknown[0])
        tests = self.check_table().tests
        stated = request.measures.get("examples", -1)
        if stated != tests:
            raise _examples_wrong("test rows", tests, int(stated))
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
            raise not_approved(found)
        return approval

    def _vectors(
        self, request: AskSign, approval: Approval, read: ReadBytes
    ) -> tuple[Int32Vector, Int32Vector]:
        """Read base model and update, once their lengths are the study's."""
        count = approval.params.parameter_count
        for what, length in (("base model", request.base_bytes), ("update", request.update_bytes)):
            if length != 4 * count:
                raise out_of_range(f"the length in bytes ({what})", length, 4 * count)
        base = vector_from_bytes(read(request.base_bytes), count)
        return base, vector_from_bytes(read(request.update_bytes), count)

    def _round(self, approval: Approval, number: int, previous: str) -> tuple[RoundKey, SiteSlot]:
        """Check that a round is open, that its base model is the chain's, and the site a member."""
        closing = _closing(previous)
        try:
            opened = self._ask(lambda ward: ward.open_round(approval.study))
        except ContractReverted as error:
            reason = f"the contract answers {error.name}"
            raise _not_open(approval.study, number, reason) from None
        if opened.round > number:
            words = f"round {number} is closed and round {opened.round} is open: nothing is lost."
            raise Refusal("round-over", words)
        if opened.round != number:
            raise _not_open(approval.study, number, f"the chain has round {opened.round} open")
        if closing.commitment != opened.previous_commitment:
            raise _base_wrong(
                "the record of the round before",
                hex_of(opened.previous_commitment),
                hex_of(closing.commitment),
            )
        slot = self._ask(lambda ward: ward.site(approval.study, self.address))
        if not slot.is_member(number):
            raise Refusal(
                "not-a-member",
                f"{self.address} is no member of study {hex_of(approval.study)} in round {number}: "
                "ask its sponsor to admit this address.",
            )
        return RoundKey(approval.study, number, closing.record.model), slot

    # ---------------------------------------------------------------- the chain

    def _ask(self, question: Callable[[WardRound], FoundT]) -> FoundT:
        try:
            return self._chain.ask(question)
        except ContractReverted:
            raise
        except ChainError as error:
            raise RefusedForNow("chain-silent", f"the chain cannot be asked: {error}") from None


def _closing(text: str) -> Closing:
    try:
        return Closing.decode(bytes.fromhex(text[2:]))
    except ProtocolError as error:
        raise malformed(str(error)) from None


def _again(known: Line, entry: Entry, request: AskSign, study: StudyId) -> SignedAnswer:
    """Give the signature that was given before, to the same contribution."""
    same = known["update"] == hex_of(entry.update) and known["weight"] == entry.weight
    if not same or not same_report(known["report"].encode(), request.report.encode()):
        raise Refusal(
            "already-signed",
            f"for round {request.round} of study {hex_of(study)} the update {known['update']} was "
            "signed before: a second, different one never is.",
        )
    signed = replace(
        entry,
        report=sha256_digest(known["report"].encode()),
        signature=bytes.fromhex(known["signature"][2:]),
    )
    return _signed(signed, known["report"])


def _stated(document: Any) -> dict[str, Any]:
    """What a request states of itself, as far as that is fit for the log."""
    stated: dict[str, Any] = {}
    if isinstance(document, dict):
        for name in ("ask", "study"):
            if isinstance(document.get(name), str):
                stated[name] = document[name][:70]
        if type(document.get("round")) is int:
            stated["round"] = document["round"]
    return stated


def _base_wrong(what: str, expected: str, found: str) -> Refusal:
    return Refusal("base-model-wrong", f"{what} is {found}, but the chain has {expected}.")


def _examples_wrong(what: str, counted: int, stated: int) -> Refusal:
    words = f"{stated} {what} are stated, but the site's table has {counted}."
    return Refusal("examples-wrong", words)


def _not_open(study: StudyId, number: int, reason: str) -> Refusal:
    words = f"round {number} of study {hex_of(study)} is not open: {reason}."
    return Refusal("round-not-open", words)


def _signed(entry: Entry, report: str) -> SignedAnswer:
    return SignedAnswer(entry=hex_of(entry.pack()), report=report)
