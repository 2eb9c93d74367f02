"""Empty answers that are held until there is news, for a moment, or until the client leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable import inflatable_utils

from tests.attacks.superlink import Pushed, superlink_in
from wardround.transport.flower.identity import server_identity
from wardround.transport.flower.replies import BoundedGrid, bounded
from wardround.transport.flower.waiting import (
    HELD_SECONDS,
    NEWS_PATH,
    Clock,
    HeldAnswers,
    News,
    looking_soon,
)

HELD_PATH, TELLING_PATH = "/ask", "/tell"
LONG_SECONDS = 30.0
SOON_SECONDS = 5.0

Part = dict[str, Any]
T = TypeVar("T")


def apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread: a browser of other tests may keep a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class Server:
    """An application whose answer is what `body` is, and one client after the other."""

    def __init__(self, seconds: float = LONG_SECONDS) -> None:
        self.body, self.status = b"", 200
        self.news = News()
        self.meanwhile: Callable[[], None] = lambda: None
        self.left = asyncio.Event()
        self.app = HeldAnswers(
            self.answer, {HELD_PATH: self.news}, {TELLING_PATH: self.news}, self.news, seconds
        )

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})
        self.meanwhile()

    async def receive(self) -> Part:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def ask(self, path: str, query: bytes = b"") -> tuple[int, bytes]:
        parts: list[Part] = []

        async def send(part: Any) -> None:
            parts.append(part)

        scope = {"type": "http", "path": path, "query_string": query}
        await self.app(scope, self.receive, send)
        return parts[0]["status"], b"".join(part["body"] for part in parts[1:])


def timed(work: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    async def run() -> Any:
        return await work()

    started = time.monotonic()
    return apart(run()), time.monotonic() - started


def test_empty_answer_when_there_is_news_ends_soon_and_stays_empty() -> None:
    async def work() -> Any:
        server = Server()
        held = asyncio.ensure_future(server.ask(HELD_PATH))
        await asyncio.sleep(0.2)
        assert not held.done()
        server.body = b"work"
        await server.ask(TELLING_PATH)
        first = await held
        return first, await server.ask(HELD_PATH)

    answers, seconds = timed(work)
    assert answers == ((200, b""), (200, b"work"))
    assert seconds < SOON_SECONDS


def test_empty_answer_when_there_is_no_news_ends_in_time() -> None:
    answer, seconds = timed(lambda: Server(0.3).ask(HELD_PATH))
    assert answer == (200, b"")
    assert 0.3 <= seconds < SOON_SECONDS


def test_empty_answer_when_news_came_after_the_look_is_not_held() -> None:
    async def work() -> Any:
        server = Server()
        server.meanwhile = server.news.spread
        return await server.ask(HELD_PATH)

    assert timed(work)[1] < SOON_SECONDS


def test_empty_answer_when_the_client_leaves_is_not_held() -> None:
    async def work() -> Any:
        server = Server()
        asyncio.get_running_loop().call_later(0.1, server.left.set)
        return await server.ask(HELD_PATH)

    assert timed(work)[1] < SOON_SECONDS


@pytest.mark.parametrize(("status", "body"), [(200, b"work"), (401, b""), (500, b"")])
def test_answer_when_it_says_something_is_not_held(status: int, body: bytes) -> None:
    async def work() -> Any:
        server = Server()
        server.status, server.body = status, body
        return await server.ask(HELD_PATH)

    answer, seconds = timed(work)
    assert answer == (status, body)
    assert seconds < SOON_SECONDS


def test_news_is_counted_and_waited_for() -> None:
    async def work() -> Any:
        server = Server()
        await server.ask(TELLING_PATH)
        assert await server.ask(NEWS_PATH, b"since=0&for=20000") == (200, b"1")
        asyncio.get_running_loop().call_later(0.1, server.news.spread)
        return await server.ask(NEWS_PATH, b"since=1&for=20000")

    answer, seconds = timed(work)
    assert answer == (200, b"2")
    assert seconds < SOON_SECONDS


@pytest.mark.parametrize("query", [b"", b"since=x&for=1", b"since=1", b"since=1&for=nan", b"\xff"])
def test_news_when_asked_for_without_numbers_is_refused(query: bytes) -> None:
    assert timed(lambda: Server().ask(NEWS_PATH, query))[0] == (400, b"")


@pytest.mark.parametrize("asked", [-5, 100])
def test_news_when_there_is_none_ends_in_time(asked: int) -> None:
    answer, seconds = timed(lambda: Server().ask(NEWS_PATH, f"since=0&for={asked}".encode()))
    assert answer == (200, b"0")
    assert max(0, asked / 1000) <= seconds < SOON_SECONDS


def test_news_from_another_thread_wakes_a_coroutine() -> None:
    async def work() -> Any:
        server = Server()
        threading.Timer(0.1, server.news.spread).start()
        return await server.ask(HELD_PATH)

    assert timed(work)[1] < SOON_SECONDS


def test_clock_sleeps_until_news_and_over_none() -> None:
    news = News()
    clock, started = Clock(news), time.monotonic()
    news.spread()
    clock.sleep(LONG_SECONDS)  # for what came before it
    threading.Timer(0.1, news.spread).start()
    clock.sleep(LONG_SECONDS)
    assert time.monotonic() - started < SOON_SECONDS
    clock.sleep(0.2)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("by", ["the SuperNode", "a task"])
def test_object_that_is_late_is_looked_for_soon(by: str) -> None:
    looks: list[float] = []
    record = ConfigRecord({"a": 1})

    def pull(name: str) -> bytes:
        looks.append(time.monotonic())
        if len(looks) < 4:
            raise inflatable_utils.ObjectUnavailableError(name)
        return record.deflate()

    if by == "the SuperNode":
        found = looking_soon(inflatable_utils.pull_objects)([record.object_id], pull)
        assert found == {record.object_id: record.deflate()}
    else:
        whole = looking_soon(inflatable_utils.pull_and_inflate_object_from_tree)
        tree = ObjectTree(object_id=record.object_id)
        assert whole(tree, pull, lambda _: None, return_type=ConfigRecord) == record
    assert looks[-1] - looks[0] < 1.0  # Flower's own takes seven seconds


def test_node_and_coordinator_when_there_is_something_hear_at_once(tmp_path: Path) -> None:
    with superlink_in(tmp_path) as link, link.served() as plain, link.nodes(1) as nodes:
        grid, (node,) = bounded(plain, 28, tmp_path), nodes.ids
        assert isinstance(grid, BoundedGrid)
        started = time.monotonic()
        assert nodes.question(node) is None
        assert time.monotonic() - started >= HELD_SECONDS
        with ThreadPoolExecutor(1) as pool, server_identity(grid.run.run_id):
            held = pool.submit(nodes.question, node)
            time.sleep(0.3)
            started = time.monotonic()
            asked = list(grid.push_messages([Message(RecordDict(), node, "query")]))
            # Only to ask again: had the node gone meanwhile, the question would wait for it.
            assert held.result(SOON_SECONDS) is None
            assert time.monotonic() - started < HELD_SECONDS / 2
        question = nodes.question(node)
        assert question is not None
        grid.rest(0.5)  # nothing is new
        reply = Pushed.of(
            Message(RecordDict({"fields": ConfigRecord({"a": 1})}), reply_to=question)
        )
        threading.Timer(0.3, nodes.push, (node, reply)).start()
        started = time.monotonic()
        grid.rest(LONG_SECONDS)
        (whole,) = grid.pull_messages(asked)  # one look, when every part is there
        assert 0.3 <= time.monotonic() - started < HELD_SECONDS / 2
        assert whole.content["fields"] == ConfigRecord({"a": 1})


def test_coordinator_when_a_reply_is_announced_again_or_refused_hears_nothing(
    tmp_path: Path,
) -> None:
    with superlink_in(tmp_path) as link, link.served() as plain, link.nodes(1) as nodes:
        grid, (node,) = bounded(plain, 28, tmp_path), nodes.ids
        assert isinstance(grid, BoundedGrid)
        with server_identity(grid.run.run_id):
            grid.push_messages([Message(RecordDict(), node, "query")])
        question = nodes.question(node)
        assert question is not None
        reply, other = (Pushed.of(Message(Error(1, why), reply_to=question)) for why in "ab")
        for pushed in (reply, reply, other, reply):
            nodes.push(node, pushed)
        grid.rest(0.1)
        assert grid._news == 1


def test_coordinator_when_the_superlink_gives_no_news_sleeps() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    grid = object.__new__(BoundedGrid)
    client = httpx.Client(transport=httpx.MockTransport(answer))
    vars(grid).update(_client=SimpleNamespace(_client=client, _base_url="http://link"), _news=0)
    started = time.monotonic()
    grid.rest(0.3)
    assert time.monotonic() - started >= 0.3
