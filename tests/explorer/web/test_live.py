"""Streams of new rows: many readers, slow ones, and ones that come back."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from wardround.explorer.web.live import QUEUE_MESSAGES, Hub, message

READERS = 500


@contextmanager
def connected(address: str, count: int) -> Iterator[list[socket.socket]]:
    """So many sockets that read the stream of new rows."""
    host, port = address.removeprefix("http://").split(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection((host, int(port)), timeout=30)
            one.sendall(b"GET /live?since=999999999999 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            opened.append(one)
        for one in opened:
            received = b""
            while b"welcome" not in received:
                received += one.recv(4096)
            assert received.startswith(b"HTTP/1.1 200")
        yield opened
    finally:
        for one in opened:
            one.close()


def resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


@pytest.mark.deep
def test_five_hundred_readers_cost_their_sockets(address: str) -> None:
    import httpx

    with connected(address, 20):
        before = resident_kb()
        with connected(address, READERS):
            grown = resident_kb() - before
            started = time.monotonic()
            assert httpx.get(address, timeout=10).status_code == 200
            assert time.monotonic() - started < 2
    # Both ends of every socket are in this process.
    assert grown / READERS < 100, f"{grown} kB for {READERS} readers"


def run(work) -> None:
    # In a thread of its own: Playwright leaves a loop running in the one that tests share.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(asyncio.wait_for(work, 20))).result(30)


def test_every_reader_gets_the_same_bytes() -> None:
    async def work() -> None:
        news = [[message("rows", {"n": 1}, key=7)], [], [message("rows", {"n": 2}, key=8)]]
        hub = Hub(lambda: news.pop(0) if news else [])
        task = asyncio.create_task(hub.run())
        streams = [hub.stream() for _ in range(50)]
        for stream in streams:
            assert b"welcome" in await anext(stream)
        for stream in streams:
            assert b'id: 7\nevent: rows\ndata: {"n": 1}' in await anext(stream)
            assert b"id: 8" in await anext(stream)
            await stream.aclose()
        assert hub.readers == set()
        task.cancel()

    run(work())


def test_slow_reader_loads_again_and_holds_up_nobody() -> None:
    async def work() -> None:
        hub = Hub(list)
        slow, quick = hub.stream(), hub.stream()
        await anext(slow)
        await anext(quick)
        for number in range(QUEUE_MESSAGES + 1):
            hub.send(message("rows", number))
            assert f"data: {number}".encode() in await anext(quick)
        assert await anext(slow) == message("reload", {})
        hub.send(message("rows", 99))
        assert b"99" in await anext(slow)

    run(work())


def test_reader_that_comes_back_gets_what_it_missed(address: str, client) -> None:
    everything = client.get("/events.json").json()["events"]
    last = everything[0]
    third = everything[2]
    since = (third["block"] << 20) + third["log_index"]
    with client.stream("GET", f"/live?since={since}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        received = ""
        for part in answer.iter_text():
            received += part
            if "event: rows" in received and received.endswith("\n\n"):
                break
    assert f"id: {(last['block'] << 20) + last['log_index']}" in received
    assert received.count("data-event") == 2
