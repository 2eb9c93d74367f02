"""The guard as the process that trains sees it: a signer, and a chain, behind a socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.learning.privacy.noise import NoiseSecret
from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, address_of, bytes32, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.study import StudySpec
from wardround_client.app.signing import Allowance, Draft, Measures
from wardround_client.guard.errors import GuardBroken, GuardRefused, GuardUnreachable
from wardround_client.guard.requests import (
    Begun,
    Identified,
    Opened,
    Released,
    SignedAnswer,
    Weighed,
)
from wardround_client.guard.wire import Wire, socket_address

#: The guard may have to read a whole table, and to wait for the chain.
ANSWER_SECONDS = 600.0
AnswerT = TypeVar("AnswerT", bound=Form)


@dataclass(frozen=True)
class GuardClient:
    """Asks the guard at a socket."""

    path: Path
    seconds: float = ANSWER_SECONDS

    def ask(
        self, kind: type[AnswerT], request: dict[str, Any], parts: Sequence[bytes] = ()
    ) -> AnswerT:
        """Ask one question.

        Args:
            kind: of the answer.
            request: see `wardround_client.guard.requests`.
            parts: bytes that follow it.
        Raises:
            GuardRefused: carries the refusal's name and words.
            GuardUnreachable: nobody answers.
            GuardBroken: the answer cannot be read.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                with socket_address(self.path) as address:
                    connection.settimeout(self.seconds)
                    connection.connect(address)
                wire = Wire(connection, self.seconds)
                # Refused before all was read, the answer says why.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    wire.send(request, parts)
                answer = wire.receive()
        except OSError as error:
            raise GuardUnreachable(self.path, error.strerror or str(error)) from error
        except Malformed as error:
            raise GuardBroken(str(error)) from error
        return _read(kind, answer)

    def identity(self) -> tuple[str, SiteAddress]:
        """Ask for the site's name and address."""
        found = self.ask(Identified, {"ask": "identity"})
        return found.name, address_of(found.site)


def _read(kind: type[AnswerT], answer: Any) -> AnswerT:
    if isinstance(answer, dict) and set(answer) == {"refused"}:
        refused = answer["refused"]
        if isinstance(refused, dict):
            raise GuardRefused(str(refused.get("name")), str(refused.get("words")))
    if not isinstance(answer, dict) or set(answer) != {"ok"}:
        raise GuardBroken("it is neither an answer nor a refusal")
    try:
        return kind.model_validate(answer["ok"])
    except ValidationError as error:
        raise GuardBroken(str(error.errors()[0]["msg"])) from None


@dataclass(frozen=True)
class GuardedRound:
    """The open round, as the guard read it from the chain."""

    round: int
    previous_commitment: bytes


@dataclass(frozen=True)
class GuardedChain:
    """What a site asks of the contract, asked through the guard."""

    guard: GuardClient

    def open_round(self, study: StudyId) -> GuardedRound:
        """The open round, and the commitment to the one before."""
        found = self.guard.ask(Opened, {"ask": "open_round", "study": hex_of(study)})
        return GuardedRound(found.round, bytes32(found.previous_commitment, "commitment"))

    def max_weight(self, study: StudyId, site: SiteAddress) -> int:
        """The site's own weight cap."""
        return self.guard.ask(Weighed, {"ask": "max_weight", "study": hex_of(study)}).max_weight


@dataclass(frozen=True)
class GuardSigner:
    """A signer whose key is in another process."""

    guard: GuardClient
    site: SiteAddress

    def begin(self, task: TrainTask, spec: StudySpec, code: Digest) -> Allowance | None:
        """See `wardround_client.app.signing.Signer.begin`."""
        begun = self.guard.ask(Begun, {"ask": "begin", **_of(task), "code": hex_of(code)})
        if begun.secret is None or begun.account is None:
            return None
        try:
            account = PrivacyAccount.model_validate(begun.account)
        except ValidationError:
            raise GuardBroken("its privacy account is malformed") from None
        return Allowance(NoiseSecret(bytes32(begun.secret, "secret")), account)

    def sign(self, draft: Draft) -> TrainReply:
        """See `app.signing.Signer.sign`. The report may be that of an earlier try."""
        base, update = vector_bytes(draft.base), vector_bytes(draft.update)
        request = {
            "ask": "sign",
            **_of(draft.task),
            "weight": draft.weight,
            "report": draft.report.encode().decode(),
            "base_bytes": len(base),
            "update_bytes": len(update),
        }
        answer = self.guard.ask(SignedAnswer, request, (base, update))
        try:
            entry = Entry.unpack(bytes.fromhex(answer.entry[2:]))
        except ProtocolError as error:
            raise GuardBroken(str(error)) from None
        return TrainReply(draft.task.study, draft.task.round, entry, answer.report.encode())

    def release(self, task: TrainTask, model: Int32Vector, measures: Measures) -> Measures:
        """See `wardround_client.app.signing.Signer.release`."""
        root = hex_of(vector_root(model.data))
        request = {"ask": "release", **_of(task), "model": root, "measures": dict(measures)}
        return self.guard.ask(Released, request).measures


def _of(task: TrainTask) -> dict[str, Any]:
    return {
        "study": hex_of(task.study),
        "round": task.round,
        "previous": hex_of(task.previous.encode()),
    }
