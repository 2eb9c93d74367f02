"""What a real IPFS daemon answers, recorded, and a server that answers the same.

    python -m tests.store.ipfs_contract PORT     record the daemon whose RPC listens there

Contents of objects are not in the record: a test knows them by their size.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "recorded" / "ipfs.json"
#: The edges of one chunk, and several chunks.
SIZES = (0, 1, 1 << 20, (1 << 20) + 1, 3 << 20)
MISSING = b"never put"

Answer = dict[str, Any]


def content(size: int) -> bytes:
    """An object of a size, always the same."""
    block = bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.answer(self.path, self.headers, body)  # type: ignore[attr-defined]
        if answer is None:
            self.close_connection = True
            return
        data = answer["body"]
        self.send_response(answer["status"])
        self.send_header("Content-Type", answer["type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(answer: Callable[[str, Any, bytes], Answer | None]) -> Iterator[int]:
    """A server on loopback; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.answer = answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sent(headers: Any, body: bytes) -> bytes:
    """The file in a multipart body."""
    boundary = re.search(r'boundary="?([^";]+)', headers["Content-Type"])
    assert boundary is not None
    part = body.split(b"--" + boundary[1].encode())[1]
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


class Recorded:
    """Answers as the daemon did, to the same requests and no others."""

    def __init__(self) -> None:
        self._answers = json.loads(RECORD.read_text())["answers"]
        self.asked: list[str] = []

    def answer(self, path: str, headers: Any, body: bytes) -> Answer | None:
        self.asked.append(path)
        key = path
        if path.startswith("/api/v0/add?"):
            key = f"{path} {len(sent(headers, body))}"
            assert sent(headers, body) == content(len(sent(headers, body)))
        found = self._answers[key]
        data = found["body"]
        body_ = content(data["content"]) if isinstance(data, dict) else data.encode()
        return {"status": found["status"], "type": found["type"], "body": body_}


def record(port: int) -> None:
    """Send a daemon every request of the store, and record its answers."""
    from wardround.protocol.cid import cid_of
    from wardround.store.errors import ObjectMissing
    from wardround.store.ipfs import IpfsStore

    answers: dict[str, Any] = {}
    contents = {content(size): size for size in SIZES}

    def answer(path: str, headers: Any, body: bytes) -> Answer:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        names = {"Content-Type": headers["Content-Type"]} if body else {}
        connection.request("POST", path, body or None, names)
        found = connection.getresponse()
        data = found.read()
        kind = found.headers.get("Content-Type", "text/plain")
        key = f"{path} {len(sent(headers, body))}" if path.startswith("/api/v0/add?") else path
        kept = (
            {"content": contents[data]} if path.startswith("/api/v0/cat") else data.decode("utf-8")
        )
        answers[key] = {"status": found.status, "type": kind, "body": kept}
        connection.close()
        return {"status": found.status, "type": kind, "body": data}

    with serving(answer) as front:
        store = IpfsStore("127.0.0.1", front)
        for size in SIZES:
            cid = store.put(content(size))
            assert store.get(cid) == content(size)
            assert store.has(cid)
        list(store.cids())
        try:
            store.get(cid_of(MISSING))
        except ObjectMissing:
            print("recorded", len(answers), "answers")
        store.close()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/api/v0/version")
    version = json.loads(connection.getresponse().read())
    connection.close()
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(
        json.dumps({"daemon": version, "answers": answers}, indent=1, sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    record(int(sys.argv[1]))
