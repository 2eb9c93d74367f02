"""The web application: addresses to pages, streams, and what every answer has in common.

Pages are rendered in worker threads, each with its own connection to the index. A rendered page is
kept until the index changes, so that many readers of one page cost one rendering.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from wardround.explorer.api import api_routes
from wardround.explorer.errors import ExplorerError, NotIndexed
from wardround.explorer.web import log, lookup, parameters, site, study, urls
from wardround.explorer.web import round as rounds
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.live import Hub, message
from wardround.explorer.web.news import News
from wardround.explorer.web.objects import not_shown
from wardround.explorer.web.parameters import NotThere, PageError
from wardround.explorer.web.replay import replay_of
from wardround.explorer.web.security import SecurityHeaders
from wardround.protocol.errors import WardroundError
from wardround.store.errors import ObjectSealed, StoreError

_PAGES_KEPT = 256
_KEPT_SECONDS = 2.0
_EVENT_STREAM = {"content-type": "text/event-stream", "cache-control": "no-store"}
_NUMBER_MAX = 2**32 - 1


class _Kept:
    """Rendered pages of the index as it is now. Deliberately mutable.

    For a moment only: the store may change behind the index, and a page says so.
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


class Site:
    """Answers requests from one explorer."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.news = News(explorer)
        self.hub = Hub(self.news.poll)
        self._kept = _Kept()

    # ---------------------------------------------------------------- pages

    def overview(self, request: Request) -> Response:
        """All studies."""
        return self._page(request, lambda: study.overview_page(self.explorer))

    def study(self, request: Request) -> Response:
        """One study."""
        name = _study(request)
        return self._page(request, lambda: study.study_page(self.explorer, name))

    def round(self, request: Request) -> Response:
        """One round."""
        name, number, block = _round(request)
        return self._page(request, lambda: rounds.round_page(self.explorer, name, number, block))

    def round_bytes(self, request: Request) -> Response:
        """What a reader's browser checks a round from."""
        return JSONResponse(rounds.round_bytes(self.explorer, *_round(request)))

    def site(self, request: Request) -> Response:
        """One site."""
        address = parameters.address(request.path_params["address"])
        cursor = parameters.given(request.query_params, "before")
        if cursor is not None:
            parameters.number(cursor, "before", 0, 10**15 - 1)
        return self._page(request, lambda: site.site_page(self.explorer, address, cursor))

    def events(self, request: Request) -> Response:
        """The event log."""
        return self._page(request, lambda: log.log_page(self.explorer, request.query_params))

    def export(self, request: Request) -> Response:
        """The event log as a file."""
        kind = request.path_params["kind"]
        if kind not in ("csv", "json"):
            raise NotThere("The event log comes as .csv and as .json.")
        content = log.export(self.explorer, kind, request.query_params)
        headers = {"content-disposition": f'attachment; filename="wardround-events.{kind}"'}
        media = "text/csv; charset=utf-8" if kind == "csv" else "application/json"
        return StreamingResponse(iterate_in_threadpool(content), media_type=media, headers=headers)

    def event(self, request: Request) -> Response:
        """One event."""
        block = parameters.hex32(request.path_params["block"], "block")
        index = parameters.number(request.path_params["index"], "log index", 0, 2**20)
        return self._page(request, lambda: lookup.event_page(self.explorer, block, index))

    def block(self, request: Request) -> Response:
        """The events of a block."""
        name = request.path_params["block"]
        if name.startswith("0x"):
            name = parameters.hex32(name, "block")
        else:
            name = str(parameters.number(name, "block"))
        return self._page(request, lambda: lookup.block_page(self.explorer, name))

    def transaction(self, request: Request) -> Response:
        """A transaction."""
        name = parameters.hex32(request.path_params["transaction"], "transaction")
        return self._page(request, lambda: lookup.transaction_page(self.explorer, name))

    def search(self, request: Request) -> Response:
        """Anything by its name."""
        asked = request.query_params.get("q", "")
        return _html(lookup.search_page(self.explorer, asked))

    def object(self, request: Request) -> Response:
        """An object of the store; read anew each time, so that altered bytes are seen."""
        cid = parameters.cid(request.path_params["cid"])
        return _html(lookup.object_page(self.explorer, cid))

    def raw(self, request: Request) -> Response:
        """An object's bytes, as they are here: the reader's browser hashes them itself."""
        cid = parameters.cid(request.path_params["cid"])
        try:
            data = self.explorer.objects.raw(cid)
        except StoreError as error:
            raise not_shown(error) from error
        headers = {
            "content-disposition": f'attachment; filename="{cid}"',
            "cache-control": "no-store",
        }
        return Response(data, media_type="application/octet-stream", headers=headers)

    def evidence(self, request: Request) -> Response:
        """An archive of a study or round, written for this one answer; one at a time."""
        name, number = _study(request), None
        if "round" in request.path_params:
            name, number, _ = _round(request)
        folder = TemporaryDirectory(prefix="wardround-evidence-")
        path = (
            Path(folder.name) / f"wardround-{name[:10]}{f'-round-{number}' if number else ''}.zip"
        )
        try:
            self.explorer.evidence(name, number, path)
        except NotIndexed as error:
            folder.cleanup()
            raise NotThere(str(error)) from error
        except ObjectSealed as error:
            folder.cleanup()
            raise not_shown(error) from error
        except BaseException:
            folder.cleanup()
            raise
        headers = {"cache-control": "no-store"}
        return FileResponse(
            path,
            media_type="application/zip",
            filename=path.name,
            headers=headers,
            background=BackgroundTask(folder.cleanup),
        )

    # ---------------------------------------------------------------- streams

    async def live(self, request: Request) -> Response:
        """New rows as they come."""
        text = request.headers.get("last-event-id") or request.query_params.get("since") or "0"
        since = parameters.number(text, "since", 0, 10**18)
        first = await run_in_threadpool(self.news.missed, since)
        return StreamingResponse(self.hub.stream(first), headers=_EVENT_STREAM)

    def replay(self, request: Request) -> Response:
        """The replay of a round, step by step."""
        work = replay_of(self.explorer, *_round(request))

        def lines() -> Any:
            for name, value in work.steps():
                yield message(name, value)

        return StreamingResponse(iterate_in_threadpool(lines()), headers=_EVENT_STREAM)

    # ---------------------------------------------------------------- inside

    def _page(self, request: Request, render: Callable[[], bytes]) -> Response:
        address = f"{request.url.path}?{request.url.query}"
        page = self._kept.page(self.news.version(), address, render)
        tag = f'"{sha256(page).hexdigest()[:20]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return _html(page, etag=tag)

    def error(self, request: Request, error: Exception) -> Response:
        """A page, or JSON where a script asked, that says what was wrong."""
        status, title, words = 500, "Not shown", "Something went wrong here."
        if isinstance(error, PageError):
            status, title, words = error.status, error.title, error.words
        elif isinstance(error, HTTPException):
            status, title = error.status_code, "Not found"
            words = "There is no such page." if status == 404 else str(error.detail)
        elif isinstance(error, ExplorerError | WardroundError):
            status, title, words = 503, "Not readable now", str(error)
        if "text/html" not in request.headers.get("accept", "text/html"):
            return JSONResponse({"error": words}, status_code=status)
        try:
            index = self.explorer.index()
        except (WardroundError, OSError):
            index = None
        body = self.explorer.pages.render("error.html", index=index, title=title, words=words)
        return _html(body, status=status)


def create_app(explorer: Explorer, hosts: list[str] | None = None) -> Starlette:
    """Make the application.

    Args:
        explorer: what it shows.
        hosts: names that it may be called by, so that no page from elsewhere can reach a server
            on loopback under a name of its own (DNS rebinding); by default any.
    """
    pages = Site(explorer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
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
    handlers: dict[Any, Any] = {
        PageError: pages.error,
        HTTPException: pages.error,
        WardroundError: pages.error,
    }
    return Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/study/{study}", pages.study),
            Route("/study/{study}/round/{round}", pages.round),
            Route("/study/{study}/round/{round}/bytes", pages.round_bytes),
            Route("/study/{study}/round/{round}/replay", pages.replay),
            Route("/study/{study}/evidence.zip", pages.evidence),
            Route("/study/{study}/round/{round}/evidence.zip", pages.evidence),
            Route("/site/{address}", pages.site),
            Route("/events", pages.events),
            Route("/events.{kind}", pages.export),
            Route("/block/{block}", pages.block),
            Route("/block/{block}/log/{index}", pages.event),
            Route("/transaction/{transaction}", pages.transaction),
            Route("/search", pages.search),
            Route("/object/{cid}", pages.object),
            Route("/object/{cid}/raw", pages.raw),
            Route("/live", pages.live),
            *api_routes(explorer.reader, explorer.objects.store),
            Mount("/static", StaticFiles(directory=urls.STATIC)),
        ],
        middleware=middleware,
        exception_handlers=handlers,
        lifespan=lifespan,
    )


def _html(page: bytes, status: int = 200, etag: str | None = None) -> Response:
    headers = {"cache-control": "no-cache"}
    if etag is not None:
        headers["etag"] = etag
    return Response(page, status, headers, media_type="text/html")


def _study(request: Request) -> str:
    return parameters.hex32(request.path_params["study"], "study")


def _round(request: Request) -> tuple[str, int, str | None]:
    number = parameters.number(request.path_params["round"], "round", 1, _NUMBER_MAX)
    block = parameters.given(request.query_params, "block")
    return (
        _study(request),
        number,
        None if block is None else parameters.hex32(block, "block"),
    )
