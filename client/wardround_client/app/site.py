"""What a site does with an assignment: check it, train, and let its guard sign.

The coordinator is not trusted. The study's parameters are hashed into its identifier, the
specification and the code into the digests that the parameters hold, and the base model into the
record of the round before, which the guard compares with the contract's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

from wardround.host.steps import Step, durable
from wardround.learning.datasets.table import Table
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model, layout_of
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import TrainingResult, train_locally
from wardround.protocol.canonical import canonical_digest, sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import StudyMismatch, beyond_bound
from wardround.protocol.fixed_point import (
    Int32Vector,
    dequantize,
    largest_magnitude,
    quantize_update,
    vector_bytes,
)
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, bytes32, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.model import StudyFiles
from wardround.protocol.report import Privacy, Report
from wardround.protocol.study import StudySpec, parse_specification
from wardround_client.app.answers import KeptAnswers
from wardround_client.guard.client import Guarded
from wardround_client.guard.requests import Begun, Released, SignedAnswer

#: Seconds that only grow.
Clock = Callable[[], float]
#: Numbers that a site measured, by name.
Measures = dict[str, float | int]


@dataclass(frozen=True)
class Site:
    """A hospital: its rows, and the guard that signs for it.

    Attributes:
        name: the site's.
        address: of its signing key.
        guard: decides what leaves.
        code: digest of the application that runs here.
        clock: measures how long training takes.
        answers: the last one to each study.
    """

    name: str
    address: SiteAddress
    guard: Guarded
    code: Digest
    # Hidden from logs and tracebacks.
    train: Table = field(repr=False)
    test: Table = field(repr=False)
    clock: Clock
    answers: KeptAnswers
    #: The own files of an approved study.
    files: Callable[[StudyId], StudyFiles]

    @cached_property
    def _models(self) -> dict[Digest, nn.Module]:
        return {}

    def contribute(self, task: TrainTask, base: Int32Vector) -> tuple[TrainReply, Int32Vector]:
        """Train on the site's rows and sign the update; asked again, give the same answer again.

        Args:
            task: what the coordinator asks for.
            base: the model to train from, int32, shape (P,).
        Returns:
            The signed delivery and the update, int32, shape (P,).
        Raises:
            StudyMismatch: specification, code or base model are not the study's.
            Refusal: the guard forbids to train, or to sign.
            OutOfRange: training left the fixed-point range or the study's bound.
            LearningError: the table or the model cannot be trained on.
        """
        with self.answers.turn(task):
            return self._contribute(task, base)

    def _contribute(self, task: TrainTask, base: Int32Vector) -> tuple[TrainReply, Int32Vector]:
        started = self.clock()
        spec = self._specification(task)
        root = vector_root(base.data)
        if root != task.previous.record.model:
            raise StudyMismatch("base model", hex_of(task.previous.record.model), hex_of(root))
        begun = self.guard.ask(Begun, {"ask": "begin", **_of(task), "code": hex_of(self.code)})
        if (kept := self.answers.find(task)) is not None:
            return kept
        with durable(Step.UPDATE_TRAINED):
            result = train_locally(
                self._model(spec),
                dequantize(base, spec.aggregation.scale_bits),
                self.train,
                spec.training,
                seed=training_seed(spec, self.name, task.round),
                private=self._private_terms(spec, task.round, begun),
            )
        update = quantize_update(result.weights, base, spec.aggregation.scale_bits)
        if largest_magnitude(update) > spec.update_limit:
            at = int(abs(update).argmax())
            moved = abs(int(update[at])) / 2**spec.aggregation.scale_bits
            name = layout_of(self._model(spec)).name_of(at)
            raise beyond_bound(name, at, moved, spec.aggregation.update_bound)
        report = Report(
            study=hex_of(task.study),
            round=task.round,
            site=self.address.lower(),
            examples=result.examples,
            metrics=dict(result.metrics),
            privacy=_spent(result),
            code=hex_of(self.code),
            seconds=round(self.clock() - started, 3),
        )
        weight = min(result.examples, begun.max_weight)
        with durable(Step.ANSWER_SIGNED):
            delivery = self._signed(task, base, update, weight, report)
        try:
            with durable(Step.ANSWER_KEPT):
                self.answers.keep(task, delivery, update)
        except OSError as error:
            # It can be trained again, so the round goes on.
            reason = error.strerror or type(error).__name__
            print(f"the answer could not be kept: {reason}", file=sys.stderr, flush=True)
        return delivery, update

    def _signed(
        self,
        task: TrainTask,
        base: Int32Vector,
        update: Int32Vector,
        weight: int,
        report: Report,
    ) -> TrainReply:
        parts = vector_bytes(base), vector_bytes(update)
        request = {
            "ask": "sign",
            **_of(task),
            "weight": weight,
            "report": report.encode().decode(),
            "base_bytes": len(parts[0]),
            "update_bytes": len(parts[1]),
        }
        # The report may be that of an earlier try.
        answer = self.guard.ask(SignedAnswer, request, parts)
        entry = Entry.unpack(bytes.fromhex(answer.entry[2:]))
        return TrainReply(task.study, task.round, entry, answer.report.encode())

    def _private_terms(self, spec: StudySpec, number: int, begun: Begun) -> PrivateTerms | None:
        if spec.privacy is None:
            return None
        if begun.secret is None:
            # Never train without the noise that the study promises.
            raise StudyMismatch("private training", "asked for", "not set up at this site")
        # Not the study's id, so that a simulation repeats with new keys; the noise depends on
        # everything that is computed with anyway.
        context = canonical_digest([hex_of(spec.digest), number, hex_of(self.code)])
        secret = NoiseSecret(bytes32(begun.secret, "secret"))
        return PrivateTerms(spec.privacy, secret, context, begun.account)

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
        measures: Measures = {
            "examples": metrics.examples,
            "correct": metrics.correct,
            "accuracy": metrics.accuracy,
            "log_loss": metrics.log_loss,
        }
        if metrics.auc is not None:
            measures["auc"] = metrics.auc
        root = hex_of(vector_root(model.data))
        request = {"ask": "release", **_of(task), "model": root, "measures": measures}
        return self.guard.ask(Released, request).measures

    def _specification(self, task: TrainTask) -> StudySpec:
        if task.params.code != self.code:
            raise StudyMismatch("application code", hex_of(task.params.code), hex_of(self.code))
        spec = _specification(task.params.specification, task.specification)
        return spec.with_files(self.files(task.study)) if spec.model.is_own else spec

    def _model(self, spec: StudySpec) -> nn.Module:
        # Training and measuring load their weights into it, so one serves for every round.
        if spec.digest not in self._models:
            model = build_model(spec.model, spec.files, spec.study.seed)
            self._models[spec.digest] = model
        return self._models[spec.digest]


def _of(task: TrainTask) -> dict[str, Any]:
    return {
        "study": hex_of(task.study),
        "round": task.round,
        "previous": hex_of(task.previous.encode()),
    }


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
