"""A connection between two processes that can be slowed down or cut: a TCP proxy on loopback."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

_PART_BYTES = 1 << 16
_CONNECT_SECONDS = 5.0


class Link:
    """Passes bytes on to a port of this machine, as long as it is not cut; close it.

    Attributes:
        port: where to connect instead.
        target: the port that it leads to.
        delay_seconds: how long each part of a message is held back.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self._cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="link", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection, and each new one at once."""
        self._cut = True
        with self._lock:
            for one in list(self._open):
                _close(one)

    def mend(self) -> None:
        """Let connections through again, and at full speed."""
        self._cut, self.delay_seconds = False, 0.0

    def close(self) -> None:
        """Stop listening, end every connection."""
        self.cut()
        # Wakes the thread that waits in accept, which closing alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        if self._cut:
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target), _CONNECT_SECONDS)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._open |= {near, far}
        back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
        back.start()
        self._pass(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(_PART_BYTES):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                sink.sendall(part)
        # The other direction ends too: neither side waits for one that is gone.
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
