"""The guard at its socket: bounded connections, each with a deadline, until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wardround.protocol.errors import Malformed, WardroundError
from wardround_client.guard.errors import HomeInvalid, LogError, RequestMalformed
from wardround_client.guard.guard import Guard
from wardround_client.guard.requests import parse_request
from wardround_client.guard.wire import Wire, socket_address
from wardround_client.home import Home

CONNECTIONS_MAX = 8
_REQUEST_SECONDS, _VECTOR_SECONDS, _ANSWER_SECONDS = 10.0, 60.0, 10.0
_STOP_SECONDS = 30.0


class GuardServer:
    """Listens at ``guard.sock`` in a folder that only the site's user can enter."""

    def __init__(self, guard: Guard, home: Home, request_seconds: float = _REQUEST_SECONDS) -> None:
        """Bind the socket.

        Args:
            guard: who decides. Its log is open, so no other guard listens here.
            home: the site's.
            request_seconds: how long a caller may take for its request.
        Raises:
            HomeInvalid: others can enter the folder.
        """
        self._guard, self._path = guard, home.socket
        self._request_seconds = request_seconds
        mode = stat.S_IMODE(home.folder.stat().st_mode)
        if mode & 0o077:
            raise HomeInvalid(home.folder, f"others can enter it (mode {mode:o}): chmod 700")
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(self._path) as address:
            self._socket.bind(address)
        self._path.chmod(0o600)
        self._socket.listen(64)
        self._wake, self._stop = os.pipe()
        self._free = threading.Semaphore(CONNECTIONS_MAX)

    def serve(self) -> None:
        """Answer until `stop` is called."""
        with ThreadPoolExecutor(CONNECTIONS_MAX, "guard") as pool:
            while True:
                ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [])
                if self._wake in ready:
                    break
                # Others wait in the socket's queue, where they cost nothing.
                if not self._free.acquire(timeout=0.2):
                    continue
                try:
                    connection, _ = self._socket.accept()
                except OSError:
                    self._free.release()
                    continue
                pool.submit(self._handle, connection)
            self._socket.close()
            self._path.unlink(missing_ok=True)
        os.close(self._wake)
        os.close(self._stop)

    def stop(self) -> None:
        """Take no more requests, finish those that were taken. Safe in a signal handler."""
        with contextlib.suppress(OSError):
            os.write(self._stop, b".")

    def _handle(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._converse(Wire(connection, self._request_seconds))
        except OSError:
            pass  # the caller has gone; what was signed for it is in the log
        finally:
            self._free.release()

    def _converse(self, wire: Wire) -> None:
        fields: dict[str, Any] = {"ask": ""}

        def read(count: int) -> bytes:
            wire.extend(_VECTOR_SECONDS)
            return wire.receive_bytes(count)

        try:
            try:
                document = wire.receive()
            except (Malformed, TimeoutError) as error:
                if "after 0 of 4" in str(error):
                    return  # somebody looked whether a guard is here
                raise RequestMalformed(str(error)) from None
            fields |= _told(document)
            request = parse_request(document)
            try:
                answer = {"ok": self._guard.answer(request, read).model_dump(mode="json")}
            except (Malformed, TimeoutError) as error:
                raise RequestMalformed(str(error)) from None
        except LogError as error:
            # Nothing can be written down, so nothing leaves, this answer aside.
            answer = {"refused": _refusal(error)}
        except WardroundError as error:
            self._write_down(fields, error)
            answer = {"refused": _refusal(error)}
        except Exception as error:  # noqa: BLE001  (an entry point: one request must not end the guard)
            self._write_down(fields, error)
            answer = {"refused": {"name": "GuardFailed", "words": type(error).__name__}}
        wire.extend(_ANSWER_SECONDS)
        wire.send(answer)

    def _write_down(self, fields: dict[str, Any], error: Exception) -> None:
        # A refusal that cannot be written down is still a refusal.
        with contextlib.suppress(LogError):
            self._guard.refused(fields, error)


def _told(document: Any) -> dict[str, Any]:
    """What a request says of itself, as far as that is fit for the log."""
    told: dict[str, Any] = {}
    if isinstance(document, dict):
        for name in ("ask", "study"):
            if isinstance(document.get(name), str):
                told[name] = document[name][:70]
        if type(document.get("round")) is int:
            told["round"] = document["round"]
    return told


def _refusal(error: WardroundError) -> dict[str, str]:
    return {"name": type(error).__name__, "words": str(error)[:2000]}
