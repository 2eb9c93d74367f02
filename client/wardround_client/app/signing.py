"""Who signs for a site: the same three questions to a key in this process, or to the guard.

A simulation holds its keys in the process that trains. A hospital's key is in its guard
(`wardround_client.guard`), which asks the chain itself and may refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.learning.privacy.noise import NoiseSecret
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Domain, Entry
from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.identifiers import Digest, SiteAddress
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.report import Report
from wardround.protocol.study import StudySpec
from wardround_client.app.privacy import PrivacyBook

#: Numbers that a site measured, by name.
Measures = Mapping[str, float | int]


@dataclass(frozen=True)
class Allowance:
    """What private training needs, and has cost so far.

    Attributes:
        secret: of this round's noise.
        account: spent in this study before this round.
    """

    secret: NoiseSecret
    account: PrivacyAccount


@dataclass(frozen=True, eq=False)
class Draft:
    """A contribution that waits for its signature.

    Attributes:
        task: what the coordinator asked for.
        base: the model trained from, int32, shape (P,).
        update: int32, shape (P,).
        weight: examples it stands for.
        report: on the training.
        account: spent in this study with this round; None of training without privacy.
    """

    task: TrainTask
    base: Int32Vector
    update: Int32Vector
    weight: int
    report: Report
    account: PrivacyAccount | None


class Signer(Protocol):
    """Holds a site's key, or speaks to who does."""

    def begin(self, task: TrainTask, spec: StudySpec, code: Digest) -> Allowance | None:
        """Ask before training whether to train; give what a private study needs."""

    def sign(self, draft: Draft) -> TrainReply:
        """Sign a contribution; nothing of it may leave before."""

    def release(self, task: TrainTask, model: Int32Vector, measures: Measures) -> Measures:
        """Say which of the measures of a model may leave."""


@dataclass(frozen=True)
class KeySigner:
    """A simulated site's key, in the process that trains."""

    address: SiteAddress
    domain: Domain
    key: bytes = field(repr=False)
    book: PrivacyBook | None = None

    def begin(self, task: TrainTask, spec: StudySpec, code: Digest) -> Allowance | None:
        """See `Signer.begin`."""
        if spec.privacy is None or self.book is None:
            return None
        return Allowance(self.book.secret(), self.book.account())

    def sign(self, draft: Draft) -> TrainReply:
        """See `Signer.sign`."""
        if draft.account is not None:
            assert self.book is not None  # or there would have been no allowance
            self.book.keep(draft.account)
        task, report = draft.task, draft.report.encode()
        unsigned = Entry(
            self.address,
            draft.weight,
            vector_root(draft.update.data),
            sha256_digest(report),
            bytes(65),
        )
        statement = unsigned.contribution(task.study, task.round, task.previous.record.model)
        entry = replace(unsigned, signature=statement.sign(self.domain, self.key))
        return TrainReply(task.study, task.round, entry, report)

    def release(self, task: TrainTask, model: Int32Vector, measures: Measures) -> Measures:
        """See `Signer.release`; a simulation has nothing to protect."""
        return measures
