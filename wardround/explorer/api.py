"""The JSON API: the index over HTTP, read-only, described at ``/api/openapi.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from wardround.explorer.errors import ExplorerError, NotIndexed, QueryInvalid
from wardround.explorer.openapi import (
    CURSOR,
    LIMIT,
    Arguments,
    Operation,
    Parameter,
    describe,
    hexadecimal,
    whole,
)
from wardround.explorer.reader import EventFilter, Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.search import LONGEST, search
from wardround.explorer.sites import read_site
from wardround.explorer.studies import list_studies, read_study, series, study_rounds
from wardround.explorer.views import (
    Block,
    EventRow,
    Health,
    Hit,
    OpenRound,
    Page,
    Point,
    Reorganisation,
    Round,
    RoundSummary,
    SiteActivity,
    Study,
    StudySummary,
    Transaction,
)
from wardround.protocol.errors import Malformed
from wardround.store import Store
from wardround.store.errors import ObjectMissing, ObjectSealed, StoreError

#: What one may keep for good: a year is as long as caches take it to be.
_FOR_GOOD = "public, max-age=31536000, immutable"
#: Everything else is asked for again, and not sent again when it is the same.
_ASK_AGAIN = "no-cache"
_PIECE_BYTES = 1 << 18
_LARGEST_ROUND = 2**32 - 1

_STUDY = hexadecimal("study", "path", "The study's id.", 32)
_ROUND = whole("round", "path", "The round, from 1.", 1, _LARGEST_ROUND)
_PAGED = (CURSOR, LIMIT)


def _filter(arguments: Arguments) -> EventFilter:
    names = ("study", "round", "site", "address", "name", "from_block", "to_block")
    return EventFilter(**{name: arguments.get(name) for name in names})


def _page(arguments: Arguments) -> tuple[str | None, int]:
    return arguments.get("cursor"), arguments.get("limit", 50)


OPERATIONS = (
    Operation(
        "/api/health",
        "health",
        "How far the index is, and whether anything is in its way.",
        Health,
        lambda reader, _: reader.health(),
    ),
    Operation(
        "/api/reorganisations",
        "reorganisations",
        "Blocks that the chain gave up, the latest first.",
        list[Reorganisation],
        lambda reader, _: reader.reorganisations(),
    ),
    Operation(
        "/api/studies",
        "studies",
        "All studies, the newest first.",
        Page[StudySummary],
        lambda reader, given: list_studies(reader, *_page(given)),
        _PAGED,
    ),
    Operation(
        "/api/studies/{study}",
        "study",
        "A study: parameters, sites, coordinators, funds.",
        Study,
        lambda reader, given: read_study(reader, given["study"]),
        (_STUDY,),
    ),
    Operation(
        "/api/studies/{study}/rounds",
        "rounds",
        "Its closings, the newest first, overturned ones too.",
        Page[RoundSummary],
        lambda reader, given: study_rounds(reader, given["study"], *_page(given)),
        (_STUDY, *_PAGED),
    ),
    Operation(
        "/api/studies/{study}/series",
        "series",
        "Its charts: scores, weights, rewards and metrics of each round that stands.",
        list[Point],
        lambda reader, given: series(
            reader, given["study"], given.get("limit", 500), given.get("before")
        ),
        (_STUDY, LIMIT, whole("before", "query", "Only rounds before it.", 1, _LARGEST_ROUND)),
    ),
    Operation(
        "/api/studies/{study}/open-round",
        "openRound",
        "The round being worked on.",
        OpenRound,
        lambda reader, given: read_open_round(reader, given["study"]),
        (_STUDY,),
    ),
    Operation(
        "/api/studies/{study}/rounds/{round}",
        "round",
        "A closed round: the closing that stands, or the one that is named.",
        Round,
        lambda reader, given: read_round(
            reader, given["study"], given["round"], given.get("commitment")
        ),
        (_STUDY, _ROUND, hexadecimal("commitment", "query", "Of another closing.", 32)),
    ),
    Operation(
        "/api/sites/{site}",
        "site",
        "A site over all studies: everything it signed, was scored and was paid.",
        SiteActivity,
        lambda reader, given: read_site(reader, given["site"], *_page(given)),
        (hexadecimal("site", "path", "Its address.", 20), *_PAGED),
    ),
    Operation(
        "/api/events",
        "events",
        "Events, decoded beside raw. Everything that is given must hold.",
        Page[EventRow],
        lambda reader, given: reader.events(
            _filter(given), *_page(given), newest_first=given.get("order") != "oldest"
        ),
        (
            hexadecimal("study", "query", "Of this study.", 32),
            whole("round", "query", "Of this round.", 0, _LARGEST_ROUND),
            hexadecimal("site", "query", "About this site.", 20),
            hexadecimal("address", "query", "That name this address anywhere.", 20),
            Parameter(
                "name",
                "query",
                "Of this name, such as RoundClosed.",
                {"type": "string", "pattern": "^[A-Za-z]{1,40}$", "maxLength": 40},
            ),
            whole("from_block", "query", "Not before this block."),
            whole("to_block", "query", "Not after this block."),
            Parameter(
                "order",
                "query",
                "Which come first.",
                {"type": "string", "enum": ["newest", "oldest"], "default": "newest"},
            ),
            *_PAGED,
        ),
    ),
    Operation(
        "/api/transactions/{transaction}",
        "transaction",
        "A transaction with its events.",
        Transaction,
        lambda reader, given: reader.transaction(given["transaction"]),
        (hexadecimal("transaction", "path", "Its hash.", 32),),
        lasts=lambda found: found.sender is not None and all(one.final for one in found.events),
    ),
    Operation(
        "/api/blocks/{block}",
        "block",
        "A block with its events. By its hash it is a permanent link.",
        Block,
        lambda reader, given: reader.block(given["block"]),
        (
            Parameter(
                "block",
                "path",
                "Its number, or its hash.",
                {
                    "type": "string",
                    "pattern": "^([0-9]{1,15}|0x[0-9a-fA-F]{64})$",
                    "maxLength": 66,
                },
                required=True,
            ),
        ),
        lasts=lambda found: found.final,
    ),
    Operation(
        "/api/search",
        "search",
        "Find anything: address, hash, root, CID, round, block, or part of a name.",
        list[Hit],
        lambda reader, given: search(reader, given["q"]),
        (
            Parameter(
                "q",
                "query",
                "What to look for.",
                {"type": "string", "minLength": 0, "maxLength": LONGEST},
                required=True,
            ),
        ),
    ),
)

_CID = Parameter(
    "cid",
    "path",
    "The object's CID.",
    {"type": "string", "pattern": "^b[a-z2-7]{20,120}$", "maxLength": 121},
    required=True,
)

_OBJECT_PATH = {
    "get": {
        "operationId": "object",
        "summary": "An object of the content store, verified against its name.",
        "parameters": [_CID.document()],
        "responses": {
            "200": {
                "description": "Its bytes.",
                "content": {"application/octet-stream": {"schema": {}}},
            },
            "304": {"description": "It is what If-None-Match names."},
            **{
                status: {
                    "description": words,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                }
                for status, words in (
                    ("400", "It is no CID."),
                    ("403", "It is encrypted, and this explorer has no key to it."),
                    ("404", "The store does not have it, or there is no store."),
                    ("502", "The store has other bytes under this name."),
                )
            },
        },
    }
}


class _Endpoint:
    """Answers one operation."""

    def __init__(self, operation: Operation, reader: Reader) -> None:
        self._operation = operation
        self._reader = reader
        self._known = {one.name: one for one in operation.parameters}

    async def respond(self, request: Request) -> Response:
        try:
            arguments = _arguments(request, self._known)
            answer, body = await run_in_threadpool(self._answer, arguments)
        except (ExplorerError, Malformed) as error:
            return _failure(error)
        lasts = self._operation.lasts(answer)
        return cached(request, body, "application/json", for_good=lasts)

    def _answer(self, arguments: Arguments) -> tuple[Any, bytes]:
        answer = self._operation.read(self._reader, arguments)
        return answer, self._operation.answers.dump_json(answer)


def api_routes(reader: Reader, store: Store | None) -> list[BaseRoute]:
    """What to mount: everything below ``/api``.

    Args:
        reader: the index.
        store: where objects are; None where there is none.
    """
    description = describe(OPERATIONS, {"/api/objects/{cid}": _OBJECT_PATH})
    body = json.dumps(description, indent=1).encode()

    async def openapi(request: Request) -> Response:
        return cached(request, body, "application/json", for_good=False)

    async def nothing(request: Request) -> Response:
        return _error(404, "NotFound", f"there is no {request.url.path}: see /api/openapi.json.")

    routes: list[BaseRoute] = [Route("/api/openapi.json", openapi)]
    # Starlette takes the braces of OpenAPI for the same thing.
    routes += [Route(one.path, _Endpoint(one, reader).respond) for one in OPERATIONS]
    routes.append(Route("/api/objects/{cid}", _Object(store).respond))
    routes.append(Mount("/api", routes=[Route("/{rest:path}", nothing)]))
    return routes


class _Object:
    """Gives objects of the store, in pieces: they may be larger than what one wants to hold."""

    def __init__(self, store: Store | None) -> None:
        self._store = store

    async def respond(self, request: Request) -> Response:
        try:
            cid = _arguments(request, {"cid": _CID})["cid"]
            if self._store is None:
                return _error(404, "NoStore", "this explorer knows no content store.")
            data = await run_in_threadpool(self._store.map, cid)
        except QueryInvalid as error:
            return _failure(error)
        except (ObjectMissing, Malformed) as error:
            # Well formed by its description, and yet no name that an object here can have.
            return _error(404, type(error).__name__, str(error))
        except ObjectSealed as error:
            return _error(403, type(error).__name__, str(error))
        except StoreError as error:
            return _error(502, type(error).__name__, str(error))
        headers = {
            "Cache-Control": _FOR_GOOD,
            "ETag": f'"{cid}"',
            "Content-Length": str(len(data)),
            "Content-Disposition": f'attachment; filename="{cid}"',
            "X-Content-Type-Options": "nosniff",
        }
        if _is_known(request, headers["ETag"]):
            del headers["Content-Length"]
            return Response(status_code=304, headers=headers)
        return StreamingResponse(
            _pieces(data), media_type="application/octet-stream", headers=headers
        )


def cached(request: Request, body: bytes, kind: str, *, for_good: bool) -> Response:
    """An answer with its ETag, or that the asker has it already."""
    headers = {
        "ETag": f'"{sha256(body).hexdigest()[:32]}"',
        "Cache-Control": _FOR_GOOD if for_good else _ASK_AGAIN,
        "X-Content-Type-Options": "nosniff",
    }
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


def _is_known(request: Request, tag: str) -> bool:
    return tag in request.headers.get("if-none-match", "").replace("W/", "").split(", ")


def _pieces(data: memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield bytes(data[start : start + _PIECE_BYTES])


def _arguments(request: Request, known: dict[str, Parameter]) -> Arguments:
    """Read path and query by what is known.

    Raises:
        QueryInvalid: a parameter is missing, unknown, repeated, or means nothing.
    """
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known or known[name].place != "query":
            raise QueryInvalid(name[:40], f"there is no such parameter here; know {list(known)}")
        if name in found:
            raise QueryInvalid(name, "it is given twice")
        found[name] = known[name].read(text)
    for name, text in request.path_params.items():
        found[name] = known[name].read(text)
    for name, one in known.items():
        if one.required and name not in found:
            raise QueryInvalid(name, "it is missing")
    return found


def _failure(error: Exception) -> Response:
    if isinstance(error, NotIndexed):
        return _error(
            404,
            "NotIndexed",
            str(error),
            first_block=error.first_block,
            last_block=error.last_block,
        )
    status = 400 if isinstance(error, (QueryInvalid, Malformed)) else 503
    return _error(status, type(error).__name__, str(error))


def _error(status: int, kind: str, message: str, **more: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse({"error": kind, "message": message, **more}, status, headers=headers)
