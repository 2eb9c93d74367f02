"""How the code that trains asks the guard: at its socket, or in this process.

A hospital's guard is a process of its own (`GuardClient`). A simulation may put a site's guard into
the process that trains (`in_process`). Requests, answers, rules and errors are the same.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed
from wardround_client.errors import FOR_NOW, GuardUnreachable, Refusal, RefusedForNow
from wardround_client.guard.wire import Wire, socket_address
from wardround_client.home import Home

#: The guard may have to read a whole table, and to wait for the chain.
ANSWER_SECONDS = 600.0
AnswerT = TypeVar("AnswerT", bound=Form)


class Guarded(Protocol):
    """A site's guard, wherever it is: `guard.guard.Guard` or `GuardClient`."""

    def ask(
        self, kind: type[AnswerT], request: dict[str, Any], parts: Sequence[bytes] = ()
    ) -> AnswerT:
        """Ask one question.

        Args:
            kind: of the answer.
            request: see `wardround_client.guard.requests`.
            parts: bytes that follow it.
        Raises:
            Refusal: a rule forbids it.
            LogError: the guard, in this process, cannot log it.
            GuardUnreachable: no guard answers.
            Malformed: the answer cannot be read.
        """


@dataclass(frozen=True)
class GuardClient:
    """Asks the guard at a socket."""

    path: Path
    seconds: float = ANSWER_SECONDS

    def ask(
        self, kind: type[AnswerT], request: dict[str, Any], parts: Sequence[bytes] = ()
    ) -> AnswerT:
        """See `Guarded.ask`."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                with socket_address(self.path) as address:
                    connection.settimeout(self.seconds)
                    connection.connect(address)
                wire = Wire(connection, self.seconds)
                # Refused before all was read, the answer has the reason.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    wire.send(request, parts)
                answer = wire.receive()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            reason = "no socket is there" if gone else error.strerror or str(error)
            raise GuardUnreachable(self.path, reason) from error
        except Malformed as error:
            raise Malformed("guard's answer", str(error)) from error
        return _read(kind, answer)


def _read(kind: type[AnswerT], answer: Any) -> AnswerT:
    match answer:
        case {"refused": {"name": str(name), "words": str(words)}, **rest} if not rest:
            raise (RefusedForNow if name in FOR_NOW else Refusal)(name, words)
        case {"ok": value, **rest} if not rest:
            with contextlib.suppress(ValidationError):
                return kind.model_validate(value)
    raise Malformed("guard's answer", "it is neither an answer nor a refusal")


#: Guards in this process, by the folder of their home.
_in_process: dict[Path, Guarded] = {}


@contextmanager
def in_process(home: Home, guard: Guarded) -> Iterator[None]:
    """Let a guard of this process answer for its home, without a socket."""
    _in_process[home.folder.resolve()] = guard
    try:
        yield
    finally:
        del _in_process[home.folder.resolve()]


def guard_of(home: Home) -> Guarded:
    """The guard of a home: the one in this process, or else the one at its socket."""
    return _in_process.get(home.folder.resolve()) or GuardClient(home.socket)
