"""What the guard decides: whether a site trains, on what, and what of it leaves.

It reads the site's table itself, asks the chain itself, and gives a trainer no more than one job
needs. Of what comes back it takes the update and one number, whose size and range it checks; it
counts what is measured, writes the report and signs.

A hospital's guard answers at a socket (`guard.server`); a simulated site's is called in process, or
behind its socket where the sites have processes of their own.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from eth_account import Account

from wardround.chain.errors import ChainError, ContractReverted, UnknownContract
from wardround.chain.study_state import SiteSlot
from wardround.chain.ward_round import WardRound
from wardround.host.code import application_digest
from wardround.host.steps import Step, durable
from wardround.learning.datasets.table import SiteData, Table
from wardround.learning.privacy.counts import histogram, noised
from wardround.protocol.canonical import canonical_bytes, canonical_digest, sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, bytes32, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import Measured, TrainReply, TrainTask
from wardround.protocol.record import Closing
from wardround.protocol.report import MetricName, Report, rounded_loss
from wardround_client.errors import LogError, Refusal, RefusedForNow
from wardround_client.guard.answers import KeptAnswers
from wardround_client.guard.approvals import Approval, Approvals, not_approved
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.budget import ATTEMPTS_MAX, Allowance, Budget
from wardround_client.guard.chain import ChainReader
from wardround_client.guard.client import Guarded
from wardround_client.guard.contents import (
    check_shares,
    check_trained,
    check_update,
    code_changed,
)
from wardround_client.guard.log import GuardLog, Line, Now
from wardround_client.guard.measuring import too_few
from wardround_client.guard.noise_secrets import DerivedSecrets, KeptSecrets, erase_final
from wardround_client.guard.people import PeopleStore
from wardround_client.guard.policy import changes
from wardround_client.guard.requests import (
    AskIdentity,
    AskMeasure,
    AskTrain,
    Identified,
    Trained,
    malformed,
    parse_request,
)
from wardround_client.guard.tables import (
    TableFacts,
    check_grown,
    check_unsolvable,
    facts_of,
    read_tables,
)
from wardround_client.guard.terms import check_terms
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.base import NoiseTerms, PredictJob, Trainer, TrainJob

FoundT = TypeVar("FoundT")
#: Reads so many bytes of a vector that follows the request.
ReadBytes = Callable[[int], bytes]
#: Seconds that only grow.
Clock = Callable[[], float]
#: Refusals are written down up to this many an hour, some 2 MB a day.
_REFUSALS_AN_HOUR, _HOUR_SECONDS = 200, 3600.0
_SEED = b"wardround/guard/training/1"


class Guard(Guarded):
    """A site's guard: key, policy, log. Rounds of one study are worked on one at a time."""

    def __init__(
        self,
        home: Home,
        key: bytes,
        now: Now,
        trainer: Trainer,
        *,
        simulated: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        """Open a home's log.

        Args:
            key: signs; 32 bytes.
            now: seconds since 1970.
            trainer: does the work that sees rows.
            simulated: draw the noise of private training from the home's secret too, so that a
                simulation repeats.
            clock: measures how long training takes.
        Raises:
            SpecificationError: not a site's home, or ``site.toml`` cannot be used.
            LogError: the log is missing, damaged or in use.
        """
        self.home = home
        self.address = SiteAddress(Account.from_key(key).address)
        self._settings = home.settings_in_force(self.address)
        self._key, self._secret = key, home.read_secret()
        self.name = self._settings.site.name
        self._approvals = Approvals(home.approvals, self.address)
        self._chain = ChainReader(self._settings.chain)
        self.log = GuardLog(home.log, now)
        self._book = Book(self.log.kept)
        self._noise = DerivedSecrets(self._secret) if simulated else KeptSecrets(home.noise)
        self._not_erased: set[str] = set()
        people = PeopleStore(home.people)
        self._budget = Budget(self._book, self.log, self._settings, self._noise, people)
        self._answers = KeptAnswers(home.answers)
        self._trainer, self._clock = trainer, clock
        self._hour, self._refusals = clock(), 0
        self._lock = threading.RLock()
        # A coordinator that asks again while the site still trains waits, and gets that answer.
        self._turns: dict[StudyId, threading.Lock] = defaultdict(threading.Lock)

    def ask(self, request: dict[str, Any], model: bytes = b"") -> tuple[Form, bytes]:
        """Decide a request of this process; see `guard.client.Guarded`."""
        return self.decide(request, lambda count: model)

    def decide(self, document: Any, read: ReadBytes) -> tuple[Form, bytes]:
        """Decide a request, and log it where it is refused.

        Args:
            document: a JSON value, of which nothing is known.
            read: gives the bytes of a model; called only for lengths that the study allows.
        Returns:
            The answer, and the update that follows it, if any.
        Raises:
            Refusal: what is asked for must not leave. ``round-over`` is not logged: it is normal
                that a coordinator asks a silent site again, and gets its answers elsewhere.
            LogError: what leaves could not be logged, so it does not.
        """
        fields: dict[str, Any] = {"ask": "", **_stated(document)}
        try:
            try:
                request = parse_request(document)
                if isinstance(request, AskTrain):
                    return self._train(request, read)
                if isinstance(request, AskMeasure):
                    return self._measure(request, read), b""
                assert isinstance(request, AskIdentity)  # there is no other
                return Identified(name=self.name, site=self.address), b""
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
            now = self._clock()
            if now - self._hour >= _HOUR_SECONDS:
                self._hour, self._refusals = now, 0
            self._refusals += 1
            # A caller that asks for ever must not fill the disk.
            if self._refusals < _REFUSALS_AN_HOUR:
                self.log.append("refused", error=name, words=words[:600], **fields)
            elif self._refusals == _REFUSALS_AN_HOUR:
                words = f"{_REFUSALS_AN_HOUR} requests were refused within an hour: what is "
                words += "refused in the rest of it is not written down"
                self.log.append("refused", error="too-many-refusals", words=words, ask="")

    def note(self, kind: str, **fields: Any) -> None:
        """Log an event."""
        with self._lock:
            self.log.append(kind, **fields)

    def check_chain(self) -> None:
        """Ask the chain whether it is the one that the settings name.

        Raises:
            ChainError: it is another, or does not answer.
            UnknownContract: the contract there is not one to sign for.
        """
        with self._lock:
            self._chain.contract()
            self._chain.ask(self._erase_final)

    def check_policy(self) -> list[str]:
        """List how the terms in ``site.toml`` differ from those in force."""
        return changes(self._settings.terms, self.home.settings().terms)

    def check_table(self) -> TableFacts:
        """Count the site's rows.

        Raises:
            RefusedForNow: they cannot be read.
        """
        return facts_of(self._tables())

    def close(self) -> None:
        """Let go of trainer, chain and log."""
        with self._lock:
            self._trainer.close()
            self._chain.close()
            self.log.close()

    # ---------------------------------------------------------------- training

    def _train(self, request: AskTrain, read: ReadBytes) -> tuple[Trained, bytes]:
        approval = self._approval(request.study)
        base = _model(request, approval, read)
        with self._turns[approval.study]:
            return self._contribution(request, approval, base)

    def _contribution(
        self, request: AskTrain, approval: Approval, base: Int32Vector
    ) -> tuple[Trained, bytes]:
        started, spec = self._clock(), approval.spec
        task = TrainTask(approval.params, _closing(request.previous), request.round, b"")
        with self._lock:
            key, _ = self._round(approval, request.round, request.previous)
            _check_model("the base model", key.base, base)
            if (kept := self._kept(task, key)) is not None:
                return kept
            self._ask(self._erase_final)
            self._check_attempts(approval, key, "train")
            table = self._tables().train
            # It may be another one than the administrator saw.
            check_grown(approval, table)
            allowed = self._budget.begin(approval, key, table)
            table = allowed.part(table)
            booked = 0.0 if allowed.stated is None else allowed.stated.epsilon_replaced
            check_unsolvable(spec, approval.params, table, self._settings.policy, booked)
        job = TrainJob(
            specification=canonical_bytes(spec.document()),
            base=base,
            features=table.features,
            labels=table.labels,
            seed=self._seed(approval, key),
            files=spec.files,
            private=_noise_terms(allowed, approval, key, table),
        )
        longest = self._settings.policy.max_update_norm
        with self._counting_failures(key, "train"):
            with durable(Step.UPDATE_TRAINED):
                trained = self._trainer.train(job)
            check_trained(trained, base)
            norm = check_update(trained.update, base, spec, longest)
        with self._lock:
            # Training takes its time: approval or round may be over, the site no longer a member.
            approval = self._approval(request.study)
            key, slot = self._round(approval, request.round, request.previous)
            examples = _rounded(len(table), self._settings.policy.weight_step)
            report = Report(
                study=request.study,
                round=request.round,
                site=self.address.lower(),
                examples=examples,
                metrics=self._loss(approval, trained.mean_loss),
                privacy=allowed.stated,
                code=hex_of(approval.code),
                seconds=math.ceil(self._clock() - started),
            ).encode()
            weight = min(slot.max_weight, examples)
            root, digest = vector_root(trained.update.data), sha256_digest(report)
            entry = Entry(self.address, weight, root, digest, bytes(65))
            # Another update than was signed before is the code's doing too.
            with self._counting_failures(key, "train"):
                signed, report = self._signed(approval, key, entry, report, norm)
        reply = TrainReply(approval.study, request.round, signed, report)
        try:
            with durable(Step.ANSWER_KEPT):
                self._answers.keep(task, reply, trained.update)
        except OSError as error:
            # It can be trained again, so the round goes on.
            self.note("answer not kept", reason=error.strerror or type(error).__name__)
        return _trained(reply, trained.update)

    def _kept(self, task: TrainTask, key: RoundKey) -> tuple[Trained, bytes] | None:
        """Find the answer to a round that was signed before, on disk."""
        known, kept = self._book.signed(key), self._answers.find(task)
        if known is None or kept is None:
            return None
        reply, update = kept
        return _trained(reply, update) if _same(known, reply.entry) else None

    def _signed(
        self, approval: Approval, key: RoundKey, entry: Entry, report: bytes, norm: float
    ) -> tuple[Entry, bytes]:
        """Sign an entry, or give the signature that was given before to the same one."""
        known = self._book.signed(key)
        if known is not None:
            # Its report may have stated another time.
            entry = replace(entry, report=Digest(bytes32(known["report_sha256"], "report")))
            if not _same(known, entry):
                raise Refusal(
                    "already-signed",
                    f"for round {key.round} of study {hex_of(key.study)} the update "
                    f"{known['update']} was signed before: a second, different one never is.",
                )
            signature = bytes.fromhex(known["signature"][2:])
            return replace(entry, signature=signature), known["report"].encode()
        statement = entry.contribution(key.study, key.round, key.base)
        signature = statement.sign(self._chain.domain(), self._key)
        # Durable before it leaves: after a crash here the same is trained again, and found.
        with durable(Step.SIGNATURE_LOGGED):
            line = self.log.append(
                "signed",
                **key.fields(),
                update=hex_of(entry.update),
                update_bytes=4 * approval.params.parameter_count,
                norm=norm,
                weight=entry.weight,
                report=report.decode(),
                report_sha256=hex_of(entry.report),
                signature=hex_of(signature),
            )
        self._book.take(line)
        return replace(entry, signature=signature), report

    def _seed(self, approval: Approval, key: RoundKey) -> int:
        """Draw the seed of one training, which no one outside of the site can foresee.

        From what decides the result, and not from the study's id or its terms: the same training
        on the same model repeats, and tells nothing new.
        """
        training = hex_of(approval.spec.training_digest)
        decides = canonical_bytes([training, key.round, hex_of(key.base)])
        return int.from_bytes(hmac.digest(self._secret, _SEED + decides, hashlib.sha256), "big")

    def _loss(self, approval: Approval, loss: float | None) -> dict[MetricName, float]:
        # The loss of private training is made from rows without noise.
        if loss is None or approval.spec.privacy is not None:
            return {}
        if "train_loss" not in self._settings.policy.metrics:
            return {}
        return {"train_loss": rounded_loss(loss)}

    # ---------------------------------------------------------------- measuring

    def _measure(self, request: AskMeasure, read: ReadBytes) -> Measured:
        policy = self._settings.policy
        if not policy.evaluate:
            words = "this site measures no models: [policy] evaluate is false."
            raise Refusal("evaluation-off", words)
        approval = self._approval(request.study)
        model = _model(request, approval, read)
        with self._turns[approval.study]:
            return self._measured(request, approval, model)

    def _measured(self, request: AskMeasure, approval: Approval, model: Int32Vector) -> Measured:
        closing, policy, study = _closing(request.previous), self._settings.policy, approval.study
        number = request.round - 1
        with self._lock:
            known = self._ask(lambda ward: ward.commitment(study, number))
            if closing.commitment != known:
                what = f"the record of round {number}"
                raise _base_wrong(what, hex_of(known), hex_of(closing.commitment))
            # A model of the asker's own choice could ask about single test rows.
            _check_model("the model to measure", closing.record.model, model)
            if (line := self._book.released(study, closing.record.model)) is not None:
                return Measured.model_validate(line["measures"])
            self._check_measurable(approval, number)
            key = RoundKey(study, number, closing.record.model)
            self._check_attempts(approval, key, "measure")
            data = self._tables()
            tests = data.test
            _check_enough(tests, policy)
        classes = approval.spec.model.told_apart
        _check_classes(tests, classes)
        job = PredictJob(
            specification=canonical_bytes(approval.spec.document()),
            model=model,
            features=tests.features,
            classes=classes,
            files=approval.spec.files,
        )
        with self._counting_failures(key, "measure"):
            shares = self._trainer.predict(job)
            check_shares(shares, tests, classes)
        if noise := policy.measure_noise:
            # Booked only once there is something to count: a trainer that fails costs nothing.
            with self._lock:
                allowance = self._budget.measure(
                    key, tests, noise, lambda left: _check_enough(left, policy)
                )
            if allowance.rows is not None:
                tests, shares = allowance.part(tests), shares[allowance.rows]
        found = histogram(shares, tests.labels)
        counts = noised(found.counts, noise) if noise else found.counts
        measured = Measured(
            counts=counts.ravel().tolist(), two_classes=found.two_classes, noise=noise
        )
        with self._lock:
            # Durable before it leaves: a model is measured once.
            line = self.log.append(
                "released",
                study=request.study,
                round=key.round,
                model=hex_of(closing.record.model),
                measures=measured.fields(),
            )
            self._book.take(line)
        return measured

    def _check_measurable(self, approval: Approval, number: int) -> None:
        """Refuse models of rounds without this site, and more models than the policy allows."""
        if not self._book.took_part(approval.study, number):
            words = f"this site had no part in round {number}, so it does not measure its model."
            raise Refusal("not-a-contributor", words)
        allowed, last = self._settings.policy.measured_models, approval.params.rounds
        # One is kept for the last model, which people will use.
        left = allowed - (number < last) - self._book.measured_models(approval.study)
        if left <= 0:
            raise Refusal(
                "measures-spent",
                f"[policy] measured_models lets {allowed} models of a study be measured, one of "
                "them the last.",
            )

    # ---------------------------------------------------------------- the checks

    def _check_attempts(self, approval: Approval, key: RoundKey, ask: str) -> None:
        """Refuse what the trainer has failed at too often since the study was approved."""
        failed = self._book.failures(key.study, key.round, ask, since=approval.at)
        if failed >= ATTEMPTS_MAX:
            raise Refusal(
                "attempts-spent",
                f"the trainer failed in round {key.round} for {failed} times already, and each "
                "time may tell of a row: this site leaves it out, unless you approve the study "
                "again.",
            )

    @contextmanager
    def _counting_failures(self, key: RoundKey, ask: str) -> Iterator[None]:
        """Write down whatever ends a job after its rows went out, and give all of it one name.

        A study's code can bring it about by what it sees of the rows, be it in this process.
        """
        try:
            yield
        except (RefusedForNow, LogError):  # no code has seen a row; nothing leaves at all
            raise
        except BaseException as error:
            with self._lock:
                self._book.take(self.log.append("failed", **key.fields(), of=ask))
            if isinstance(error, Refusal) or not isinstance(error, Exception):
                raise
            words = f"the job could not be finished ({type(error).__name__})."
            raise Refusal("trainer-failed", words) from error

    def _tables(self) -> SiteData:
        return read_tables(self.home.folder, self._settings, os.environ)

    def _approval(self, study: str) -> Approval:
        found = StudyId(bytes32(study, "study"))
        with self._lock:
            approval = self._approvals.of(found)
        chain = self._settings.chain
        if (approval.chain_id, approval.contract) != (chain.chain_id, chain.contract):
            raise not_approved(found)
        if approval.code != application_digest():
            raise code_changed(hex_of(approval.code), hex_of(application_digest()))
        # The policy may have changed since.
        check_terms(approval.params, approval.parties, approval.spec, self._settings.policy)
        return approval

    def _round(self, approval: Approval, number: int, previous: str) -> tuple[RoundKey, SiteSlot]:
        """Check that a round is open, that its base model is the chain's, and the site a member."""
        closing = _closing(previous)
        try:
            opened = self._ask(lambda ward: ward.open_round(approval.study))
        except ContractReverted as error:
            raise _not_open(approval.study, number, error.reason) from None
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

    def _erase_final(self, ward: WardRound) -> None:
        """Erase answers and secrets of rounds that are final; log once which secrets must stay."""
        erase_final(self._answers, ward)
        for study, reason in erase_final(self._noise, ward).items():
            if study not in self._not_erased:
                self._not_erased.add(study)
                self.note("secrets kept", study=study, reason=reason)

    def _ask(self, question: Callable[[WardRound], FoundT]) -> FoundT:
        try:
            return self._chain.ask(question)
        except ContractReverted:
            raise
        except UnknownContract as error:
            raise Refusal("contract-unknown", str(error)) from None
        except ChainError as error:
            raise RefusedForNow("chain-silent", f"the chain cannot be asked: {error}") from None


def _closing(text: str) -> Closing:
    try:
        return Closing.decode(bytes.fromhex(text[2:]))
    except ProtocolError as error:
        raise malformed(str(error)) from None


def _model(request: AskTrain | AskMeasure, approval: Approval, read: ReadBytes) -> Int32Vector:
    """Read the model that follows a request, once its length is the study's."""
    count = approval.params.parameter_count
    if request.model_bytes != 4 * count:
        raise _base_wrong("the length of the model in bytes", 4 * count, request.model_bytes)
    return vector_from_bytes(read(request.model_bytes), count)


def _check_model(what: str, expected: bytes, model: Int32Vector) -> None:
    root = vector_root(model.data)
    if root != expected:
        raise _base_wrong(what, hex_of(expected), hex_of(root))


def _noise_terms(
    allowed: Allowance, approval: Approval, key: RoundKey, table: Table
) -> NoiseTerms | None:
    privacy = approval.spec.privacy
    if privacy is None or allowed.secret is None:
        return None
    # Not the study's id, so that a simulation repeats with new keys; the noise depends on
    # everything that is computed with anyway.
    training = hex_of(approval.spec.training_digest)
    context = canonical_digest([training, key.round, hex_of(approval.code)])
    persons = table.persons if privacy.unit == "patient" else None
    return NoiseTerms(allowed.secret, allowed.account, context, persons)


def _check_enough(tests: Table, policy: PolicyTable) -> None:
    """Refuse to measure where counts would be about single patients, or drown in their noise."""
    if reason := too_few(tests, policy):
        rarest = tests.class_counts.min()
        raise Refusal(
            "too-few-test-rows",
            f"{len(tests)} test rows of {tests.person_count} patients, {rarest} of the rarest "
            f"class, are too few to measure a model: {reason}. Nothing is spent.",
        )


def _check_classes(tests: Table, classes: int) -> None:
    """Refuse to measure where the model tells fewer classes apart than the test rows have."""
    if tests.labels.max() >= classes:
        words = f"its test rows have more classes than the {classes} that the study's model tells "
        raise RefusedForNow("table-unusable", f"the site's table cannot be used: {words}apart.")


def _rounded(examples: int, step: int) -> int:
    """Round a number of rows down to a multiple of a step; at least 1."""
    return max(1, examples - examples % step)


def _same(known: Line, entry: Entry) -> bool:
    """Whether an entry is the one that a line of the log names as signed."""
    return (known["update"], known["weight"], known["report_sha256"]) == (
        hex_of(entry.update),
        entry.weight,
        hex_of(entry.report),
    )


def _trained(reply: TrainReply, update: Int32Vector) -> tuple[Trained, bytes]:
    data = vector_bytes(np.ascontiguousarray(update))
    entry, report = hex_of(reply.entry.pack()), reply.report.decode()
    return Trained(entry=entry, report=report, update_bytes=len(data)), data


def _stated(document: Any) -> dict[str, Any]:
    """What a request states of itself, as far as that is fit for the log."""
    stated: dict[str, Any] = {}
    if isinstance(document, dict):
        for name in ("ask", "study"):
            if isinstance(document.get(name), str):
                stated[name] = document[name][:70]
        if type(document.get("round")) is int:
            # A model is that of the round before, by which every other line names it.
            stated["round"] = document["round"] - (stated.get("ask") == "measure")
    return stated


def _base_wrong(what: str, expected: str | int, found: str | int) -> Refusal:
    return Refusal("base-model-wrong", f"{what} is {found}, but the chain has {expected}.")


def _not_open(study: StudyId, number: int, reason: str) -> Refusal:
    words = f"round {number} of study {hex_of(study)} is not open: {reason}."
    return Refusal("round-not-open", words)
