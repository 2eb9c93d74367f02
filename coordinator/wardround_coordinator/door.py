"""The gateway: the coordinator's only open port, TLS in front of Flower's SuperLink.

Flower serves sites, operators and its own helpers on one port, and does not authenticate operators.
So the SuperLink listens on the loopback interface, and this gateway forwards the requests of sites
only, from node keys that a site has signed for, in messages of bounded size.

It reads no body before it has checked the node's signature of the time: a key is public. The
SuperLink checks it again, and that the body is about that node.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from wardround.host.log import configure
from wardround.transport.flower.messages import NODE_KEY_HEADER
from wardround.transport.flower.node_signature import is_signed
from wardround.transport.supervision import Say
from wardround_coordinator.arrivals import (
    CONNECTIONS_MAX,
    HEAD_SECONDS,
    ArrivalsLoop,
    PromptProtocol,
    listen,
)
from wardround_coordinator.home import CoordinatorHome, EnrolmentBook
from wardround_coordinator.settings import load_coordinator_settings

#: Requests of a SuperNode whose key is registered. The coordinator alone registers keys.
PATHS = tuple(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)

_TIMEOUT_SECONDS = 60.0
_KEY_MAX_BYTES = 2048
#: A body has the time of a head, and a second for each of so many bytes.
BODY_BYTES_PER_SECOND = 20_000
#: The one request with a part of a vector, how many of a site are held at once (Flower sends two),
#: and the longest other one.
_LARGE, _LARGE_AT_ONCE, _PLAIN_MAX_BYTES = "/v1/fleet/push-object", 4, 1_000_000
#: Headers of one hop only, or set again by each side.
# fmt: off
_OWN_HEADERS = frozenset({
    "host", "connection", "keep-alive", "content-length", "transfer-encoding", "te", "trailer",
    "upgrade", "accept-encoding", "content-encoding", "date",
})
# fmt: on


#: The sites' names by the node key (PEM) that each has vouched for, as of now.
Names = Callable[[], Mapping[bytes, str]]


def make_door(
    upstream: httpx.AsyncClient,
    names: Names,
    max_bytes: int,
    say: Say,
    now: Callable[[], datetime],
) -> Starlette:
    """Make the application in front of a SuperLink.

    Args:
        upstream: a client whose base is the SuperLink.
        names: asked at every message, so that a site may be enrolled at any time.
        max_bytes: of a body with a part of a vector; others have at most a megabyte.
        say: reports sites that connect, and clients that are rejected.
        now: the time, with a zone.
    """
    seen: set[str] = set()
    large: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LARGE_AT_ONCE))

    async def enter(request: Request) -> Response:
        key = _node_key(request)
        name = names().get(key)
        host = request.client.host if request.client else "a client"
        if name is None:
            say_once(f"turned away: {host} has a node key that no admitted site vouched for")
            return _refused("This node key is not enrolled here.", 401)
        if not is_signed(request.headers, key, now()):
            say_once(f"turned away: {host} names the node key of {name}, and no valid signature")
            return _refused("The node's signature of the time is not valid.", 401)
        if request.url.path != _LARGE:
            return await forward(request, name, min(max_bytes, _PLAIN_MAX_BYTES))
        async with large[name]:
            return await forward(request, name, max_bytes)

    async def forward(request: Request, name: str, limit: int) -> Response:
        try:
            body = await _body(request, limit)
        except TimeoutError:
            say(f"refused: a message of {name} came too slowly")
            return _refused(f"A message needs {BODY_BYTES_PER_SECOND:,} bytes a second.", 408)
        if body is None:
            say(f"refused: a message of {name} has more than {limit:,} bytes")
            return _refused(f"A message may have {limit:,} bytes.", 413)
        headers = [(key, value) for key, value in request.headers.raw if _is_passed(key)]
        headers.append((b"accept-encoding", b"identity"))
        try:
            answer = await upstream.post(request.url.path, content=body, headers=headers)
        except httpx.HTTPError:
            return PlainTextResponse("The SuperLink is away; try again.", 503)
        if request.url.path.endswith("/activate-node") and answer.is_success:
            say(f"{name} is connected")
        passed = {
            key.decode("latin-1"): value.decode("latin-1")
            for key, value in answer.headers.raw
            if _is_passed(key)
        }
        return Response(answer.content, answer.status_code, passed)

    def say_once(words: str) -> None:
        if words not in seen and len(seen) < CONNECTIONS_MAX:
            seen.add(words)
            say(words)

    return Starlette(routes=[Route(path, enter, methods=["POST"]) for path in PATHS])


async def serve(
    home: CoordinatorHome, upstream_port: int, say: Say, now: Callable[[], datetime]
) -> None:
    """Open the door of a coordinator's home until the process is asked to end.

    Args:
        home: with its certificates and enrolments.
        upstream_port: where the SuperLink listens on the loopback interface.
        say: reports sites that connect, and clients that are rejected.
        now: the time, with a zone.

    Raises:
        OSError: the port is in use.
    """
    server = load_coordinator_settings(home.folder).require_server()
    book = EnrolmentBook(home)
    trust = ssl.create_default_context(cafile=str(home.authority))
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
    async with httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{upstream_port}",
        verify=trust,
        timeout=_TIMEOUT_SECONDS,
        limits=limits,
        trust_env=False,
    ) as upstream:
        max_bytes = server.max_message_megabytes * 1_000_000
        door = make_door(upstream, book.names, max_bytes, say, now)
        config = uvicorn.Config(
            door,
            ssl_certfile=home.certificate,
            ssl_keyfile=home.certificate_key,
            http=PromptProtocol,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        await uvicorn.Server(config).serve(listen(server.host, server.port))


def _refused(words: str, status: int) -> Response:
    """Answer, and close the connection: the rest of a body is not even read to be thrown away."""
    return PlainTextResponse(words, status, {"connection": "close"})


async def _body(request: Request, max_bytes: int) -> bytes | None:
    """Read a request's body; None when it is longer than allowed.

    Raises:
        TimeoutError: its length, or the longest where none is stated, takes more time than allowed.
    """
    stated = request.headers.get("content-length", str(max_bytes))
    if not stated.isdecimal() or int(stated) > max_bytes:
        return None
    parts = bytearray()
    async with asyncio.timeout(HEAD_SECONDS + int(stated) / BODY_BYTES_PER_SECOND):
        async for part in request.stream():
            parts += part
            if len(parts) > max_bytes:
                return None
    return bytes(parts)


def _node_key(request: Request) -> bytes:
    text = request.headers.get(NODE_KEY_HEADER, "")
    if len(text) > _KEY_MAX_BYTES:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_passed(header: bytes) -> bool:
    return header.decode("latin-1").lower() not in _OWN_HEADERS


if __name__ == "__main__":
    home = CoordinatorHome(Path(sys.argv[1]))
    say = configure(home.folder, "door").info
    with asyncio.Runner(loop_factory=ArrivalsLoop) as runner:
        runner.run(serve(home, int(sys.argv[2]), say, lambda: datetime.now(UTC)))
