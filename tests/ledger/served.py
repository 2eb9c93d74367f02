"""A small HTTP endpoint that answers, or does not, as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, list[Any]], Any]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """A small HTTP server; `answer` gives a result, an error object, or bytes as they are."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = answer(request["method"], request["params"])
            if found is None:
                self.close_connection = True
                return
            if not isinstance(found, bytes):
                kind = "error" if isinstance(found, dict) and "code" in found else "result"
                found = json.dumps({"jsonrpc": "2.0", "id": request["id"], kind: found}).encode()
            self.send_response(503 if found == b"busy" else 200)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
