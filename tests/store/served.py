"""A small HTTP endpoint whose answers, or silence, a test scripts."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from tests.store.secrecy import Scene
from wardround.store import FolderStore
from wardround.store.gateway import Gateway
from wardround.store.vault import LocalVault

Answer = Callable[[str, list[Any]], Any]


@dataclass(frozen=True)
class HttpAnswer:
    """An answer with a status and headers of its own.

    Attributes:
        body: a JSON-RPC ``result`` or ``error`` under that key; text is sent as it is.
        status: HTTP status code.
        headers: besides the length.
    """

    body: Mapping[str, Any] | str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """Serve HTTP on this machine for a block; yield the address.

    Args:
        answer: from method and parameters to a result, an error object, bytes as they are, an
            `HttpAnswer`, or None to close the connection.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = answer(request["method"], request["params"])
            if found is None:
                self.close_connection = True
                return
            status, headers = 503 if found == b"busy" else 200, {}
            if isinstance(found, HttpAnswer):
                status, headers = found.status, found.headers
                if isinstance(found.body, str):
                    found = found.body.encode()
                else:
                    body = {"jsonrpc": "2.0", "id": request["id"], **found.body}
                    found = json.dumps(body).encode()
            elif not isinstance(found, bytes):
                kind = "error" if isinstance(found, dict) and "code" in found else "result"
                found = json.dumps({"jsonrpc": "2.0", "id": request["id"], kind: found}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve what a handler answers for a block; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def gateway(scene: Scene, clock: Callable[[], float] = time.time) -> Iterator[str]:
    """Serve a scene's store through a gateway for a block; yield the address."""
    vault = LocalVault(FolderStore(scene.folder / "objects"), scene.folder / "index")
    app = Gateway(vault, scene.grants, clock).app()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (listening,) = server.servers[0].sockets
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
