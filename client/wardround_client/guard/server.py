"""The guard at its socket: bounded connections, each with a deadline, until it is stopped."""

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
from wardround_client.errors import Refusal, home_unusable
from wardround_client.guard.guard import Guard, ReadBytes
from wardround_client.guard.requests import malformed
from wardround_client.guard.wire import Wire, socket_address

#: Most wait while a study trains.
CONNECTIONS_MAX = 16
_REQUEST_SECONDS, _VECTOR_SECONDS = 10.0, 60.0
_LOOK_SECONDS = 1.0


class GuardServer:
    """Listens at ``guard.sock`` in a folder that only the site's user can enter."""

    def __init__(self, guard: Guard, request_seconds: float = _REQUEST_SECONDS) -> None:
        """Bind the socket.

        Args:
            guard: decides. Its log is open, so no other guard listens here.
            request_seconds: how long a caller may take for its request.
        Raises:
            SpecificationError: others can enter the folder.
        """
        self._guard, home = guard, guard.home
        self._path = home.socket
        self._request_seconds = request_seconds
        mode = stat.S_IMODE(home.folder.stat().st_mode)
        if mode & 0o077:
            raise home_unusable(home.folder, f"others can enter it (mode {mode:o}): chmod 700")
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
                # For a while only: a signal that comes just before this wait would not end it.
                watched = [self._socket.fileno(), self._wake]
                ready, _, _ = select.select(watched, [], [], _LOOK_SECONDS)
                if not ready:
                    continue
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
        def read(count: int) -> bytes:
            wire.extend(_VECTOR_SECONDS)
            return wire.receive_bytes(count)

        try:
            document = wire.receive()
        except (Malformed, TimeoutError) as error:
            if "after 0 of 4" in str(error):
                return  # a probe whether a guard listens
            refusal = malformed(str(error))
            self._guard.refused({"ask": ""}, refusal)
            answer: dict[str, Any] = {"refused": _refusal(refusal)}
            update = b""
        else:
            answer, update = self._decided(document, read)
        wire.extend(_VECTOR_SECONDS)
        wire.send(answer, (update,))

    def _decided(self, document: Any, read: ReadBytes) -> tuple[dict[str, Any], bytes]:
        try:
            answer, update = self._guard.decide(document, read)
            return {"ok": answer.model_dump(mode="json")}, update
        except WardroundError as error:
            return {"refused": _refusal(error)}, b""
        except Exception as error:  # noqa: BLE001  (an entry point: one request must not end the guard)
            return {"refused": {"name": "guard-failed", "words": type(error).__name__}}, b""


def _refusal(error: WardroundError) -> dict[str, str]:
    if isinstance(error, Refusal):
        return {"name": error.name, "words": error.words[:2000]}
    return {"name": error.code, "words": str(error)[:2000]}
