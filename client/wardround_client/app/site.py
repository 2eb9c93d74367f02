"""What a site does with an assignment: check it against the chain, train, sign.

Nothing a coordinator says is taken on trust. The study's parameters are hashed into its
identifier, the specification and the code into the digests that the parameters hold, and the
base model into the record that the contract keeps of the round before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Protocol

from torch import nn

from wardround.host.steps import Step, durable
from wardround.learning.datasets import Table
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import TrainingResult, train_locally
from wardround.protocol.canonical import canonical_digest, sha256_digest
from wardround.protocol.errors import OutOfRange, RoundOver, StudyMismatch
from wardround.protocol.fixed_point import (
    Int32Vector,
    dequantize,
    largest_magnitude,
    quantize_update,
)
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.report import Privacy, Report
from wardround.protocol.study import StudySpec, parse_specification
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.signing import Allowance, Draft, Measures, Signer

#: Seconds that only grow; given by whoever runs the site.
Clock = Callable[[], float]


class OpenRound(Protocol):
    """The round that the contract has open."""

    @property
    def round(self) -> int: ...
    @property
    def previous_commitment(self) -> bytes: ...


class ChainView(Protocol):
    """What a site asks of the contract."""

    def open_round(self, study: StudyId) -> OpenRound:
        """The open round, and the commitment to the one before."""

    def max_weight(self, study: StudyId, site: SiteAddress) -> int:
        """The site's weight cap; 0 when it is not admitted."""


@dataclass(frozen=True)
class Identity:
    """A site's name, and the address of its signing key."""

    name: str
    address: SiteAddress


@dataclass(frozen=True)
class Site:
    """A hospital that takes part in one study on one chain."""

    identity: Identity
    signer: Signer
    study: StudyId
    code: Digest
    chain: ChainView
    # Hidden from logs and tracebacks.
    train: Table = field(repr=False)
    test: Table = field(repr=False)
    clock: Clock
    answers: KeptAnswers | None = None

    @cached_property
    def _models(self) -> dict[Digest, nn.Module]:
        return {}

    @cached_property
    def weight_cap(self) -> int:
        """What the contract lets this site weigh; it never changes once admitted."""
        return self.chain.max_weight(self.study, self.identity.address)

    def contribute(self, task: TrainTask, base: Int32Vector) -> tuple[TrainReply, Int32Vector]:
        """Train on the site's rows and sign the update; asked again, give the same answer again.

        Args:
            task: what the coordinator asks for.
            base: the model to train from, int32, shape (P,).
        Returns:
            The signed delivery and the update, int32, shape (P,).
        Raises:
            RoundOver: the question came after the round was closed.
            StudyMismatch: study, specification, code, round or base model are not the chain's.
            OutOfRange: training left the fixed-point range or the study's bound.
            LearningError: the table or the model cannot be trained on.
        """
        with nullcontext() if self.answers is None else self.answers.turn(task):
            return self._contribute(task, base)

    def _contribute(self, task: TrainTask, base: Int32Vector) -> tuple[TrainReply, Int32Vector]:
        started = self.clock()
        spec = self._check(task, base)
        number = task.round
        allowance = self.signer.begin(task, spec, self.code)
        if self.answers is not None and (kept := self.answers.find(task)) is not None:
            return kept
        with durable(Step.UPDATE_TRAINED):
            result = train_locally(
                self._model(spec),
                dequantize(base, spec.aggregation.scale_bits),
                self.train,
                spec.training,
                seed=training_seed(spec, self.identity.name, number),
                private=self._private_terms(spec, number, allowance),
            )
        update = quantize_update(result.weights, base, spec.aggregation.scale_bits)
        if largest_magnitude(update) > spec.update_limit:
            raise OutOfRange("update", int(abs(update).argmax()), float(abs(update).max()))
        report = Report(
            study=hex_of(self.study),
            round=number,
            site=self.identity.address.lower(),
            examples=result.examples,
            metrics=dict(result.metrics),
            privacy=_spent(result),
            code=hex_of(self.code),
            seconds=round(self.clock() - started, 3),
        )
        account = None if result.privacy is None else result.privacy.account
        weight = min(result.examples, self.weight_cap)
        with durable(Step.ANSWER_SIGNED):
            delivery = self.signer.sign(Draft(task, base, update, weight, report, account))
        self._keep(task, delivery, update)
        return delivery, update

    def _keep(self, task: TrainTask, delivery: TrainReply, update: Int32Vector) -> None:
        if self.answers is None:
            return
        try:
            with durable(Step.ANSWER_KEPT):
                self.answers.keep(task, delivery, update)
        except OSError as error:
            # It can be trained again, so the round goes on.
            print(f"the answer could not be kept: {error}", file=sys.stderr, flush=True)

    def _private_terms(
        self, spec: StudySpec, number: int, allowance: Allowance | None
    ) -> PrivateTerms | None:
        if spec.privacy is None:
            return None
        if allowance is None:
            # Never train without the noise that the study promises.
            raise StudyMismatch("private training", "asked for", "not set up at this site")
        # Not the study's id, so that a simulation repeats with new keys; the noise depends on
        # everything that is computed with anyway.
        context = canonical_digest([hex_of(spec.digest), number, hex_of(self.code)])
        return PrivateTerms(spec.privacy, allowance.secret, context, allowance.account)

    def evaluate(self, task: TrainTask, model: Int32Vector) -> Measures:
        """Measure a model of the study on the site's test rows.

        Args:
            task: names the study and the specification.
            model: int32, shape (P,).
        Returns:
            What may leave: counts and rates by name.
        """
        spec = self._specification(task)
        metrics = evaluate(
            self._model(spec),
            dequantize(model, spec.aggregation.scale_bits),
            self.test,
            threads=spec.training.threads,
        )
        measures: dict[str, float | int] = {
            "examples": metrics.examples,
            "correct": metrics.correct,
            "accuracy": metrics.accuracy,
            "log_loss": metrics.log_loss,
        }
        if metrics.auc is not None:
            measures["auc"] = metrics.auc
        return self.signer.release(task, model, measures)

    def _check(self, task: TrainTask, base: Int32Vector) -> StudySpec:
        spec = self._specification(task)
        opened = self.chain.open_round(self.study)
        if opened.round > task.round:
            raise RoundOver(opened.round, task.round)
        if opened.round != task.round:
            raise StudyMismatch("round", str(opened.round), str(task.round))
        commitment = task.previous.commitment
        if commitment != opened.previous_commitment:
            raise StudyMismatch(
                "record of the round before", hex_of(opened.previous_commitment), hex_of(commitment)
            )
        root = vector_root(base.data)
        if root != task.previous.record.model:
            raise StudyMismatch("base model", hex_of(task.previous.record.model), hex_of(root))
        return spec

    def _specification(self, task: TrainTask) -> StudySpec:
        if task.study != self.study:
            raise StudyMismatch("study", hex_of(self.study), hex_of(task.study))
        if task.params.code != self.code:
            raise StudyMismatch("application code", hex_of(task.params.code), hex_of(self.code))
        return _specification(task.params.specification, task.specification)

    def _model(self, spec: StudySpec) -> nn.Module:
        # Training and measuring load their weights into it, so one serves for every round.
        if spec.digest not in self._models:
            model = build_model(spec.model.name, spec.model.arguments, spec.study.seed)
            self._models[spec.digest] = model
        return self._models[spec.digest]


def _spent(result: TrainingResult) -> Privacy | None:
    spent = result.privacy
    return None if spent is None else Privacy(epsilon=spent.epsilon, delta=spent.delta)


def training_seed(spec: StudySpec, site: str, round_number: int) -> int:
    """The seed of one site's training in one round, 0 .. 2**63 - 1.

    It depends on the study's seed and the site's name, not on its key, so that a study repeats
    with new keys.
    """
    digest = canonical_digest([spec.study.seed, site, round_number])
    return int.from_bytes(digest[:8], "big") >> 1


@lru_cache(maxsize=64)
def _specification(expected: Digest, data: bytes) -> StudySpec:
    digest = sha256_digest(data)
    if digest != expected:
        raise StudyMismatch("specification", hex_of(expected), hex_of(digest))
    return parse_specification(data)
