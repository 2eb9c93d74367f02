"""Answers that wait until there is something, so that Flower's programs need no sleep.

Flower's programs ask one another for work at intervals, and sleep in between. Here the program that
is asked holds its empty answer until there is news, or for a moment: who waits hears at once,
and asks less often. The held answer stays empty and only means "ask again", so that a message for a
connection that has been lost meanwhile waits for the next question, as with Flower.

    who asks                            the SuperLink or SuperNode holds it until
    a SuperNode, for messages           the ServerApp has pushed some, with all their objects
    a SuperExec, for tasks              there is a task
    a ServerApp, for news (`NEWS_PATH`) a site has pushed a reply, with all its objects
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from starlette.middleware import Middleware

#: How long an answer is held at most: shorter than any timeout on its way, and than a stop takes.
HELD_SECONDS = 2.0
#: Answers with the count of replies that sites have pushed: once it exceeds ``since``, or after as
#: many milliseconds as ``for`` gives.
NEWS_PATH = "/v1/wardround/news"
#: How soon an object is looked for again that is announced and not there yet: Flower announces a
#: message first and pushes its objects then, and looks again after a second. Doubled each time.
_AGAIN_SECONDS = 0.02

_PULL_MESSAGES, _ACQUIRE_TASK = "/v1/fleet/pull-messages", "/v1/runtime/acquire-task"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class News:
    """Counts what happens; threads and coroutines wait for more."""

    def __init__(self) -> None:
        self.count = 0
        self._more = threading.Condition()
        self._asleep: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def spread(self) -> None:
        """Count one more, and wake all that wait; from any thread."""
        with self._more:
            self.count += 1
            self._more.notify_all()
            for loop, event in self._asleep:
                with suppress(RuntimeError):  # a loop that has ended
                    loop.call_soon_threadsafe(event.set)

    def wait(self, since: int, seconds: float) -> None:
        """Block this thread until there is more than `since`, or time is up."""
        with self._more:
            self._more.wait_for(lambda: self.count > since, seconds)

    async def heard(self, since: int) -> None:
        """Return once there is more than `since`."""
        asleep = asyncio.get_running_loop(), asyncio.Event()
        with self._more:
            if self.count > since:
                return
            self._asleep.add(asleep)
        try:
            await asleep[1].wait()
        finally:
            with self._more:
                self._asleep.discard(asleep)


@dataclass
class Clock:
    """In place of a module's `time`, where its one use is to sleep until there is news."""

    news: News
    _seen: int = 0

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past news since the last sleep."""
        self.news.wait(self._seen, seconds)
        self._seen = self.news.count


@dataclass
class HeldAnswers:
    """An ASGI application around one of Flower's.

    Attributes:
        app: Flower's.
        held: of each path whose empty answer is held, the news that ends it.
        tells: of each path that brings news, which.
        news: what `NEWS_PATH` counts; None where nothing is to be had there.
        seconds: for which an answer is held at most.
    """

    app: App
    held: Mapping[str, News]
    tells: Mapping[str, News]
    news: News | None = None
    seconds: float = HELD_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == NEWS_PATH and self.news is not None:
            await self._tell(self.news, scope, receive, send)
        elif path in self.held:
            await self._hold(self.held[path], scope, receive, send)
        else:
            await self.app(scope, receive, send)
            if path in self.tells:
                self.tells[path].spread()

    async def _hold(self, news: News, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[MutableMapping[str, Any]] = []

        async def keep(part: MutableMapping[str, Any]) -> None:
            answer.append(part)

        since = news.count  # before the look, which may miss what comes after it
        await self.app(scope, receive, keep)
        if answer and answer[0].get("status") == 200 and not any(p.get("body") for p in answer):
            await _until(news.heard(since), receive, self.seconds)
        for part in answer:
            await send(part)

    async def _tell(self, news: News, scope: Scope, receive: Receive, send: Send) -> None:
        asked = parse_qs(scope["query_string"].decode("ascii", "replace"))
        try:
            since, seconds = int(asked["since"][0]), int(asked["for"][0]) / 1000
        except (KeyError, ValueError):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await _until(news.heard(since), receive, min(max(seconds, 0.0), self.seconds))
        body = str(news.count).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def hold_superlink() -> None:
    """Change this process's Flower, before its SuperLink starts."""
    runs, messages, replies = News(), News(), News()
    fleet = importlib.import_module("flwr.superlink.servicer.fleet.fleet_handlers")
    vars(fleet)["push_object"] = telling(vars(fleet)["push_object"], replies)
    runtime = importlib.import_module("flwr.superlink.servicer.runtime.runtime_handlers")
    vars(runtime)["push_object"] = telling(vars(runtime)["push_object"], messages)
    held = Middleware(
        HeldAnswers,
        held={_ACQUIRE_TASK: runs, _PULL_MESSAGES: messages},
        tells={"/v1/control/start-run": runs},
        news=replies,
    )
    extensions = importlib.import_module("flwr.superlink.extensions")
    vars(extensions)["get_middleware"] = lambda: (held,)


def hold_supernode() -> None:
    """Change this process's Flower, before its SuperNode starts."""
    tasks, replies = News(), News()
    supernode = importlib.import_module("flwr.supernode.main")
    make = vars(supernode)["create_app"]

    def made(**named: Any) -> App:
        tells = {"/v1/runtime/push-messages": replies, "/v1/runtime/push-object": replies}
        return HeldAnswers(make(**named), {_ACQUIRE_TASK: tasks}, tells)

    vars(supernode)["create_app"] = made
    client = importlib.import_module("flwr.supernode.start_client_internal")
    # It sleeps until a task has answered.
    vars(client)["time"] = Clock(replies)
    pull = looking_soon(vars(client)["pull_objects"])

    def pulled(*arguments: Any, **named: Any) -> Any:
        tasks.spread()  # made just before
        return pull(*arguments, **named)

    vars(client)["pull_objects"] = pulled


def telling(push: Callable[..., Any], news: News) -> Callable[..., Any]:
    """Make one of Flower's handlers of objects tell once all that was announced is there.

    Only an object that was owed ends an upload, and each message has an object of its own: who
    announces again what is there, or what is refused, tells nothing.

    Args:
        push: takes request and state; brings an object.
        news: told.
    """

    def pushed(request: Any, state: Any, *more: Any) -> Any:
        answer = push(request, state, *more)
        # Flower forgets a session with its last object.
        if answer.stored and request.session_id not in state._object_push_sessions:
            news.spread()
        return answer

    return pushed


def looking_soon(pull: Callable[..., Any]) -> Callable[..., Any]:
    """Make one of Flower's functions that pull objects look soon for what is not there yet."""
    return partial(pull, initial_backoff=_AGAIN_SECONDS)


async def _until(news: Awaitable[None], receive: Receive, seconds: float) -> None:
    """Wait for news, for a client that leaves, or until time is up."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waiting = {asyncio.ensure_future(news), asyncio.ensure_future(left())}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
