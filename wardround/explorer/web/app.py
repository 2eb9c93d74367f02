"""The web application: addresses to pages, streams, and what every answer has in common.

Pages are rendered in worker threads, each with its own connection to the index. A rendered page is
kept until the index changes, so that many readers of one page cost one rendering.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from wardround.explorer import parameters
from wardround.explorer.api import described_app
from wardround.explorer.errors import NotIndexed, QueryInvalid
from wardround.explorer.news import IndexChange, IndexWatch
from wardround.explorer.web import log, lookup, study, urls
from wardround.explorer.web import round as rounds
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.live import Hub, message
from wardround.explorer.web.rendering import event_row, render
from wardround.explorer.web.replay import replay_of
from wardround.explorer.web.security import SecurityHeaders
from wardround.explorer.web.words import sentence
from wardround.protocol.errors import Retryable, WardroundError
from wardround.store.errors import ObjectSealed, StoreError

_PAGES_KEPT = 256
#: Each has a connection to the index with a cache of its own: 40, the default, took 642 MB.
_THREADS = 16
_KEPT_SECONDS = 2.0
_EVENT_STREAM = {"content-type": "text/event-stream", "cache-control": "no-store"}


class _PageCache:
    """Rendered pages of the current index. Deliberately mutable.

    For two seconds only: the store may change without the index, and a page must show that.
    """

    def __init__(self) -> None:
        self._version: object = None
        self._pages: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = Lock()

    def page(self, version: object, address: str, render: Callable[[], bytes]) -> bytes:
        now = time.monotonic()
        with self._lock:
            if version != self._version:
                self._version = version
                self._pages.clear()
            made_at, page = self._pages.get(address, (0.0, b""))
            if page and now < made_at + _KEPT_SECONDS:
                return page
        page = render()
        with self._lock:
            if version == self._version:
                self._pages[address] = now, page
                self._pages.move_to_end(address)
                while len(self._pages) > _PAGES_KEPT:
                    self._pages.popitem(last=False)
        return page


class Website:
    """Answers requests from one explorer."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.watch = IndexWatch(explorer.reader)
        self.hub = Hub(self.news)
        self._kept = _PageCache()

    # ---------------------------------------------------------------- pages

    def page(self, render: Callable[[Explorer, Request], bytes]) -> Callable[[Request], Response]:
        """A page that is kept, and not sent twice, while the index does not change."""

        def answer(request: Request) -> Response:
            address = f"{request.url.path}?{request.url.query}"
            page = self._kept.page(
                self.watch.version(), address, lambda: render(self.explorer, request)
            )
            tag = f'"{sha256(page).hexdigest()[:20]}"'
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={"etag": tag})
            return _html(page, etag=tag)

        return answer

    def round_bytes(self, request: Request) -> Response:
        """What a reader's browser checks a round from."""
        return JSONResponse(rounds.round_bytes(self.explorer, **_round(request)))

    def export(self, request: Request) -> Response:
        """The event log as a file."""
        kind = request.url.path.rpartition(".")[2]
        content = log.export(self.explorer, kind, request.query_params)
        headers = {"content-disposition": f'attachment; filename="wardround-events.{kind}"'}
        media_type = "text/csv; charset=utf-8" if kind == "csv" else "application/json"
        parts = iterate_in_threadpool(content)
        return StreamingResponse(parts, media_type=media_type, headers=headers)

    def search(self, request: Request) -> Response:
        """Anything by its name."""
        return _html(lookup.search_page(self.explorer, request.query_params.get("q", "")))

    def object(self, request: Request) -> Response:
        """An object of the store; read again each time, so that altered bytes are seen."""
        return _html(lookup.object_page(self.explorer, **_parts(request)))

    def raw(self, request: Request) -> Response:
        """An object's bytes, as they are here: the reader's browser hashes them itself."""
        (cid,) = _parts(request).values()
        headers = {
            "content-disposition": f'attachment; filename="{cid}"',
            "cache-control": "no-store",
        }
        data = self.explorer.objects.raw(cid)
        return Response(data, media_type="application/octet-stream", headers=headers)

    def evidence(self, request: Request) -> Response:
        """An archive of a study or round, written for this one answer; one at a time."""
        parts = _parts(request)
        name, number = parts["study"], parts.get("number")
        with ExitStack() as written:
            folder = written.enter_context(TemporaryDirectory(prefix="wardround-evidence-"))
            part = f"-round-{number}" if number else ""
            path = Path(folder) / f"wardround-{name[:10]}{part}.zip"
            self.explorer.evidence(name, number, path)
            return FileResponse(
                path,
                media_type="application/zip",
                filename=path.name,
                headers={"cache-control": "no-store"},
                background=BackgroundTask(written.pop_all().close),
            )

    # ---------------------------------------------------------------- streams

    async def live(self, request: Request) -> Response:
        """New rows as they come."""
        text = request.headers.get("last-event-id") or request.query_params.get("since") or "0"
        since = parameters.number(text, "since")
        missed = await run_in_threadpool(self.watch.since, since)
        first = self._message(missed) if missed.events else b""
        return StreamingResponse(self.hub.stream(first), headers=_EVENT_STREAM)

    def replay(self, request: Request) -> Response:
        """The replay of a round, step by step."""
        work = replay_of(self.explorer, **_round(request))
        lines = (message(name, value) for name, value in work.steps())
        return StreamingResponse(iterate_in_threadpool(lines), headers=_EVENT_STREAM)

    def news(self) -> list[bytes]:
        """Messages for open pages about what changed since the last call."""
        change = self.watch.poll()
        return [] if change is None else [self._message(change)]

    def _message(self, change: IndexChange) -> bytes:
        rows = change.events
        if change.reorganisations or change.more:
            return message("reload", {})
        if not rows:
            return message("changed", {})
        last = rows[-1]
        value = {
            "rows": [{"study": row.study, "html": event_row(row)} for row in rows],
            "studies": sorted({row.study for row in rows if row.study}),
            "said": f"{len(rows)} new events"
            if len(rows) > 1
            else f"{last.name}: {sentence(last)}",
        }
        return message("rows", value, key=int(last.cursor))

    # ---------------------------------------------------------------- inside

    def error(self, request: Request, error: Exception) -> Response:
        """The error's sentence as a page, or as JSON where a script asked."""
        words = str(error)
        if isinstance(error, HTTPException):
            status, title = error.status_code, "Not found"
            words = "There is no such page." if status == 404 else str(error.detail)
        elif isinstance(error, QueryInvalid):
            status, title = 400, "Not understood"
        elif isinstance(error, ObjectSealed):
            status, title = 403, "Encrypted"
        elif isinstance(error, NotIndexed) or (
            isinstance(error, StoreError) and not isinstance(error, Retryable)
        ):
            status, title = 404, "Not found"
        else:
            status, title = 503, "Not readable now"
        if "text/html" not in request.headers.get("accept", "text/html"):
            return JSONResponse({"error": words}, status_code=status)
        try:
            index = self.explorer.reader.health()
        except (WardroundError, sqlite3.Error):
            index = None
        body = render("error.html", index=index, title=title, words=words)
        return _html(body, status=status)


def create_app(explorer: Explorer, hosts: list[str] | None = None) -> FastAPI:
    """Make the application.

    Args:
        explorer: what it shows.
        hosts: accepted Host headers, so that no foreign page can reach a server on loopback under
            a name of its own (DNS rebinding); by default any.
    """
    pages = Website(explorer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        task = asyncio.create_task(pages.hub.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    middleware = [Middleware(SecurityHeaders)]
    if hosts is not None:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
    middleware.append(Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4))
    app = described_app(
        explorer.reader,
        explorer.objects.store,
        middleware=middleware,
        exception_handlers={HTTPException: pages.error, WardroundError: pages.error},
        lifespan=lifespan,
    )
    for path, page in _PAGES.items():
        app.add_route(path, pages.page(page))
    for path, answer in (
        ("/study/{study}/round/{number}/bytes", pages.round_bytes),
        ("/study/{study}/round/{number}/replay", pages.replay),
        ("/study/{study}/evidence.zip", pages.evidence),
        ("/study/{study}/round/{number}/evidence.zip", pages.evidence),
        ("/events.csv", pages.export),
        ("/events.json", pages.export),
        ("/search", pages.search),
        ("/object/{cid}", pages.object),
        ("/object/{cid}/raw", pages.raw),
        ("/live", pages.live),
    ):
        app.add_route(path, answer)
    app.mount("/static", StaticFiles(directory=urls.STATIC))
    return app


def _html(page: bytes, status: int = 200, **headers: str) -> Response:
    return Response(page, status, {"cache-control": "no-cache"} | headers, media_type="text/html")


#: How each part of an address is read; the pages' functions name them so too.
_PARTS: dict[str, Callable[[str], Any]] = {
    "study": partial(parameters.hex32, name="study"),
    "number": partial(parameters.number, name="round", low=1, high=parameters.ROUND_MAX),
    "address": parameters.address,
    "block": parameters.block,
    "block_hash": partial(parameters.hex32, name="block"),
    "index": partial(parameters.number, name="log index", low=0, high=2**20),
    "transaction": partial(parameters.hex32, name="transaction"),
    "cid": parameters.cid,
}


def _parts(request: Request) -> dict[str, Any]:
    return {name: _PARTS[name](text) for name, text in request.path_params.items()}


def _round(request: Request) -> dict[str, Any]:
    """A round, and the block that is meant where several have closed it."""
    parts, block = _parts(request), parameters.given(request.query_params, "block")
    return {**parts, "block": None if block is None else parameters.hex32(block, "block")}


#: Pages that follow from the index alone.
_PAGES: dict[str, Callable[[Explorer, Request], bytes]] = {
    "/": lambda explorer, _: study.overview_page(explorer),
    "/study/{study}": lambda explorer, request: study.study_page(explorer, **_parts(request)),
    "/study/{study}/round/{number}": lambda explorer, request: rounds.round_page(
        explorer, **_round(request)
    ),
    "/site/{address}": lambda explorer, request: lookup.site_page(
        explorer, **_parts(request), cursor=parameters.given(request.query_params, "before")
    ),
    "/events": lambda explorer, request: log.log_page(explorer, request.query_params),
    "/block/{block}": lambda explorer, request: lookup.block_page(explorer, **_parts(request)),
    "/block/{block_hash}/log/{index}": lambda explorer, request: lookup.event_page(
        explorer, **_parts(request)
    ),
    "/transaction/{transaction}": lambda explorer, request: lookup.transaction_page(
        explorer, **_parts(request)
    ),
}
