"""The door as a process, with TLS on both sides: who gets in, with what, and who does not."""

from __future__ import annotations

import base64
import itertools
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.superlink.routers.fleet.router import router
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wardround.host.log import EVENTS_FILE
from wardround.transport.certificates import issue_server, make_authority
from wardround.transport.enrolment import ENROLMENT, NODE_KEY, Enrolment, enrol
from wardround.transport.ports import free_port
from wardround_coordinator.arrivals import (
    CONNECTIONS_MAX,
    CONNECTIONS_OF_ONE_ADDRESS,
    HEAD_SECONDS,
    Listener,
    listen,
)
from wardround_coordinator.door import PATHS
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import COORDINATOR_FILE

START_SECONDS = 180.0  # of a machine that has much else to do
LIMIT_BYTES, PLAIN_LIMIT_BYTES = 2_000_000, 1_000_000
OBJECT = "/v1/fleet/push-object"


@dataclass
class Door:
    home: CoordinatorHome
    port: int
    enrolment: Enrolment
    private: ec.EllipticCurvePrivateKey

    @property
    def log(self) -> str:
        """What it has written to the folder's event log."""
        return (self.home.folder / EVENTS_FILE).read_text("utf-8")

    def post(
        self,
        path: str,
        body: bytes | Iterator[bytes] = b"x",
        key: bytes | None = None,
        private: ec.EllipticCurvePrivateKey | None = None,
        source: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        headers = self.headers(key, private) | headers
        address = f"https://127.0.0.1:{self.port}{path}"
        transport = httpx.HTTPTransport(verify=self.trust, local_address=source)
        with httpx.Client(transport=transport, timeout=30) as client:
            return client.post(address, content=body, headers=headers)

    def headers(
        self, key: bytes | None = None, private: ec.EllipticCurvePrivateKey | None = None
    ) -> dict[str, str]:
        pem = self.enrolment.public_pem if key is None else key
        own = {"flwr-public-key": base64.b64encode(pem).decode(), "x-own": "1"}
        return own | signed(private or self.private, datetime.now(UTC).isoformat())

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.home.authority))

    def connect(self, tls: bool = True) -> socket.socket:
        """A connection of this machine that sends nothing more."""
        plain = socket.create_connection(("127.0.0.1", self.port), 60)
        return self.trust.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain


def signed(private: ec.EllipticCurvePrivateKey, time: str) -> dict[str, str]:
    """The headers with which Flower signs a request."""
    signature = base64.b64encode(sign_message(private, time.encode()))
    return {"flwr-timestamp": time, "flwr-signature": signature.decode()}


def node_key(site: Path) -> ec.EllipticCurvePrivateKey:
    """The private key of a site's node."""
    key = serialization.load_ssh_private_key((site / NODE_KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def await_port(port: int, process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            assert process is None or process.poll() is None
            time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> CoordinatorHome:
    found = CoordinatorHome(tmp_path_factory.mktemp("door"))
    found.tls.mkdir()
    found.sites.mkdir()
    make_authority(found.tls, "test", datetime.now(UTC))
    issue_server(found.tls, ["127.0.0.1"], datetime.now(UTC))
    (found.folder / COORDINATOR_FILE).write_text(
        '[coordinator]\nkey_file = "k"\nstore = "s"\nrounds_file = "r"\n'
        f'[study]\nchain = "http://127.0.0.1:1"\nchain_id = 1\ncontract = "0x{"00" * 20}"\n'
        f'id = "0x{"00" * 32}"\nsites = 1\n'
        f'[server]\nhost = "127.0.0.1"\nport = {free_port()}\nnames = ["127.0.0.1"]\n'
        "max_message_megabytes = 2\n"
    )
    return found


@pytest.fixture(scope="module")
def upstream(home: CoordinatorHome) -> Iterator[int]:
    """A fake SuperLink, which echoes the request."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        told = {"path": request.url.path, "bytes": len(body), "own": request.headers.get("x-own")}
        return JSONResponse(told, headers={"x-answer": "2"})

    port = free_port()
    config = uvicorn.Config(
        Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])]),
        host="127.0.0.1",
        port=port,
        ssl_certfile=home.certificate,
        ssl_keyfile=home.certificate_key,
        log_level="warning",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    await_port(port)
    yield port
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def door(
    home: CoordinatorHome, upstream: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    site = tmp_path_factory.mktemp("site")
    enrolment = enrol(site, "cleveland", bytes(range(1, 33)))
    shutil.copy(site / ENROLMENT, home.sites / "cleveland.json")
    port = int((home.folder / COORDINATOR_FILE).read_text().split("port = ")[1].split()[0])
    command = [sys.executable, "-m", "wardround_coordinator.door", str(home.folder), str(upstream)]
    with subprocess.Popen(command, text=True) as process:
        await_port(port, process)
        found = Door(home, port, enrolment, node_key(site))
        yield found
        process.terminate()
        assert process.wait(20) in (0, -15)


@pytest.mark.parametrize("path", PATHS)
def test_site_gets_through_with_what_a_node_asks(door: Door, path: str) -> None:
    answer = door.post(path, b"12345")
    assert answer.status_code == 200
    assert answer.json() == {"path": path, "bytes": 5, "own": "1"}
    assert answer.headers["x-answer"] == "2"


def test_passed_on_is_what_flower_serves_to_nodes_but_registering() -> None:
    served = {route.path for route in router.routes}  # type: ignore[attr-defined]
    assert served - set(PATHS) == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert set(PATHS) <= served


@pytest.mark.parametrize(
    "path",
    [
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/health",
        "/docs",
        "/openapi.json",
        "/",
        "/v1/fleet/get-run/",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "//v1/control/start-run",
    ],
)
def test_nothing_else_gets_through(door: Door, path: str) -> None:
    """Not even for an enrolled site."""
    assert door.post(path).status_code in (404, 307)
    assert not door.post(path).is_success


@pytest.mark.parametrize("key", [b"", b"nonsense", b"x" * 5000])
def test_unknown_key_is_turned_away(door: Door, key: bytes) -> None:
    assert door.post(PATHS[0], key=key).status_code == 401


def test_node_that_no_site_vouched_for_is_turned_away_and_told_of(
    door: Door, tmp_path: Path
) -> None:
    stranger = enrol(tmp_path, "stranger", bytes(range(2, 34)))
    assert door.post(PATHS[0], key=stranger.public_pem).status_code == 401
    assert "turned away: 127.0.0.1" in door.log


def test_site_is_let_in_as_soon_as_it_is_enrolled(door: Door, tmp_path: Path) -> None:
    late = enrol(tmp_path, "late", bytes(range(3, 35)))
    private = node_key(tmp_path)
    assert door.post(PATHS[0], key=late.public_pem, private=private).status_code == 401
    target = door.home.sites / "late.json"
    shutil.copy(tmp_path / ENROLMENT, target)
    assert door.post(PATHS[0], key=late.public_pem, private=private).status_code == 200
    target.unlink()
    assert door.post(PATHS[0], key=late.public_pem, private=private).status_code == 401


@pytest.mark.parametrize("age_seconds", [400, -60])
def test_key_when_its_signature_is_old_or_early_is_turned_away(
    door: Door, age_seconds: int
) -> None:
    time = (datetime.now(UTC) - timedelta(seconds=age_seconds)).isoformat()
    assert door.post(PATHS[0], **signed(door.private, time)).status_code == 401


def test_key_when_it_is_not_signed_for_brings_no_body(door: Door, tmp_path: Path) -> None:
    """A node key is public: only who has its private part may send anything."""
    enrol(tmp_path, "other", bytes(range(4, 36)))
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for part in range(200):
            read.append(part)
            yield bytes(1_000_000)

    answer: httpx.Response | None = None
    with suppress(httpx.TransportError):  # the door may have closed the connection
        answer = door.post(OBJECT, body(), private=node_key(tmp_path))
    assert answer is None or answer.status_code == 401
    assert len(read) < 200
    for broken in ("", "x", "A" * 1000, "ä".encode().hex()):
        assert door.post(OBJECT, **{"flwr-signature": broken}).status_code == 401
    for broken in ("", "now", "2026-01-01T00:00:00"):
        assert door.post(OBJECT, **{"flwr-timestamp": broken}).status_code == 401
    assert "names the node key of cleveland, and no valid signature" in door.log


def test_message_that_is_too_long_is_refused(door: Door) -> None:
    assert door.post(OBJECT, bytes(LIMIT_BYTES)).json()["bytes"] == LIMIT_BYTES
    assert door.post(OBJECT, bytes(LIMIT_BYTES + 1)).status_code == 413
    for path in set(PATHS) - {OBJECT}:
        assert door.post(path, bytes(PLAIN_LIMIT_BYTES)).json()["bytes"] == PLAIN_LIMIT_BYTES
        assert door.post(path, bytes(PLAIN_LIMIT_BYTES + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(41):
            yield bytes(50_000)

    assert door.post(OBJECT, endless()).status_code == 413
    assert "refused: a message of cleveland" in door.log


def test_only_posts_are_answered(door: Door) -> None:
    trust = ssl.create_default_context(cafile=str(door.home.authority))
    address = f"https://127.0.0.1:{door.port}{PATHS[0]}"
    assert httpx.get(address, verify=trust).status_code == 405


def test_plain_text_is_not_answered(door: Door) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://127.0.0.1:{door.port}{PATHS[0]}", timeout=5)


def test_connections_that_bring_no_request_are_ended(door: Door) -> None:
    """At each step at which a client may fall silent, or send a byte now and then."""
    request = f"POST {PATHS[0]} HTTP/1.1\r\nhost: door\r\n"
    signature = "".join(f"{name}: {value}\r\n" for name, value in door.headers().items())
    begun = time.monotonic()
    with ExitStack() as stack:
        shy, silent, dripping, answered, slow = (
            stack.enter_context(door.connect(tls)) for tls in (False, True, True, True, True)
        )
        answered.sendall(b"GET / HTTP/1.1\r\nhost: door\r\n\r\n")
        assert answered.recv(4096).startswith(b"HTTP/1.1 404")
        slow.sendall(f"{request}{signature}content-length: 100\r\n\r\n".encode())
        for _ in range(5):
            for connection in (dripping, answered, slow):
                connection.sendall(b"P")
            time.sleep(1)
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        for connection in (shy, silent, dripping, answered, slow):
            with suppress(ConnectionError):
                while connection.recv(4096):
                    pass
    assert HEAD_SECONDS < time.monotonic() - begun < HEAD_SECONDS + 20
    assert "refused: a message of cleveland came too slowly" in door.log


def test_connection_when_its_client_does_not_end_tls_is_ended_all_the_same(door: Door) -> None:
    """It keeps its place until then: asyncio waits half a minute for the client's last word."""
    begun = time.monotonic()
    with door.connect() as silent, socket.socket(fileno=os.dup(silent.fileno())) as below:
        below.settimeout(60)
        with suppress(ConnectionError):
            while below.recv(4096):
                pass
    assert time.monotonic() - begun < HEAD_SECONDS + 10


def test_silent_connections_of_one_address_keep_no_other_out(door: Door) -> None:
    """A client connects without a key: a thousand such connections once kept every site out."""
    own, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(own, 1500), hard))
    with ExitStack() as stack:
        for number in range(1100):
            with suppress(OSError):
                stack.enter_context(door.connect(tls=number % 4 == 0))
        assert door.post(PATHS[0], source="127.0.0.2").status_code == 200
        with pytest.raises(httpx.TransportError):
            door.post(PATHS[0])
    deadline = time.monotonic() + HEAD_SECONDS
    while True:
        with suppress(httpx.TransportError):
            assert door.post(PATHS[0]).status_code == 200
            break
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("addresses", "taken"),
    [
        (["192.0.2.1"], CONNECTIONS_OF_ONE_ADDRESS),
        (["::ffff:192.0.2.1", "192.0.2.1"], CONNECTIONS_OF_ONE_ADDRESS),
        (["2001:db8::1", "2001:db8::ffff:0:0:2%eth0"], CONNECTIONS_OF_ONE_ADDRESS),
        (["2001:db8:0:1::1", "2001:db8:0:2::1"], CONNECTIONS_MAX),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], CONNECTIONS_MAX),
    ],
)
def test_share_of_an_address_is_bounded(
    addresses: list[str], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An IPv6 network of 64 bits is one address, and a mapped one is what it maps."""
    arriving = itertools.cycle(addresses)
    monkeypatch.setattr(
        socket.socket, "accept", lambda _: (socket.socket(), (next(arriving), 40_000))
    )
    (listener,) = listen("127.0.0.1", 0)
    assert isinstance(listener, Listener)
    held: list[socket.socket] = []
    with listener:
        for _ in range(CONNECTIONS_MAX + 200):
            with suppress(ConnectionAbortedError):
                held.append(listener.accept()[0])
        assert len(held) == taken
        for connection in held:
            connection.close()
            connection.close()
        listener.accept()[0].close()


def test_door_says_so_when_the_superlink_is_away(
    door: Door, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = CoordinatorHome(tmp_path_factory.mktemp("away") / "home")
    shutil.copytree(door.home.folder, copy.folder)
    port = free_port()
    text = (copy.folder / COORDINATOR_FILE).read_text()
    (copy.folder / COORDINATOR_FILE).write_text(text.replace(str(door.port), str(port)))
    command = [
        sys.executable,
        "-m",
        "wardround_coordinator.door",
        str(copy.folder),
        str(free_port()),
    ]
    with subprocess.Popen(command, text=True) as process:
        await_port(port, process)
        assert Door(copy, port, door.enrolment, door.private).post(PATHS[0]).status_code == 503
        process.terminate()
