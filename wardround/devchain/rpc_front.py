"""A JSON-RPC endpoint of ours on loopback: requests over HTTP, answered by a function."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: A transaction that closes a round of thousands of sites is shorter.
MAX_REQUEST_BYTES = 1 << 24

_IDLE_SECONDS = 300
_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600


class RpcError(Exception):
    """A refusal, as JSON-RPC names it."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(message)


#: Answers a method with its parameters, or raises `RpcError`.
Answer = Callable[[str, list[Any]], Any]


class RpcFront:
    """A running server on loopback; stop it.

    Attributes:
        url: where it listens.
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = _FrontServer(answer, port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection. Harmless the second time."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()


class _FrontServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Answer, port: int) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                # Its own thread notices and closes it.
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore callers that closed their connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _FrontServer
    protocol_version = "HTTP/1.1"
    # The head and the body of an answer leave together, and at once.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_REQUEST_BYTES:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            answer: Any = _error(None, RpcError(_PARSE_ERROR, "not JSON"))
        else:
            several = isinstance(asked, list) and asked
            answer = [self._one(one) for one in asked] if several else self._one(asked)
        data = json.dumps(answer).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _one(self, asked: Any) -> dict[str, Any]:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(None, RpcError(_INVALID_REQUEST, "not a JSON-RPC request"))
        number, parameters = asked.get("id"), asked.get("params", [])
        if not isinstance(parameters, list):
            return _error(number, RpcError(_INVALID_REQUEST, "parameters are not a list"))
        try:
            result = self.server.answer(asked["method"], parameters)
        except RpcError as error:
            return _error(number, error)
        return {"jsonrpc": "2.0", "id": number, "result": result}


def _error(number: Any, error: RpcError) -> dict[str, Any]:
    found: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        found["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": found}
