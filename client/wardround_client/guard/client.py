"""How the courier asks the guard: at its socket, or in this process.

A hospital's guard is a process of its own (`GuardClient`). A simulation may put a site's guard into
the courier's process (`in_process`). Requests, answers, rules and errors are the same.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.messages import Measured, TrainReply, TrainTask
from wardround_client.errors import FOR_NOW, GuardUnreachable, Refusal, RefusedForNow
from wardround_client.guard.requests import Identified, Trained
from wardround_client.guard.wire import Wire, socket_address
from wardround_client.home import Home

#: The guard answers when the site has trained, however long that takes: the coordinator's own
#: patience ends before.
ANSWER_SECONDS = 86_400.0


class Guarded(ABC):
    """A site's guard, wherever it is: `guard.guard.Guard` or `GuardClient`.

    Every question may raise `Refusal`: a rule forbids it; `LogError`: the guard, in this process,
    cannot log it; `GuardUnreachable`: no guard answers; `Malformed`: the answer cannot be read.
    """

    @abstractmethod
    def ask(self, request: dict[str, Any], model: bytes = b"") -> tuple[Form, bytes]:
        """Ask one question.

        Args:
            request: see `wardround_client.guard.requests`.
            model: bytes that follow it.
        Returns:
            The answer, and the bytes that follow it.
        """

    def identify(self) -> Identified:
        """Ask for name and address of the site."""
        answer, _ = self.ask({"ask": "identity"})
        assert isinstance(answer, Identified)
        return answer

    def train(self, task: TrainTask, base: Int32Vector) -> tuple[TrainReply, Int32Vector]:
        """Let the site train.

        Args:
            task: what the coordinator asks for.
            base: the model to train from, int32, shape (P,).
        Returns:
            The signed contribution and the update, int32, shape (P,).
        """
        data = vector_bytes(base)
        answer, update = self.ask(_request("train", task, data), data)
        assert isinstance(answer, Trained)
        entry = Entry.unpack(bytes.fromhex(answer.entry[2:]))
        reply = TrainReply(task.study, task.round, entry, answer.report.encode())
        return reply, vector_from_bytes(update, task.params.parameter_count)

    def measure(self, task: TrainTask, model: Int32Vector) -> Measured:
        """Let the site measure a model.

        Args:
            task: names the study, and the round that the model is the base of.
            model: int32, shape (P,).
        Returns:
            Counts of the site's test rows.
        """
        data = vector_bytes(model)
        answer, _ = self.ask(_request("measure", task, data), data)
        assert isinstance(answer, Measured)
        return answer


def _request(ask: str, task: TrainTask, model: bytes) -> dict[str, Any]:
    return {
        "ask": ask,
        "study": hex_of(task.study),
        "round": task.round,
        "previous": hex_of(task.previous.encode()),
        "model_bytes": len(model),
    }


@dataclass(frozen=True)
class GuardClient(Guarded):
    """Asks the guard at a socket."""

    path: Path
    seconds: float = ANSWER_SECONDS

    def ask(self, request: dict[str, Any], model: bytes = b"") -> tuple[Form, bytes]:
        """See `Guarded.ask`."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                # Where the guard's queue is full, a socket with Python's timeout is refused. One
                # with the system's waits for room.
                limit = struct.pack("ll", int(self.seconds) or 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
                with socket_address(self.path) as address:
                    connection.connect(address)
                connection.settimeout(self.seconds)
                wire = Wire(connection, self.seconds)
                # Refused before all was read, the answer has the reason.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    wire.send(request, (model,))
                answer = _read(_ANSWERS[request["ask"]], wire.receive())
                # As long as the model that it belongs to, and nothing else.
                count = answer.update_bytes if isinstance(answer, Trained) else 0
                if count not in (0, len(model)):
                    raise Malformed("guard's answer", f"an update of {count} bytes")
                return answer, wire.receive_bytes(count)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            reason = "no socket is there" if gone else error.strerror or str(error)
            raise GuardUnreachable(self.path, reason) from error
        except Malformed as error:
            raise Malformed("guard's answer", str(error)) from error


_ANSWERS: dict[str, type[Form]] = {"identity": Identified, "train": Trained, "measure": Measured}


def _read(kind: type[Form], answer: Any) -> Form:
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
