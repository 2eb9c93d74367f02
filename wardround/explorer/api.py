"""The JSON API: the index over HTTP, read-only, described at ``/api/openapi.json`` by FastAPI.

An operation is one of the queries that pages and commands use too; its answer is one of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema, core_schema

from wardround.explorer.errors import ExplorerError, NotIndexed, QueryInvalid
from wardround.explorer.events import EventFilter, list_events, read_block, read_transaction
from wardround.explorer.parameters import NUMBER_MAX, ROUND_MAX, address, hex32, number
from wardround.explorer.reader import PAGE_ROWS, Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.rows import (
    BlockDetail,
    ChartRow,
    EventRow,
    Health,
    Hit,
    OpenRoundDetail,
    Page,
    Reorganisation,
    RoundDetail,
    RoundRow,
    SiteDetail,
    StudyDetail,
    StudyRow,
    TransactionDetail,
)
from wardround.explorer.search import LONGEST, search
from wardround.explorer.sites import read_site
from wardround.explorer.studies import list_studies, read_study, series, study_rounds
from wardround.protocol.errors import Malformed, WardroundError
from wardround.store import Store
from wardround.store.errors import ObjectMissing, ObjectSealed, StoreError

#: For answers that cannot change; a year is the longest that caches keep anything.
_FOR_GOOD = "public, max-age=31536000, immutable"
_PIECE_BYTES = 1 << 18


class ErrorDocument(BaseModel):
    """The kind of error and one sentence; with the indexed blocks where something is not there."""

    error: str
    message: str
    first_block: int | SkipJsonSchema[None] = None
    last_block: int | SkipJsonSchema[None] = None


# ---------------------------------------------------------------- parameters


@dataclass(frozen=True)
class _Reads:
    """How a parameter is read, and the JSON schema that describes it."""

    read: Callable[[str], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # FastAPI passes defaults through, which are not text.
        return core_schema.no_info_plain_validator_function(
            lambda value: self.read(value) if isinstance(value, str) else value
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema)


def _hex32(name: str) -> _Reads:
    schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$", "maxLength": 66}
    return _Reads(partial(hex32, name=name), schema)


def _address(name: str) -> _Reads:
    # A mix of cases is right or wrong by EIP-55's checksum, which no pattern can state.
    schema = {"type": "string", "pattern": "^0x([0-9a-f]{40}|[0-9A-F]{40})$", "maxLength": 42}
    return _Reads(partial(address, name=name), schema)


def _whole(name: str, low: int = 0, high: int = NUMBER_MAX, **more: int) -> _Reads:
    schema = {"type": "integer", "minimum": low, "maximum": high, **more}
    return _Reads(partial(number, name=name, low=low, high=high), schema)


def _text(name: str, pattern: str, length: int) -> _Reads:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise QueryInvalid(name, f"expected text that matches {pattern}")
        return text.lower() if text.startswith("0x") else text

    return _Reads(read, {"type": "string", "pattern": pattern, "maxLength": length})


def _asked(text: str) -> str:
    if len(text) > LONGEST:
        raise QueryInvalid("q", f"expected at most {LONGEST} characters")
    return text


_Study = Annotated[str, _hex32("study"), Path(description="The study's id.")]
_Round = Annotated[int, _whole("round", 1, ROUND_MAX), Path(description="The round, from 1.")]
_Cursor = Annotated[
    str | None, _text("cursor", "^[0-9]{1,18}$", 18), Query(description="`next` of a page.")
]
_Limit = Annotated[int, _whole("limit", 1, PAGE_ROWS), Query(description="Rows of a page.")]
_Block = Annotated[
    str,
    _text("block", "^([0-9]{1,15}|0x[0-9a-fA-F]{64})$", 66),
    Path(description="Its number, or its hash."),
]
_Cid = Annotated[str, _text("cid", "^b[a-z2-7]{20,120}$", 121), Path(description="Its CID.")]


# ---------------------------------------------------------------- answers


class _ApiRoute(APIRoute):
    """Checks which parameters are given, tags answers, and writes errors as documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        known = {one.alias: one.field_info.is_required() for one in self.dependant.query_params}

        async def handle(request: Request) -> Response:
            try:
                _check_query(request, known)
                return _tagged(request, await answer(request))
            except (ExplorerError, Malformed, StoreError) as error:
                return _failure(error)

        return handle


def _check_query(request: Request, known: Mapping[str, bool]) -> None:
    asked = [name for name, _ in request.query_params.multi_items()]
    for name in asked:
        if name not in known:
            raise QueryInvalid(name[:40], f"there is no such parameter here; know {list(known)}")
        if asked.count(name) > 1:
            raise QueryInvalid(name, "it is given twice")
    for name, required in known.items():
        if required and name not in asked:
            raise QueryInvalid(name, "it is missing")


def _tagged(request: Request, response: Response) -> Response:
    """An answer with its ETag, or 304 where the client has it already."""
    headers = response.headers
    if "etag" not in headers:
        headers["etag"] = f'"{sha256(response.body).hexdigest()[:32]}"'
    # Otherwise clients ask again, and get 304 while nothing has changed.
    headers.setdefault("cache-control", "no-cache")
    headers["x-content-type-options"] = "nosniff"
    if headers["etag"] in request.headers.get("if-none-match", "").replace("W/", "").split(", "):
        del headers["content-length"]
        return Response(status_code=304, headers=dict(headers))
    return response


def _failure(error: WardroundError) -> Response:
    if isinstance(error, NotIndexed):
        blocks = {"first_block": error.first_block, "last_block": error.last_block}
        return _error(404, "NotIndexed", str(error), **blocks)
    status = 503
    if isinstance(error, QueryInvalid):
        status = 400
    # Also a name that the pattern allows, and that no object can have.
    elif isinstance(error, (ObjectMissing, Malformed)):
        status = 404
    elif isinstance(error, StoreError):
        status = 403 if isinstance(error, ObjectSealed) else 502
    return _error(status, type(error).__name__, str(error))


def _error(status: int, kind: str, message: str, **blocks: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    document = ErrorDocument(error=kind, message=message, **blocks)
    return JSONResponse(document.model_dump(exclude_none=True), status, headers=headers)


def _errors(**sentences: str) -> dict[int | str, dict[str, Any]]:
    """Descriptions of error documents by status."""
    return {
        # Named, so that FastAPI describes no 422, which is never sent.
        "default": {"model": ErrorDocument, "description": "The index cannot be read now."},
        **{
            status.removeprefix("s"): {"model": ErrorDocument, "description": words}
            for status, words in sentences.items()
        },
        "304": {"description": "It is what If-None-Match names."},
    }


_LISTED = _errors(s400="A parameter is unknown, repeated or malformed.")
_NAMED = _LISTED | _errors(s404="Not in the indexed blocks, which the answer names.")


# ---------------------------------------------------------------- operations


def described_app(reader: Reader, store: Store | None, **more: Any) -> FastAPI:
    """An application with everything below ``/api``, and its description.

    Args:
        reader: the index.
        store: where objects are; None without one.
        more: as FastAPI takes it.
    """
    app = FastAPI(
        title="wardround explorer",
        version="1",
        summary="What happened in the studies of one WardRound contract.",
        description=(
            "Read-only. Hashes, roots and addresses are lower-case hexadecimal with 0x, amounts "
            "decimal text in the token's smallest unit, times seconds since 1970. `extent` names "
            "the indexed blocks: an answer covers these and no others."
        ),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        **more,
    )
    api = APIRouter(prefix="/api", route_class=_ApiRoute)

    def get(path: str, name: str, summary: str, **more: Any) -> Callable[[Callable[..., Any]], Any]:
        def add(operation: Callable[..., Any]) -> Any:
            described = {"responses": _NAMED if "{" in path else _LISTED, **more}
            api.get(path, operation_id=name, summary=summary, **described)(operation)
            # Unlike Starlette's routes, FastAPI's do not answer HEAD where they answer GET.
            return api.head(path, include_in_schema=False, **described)(operation)

        return add

    @get("/health", "health", "How far the index is, and the error that keeps it from going on.")
    def health() -> Health:
        return reader.health()

    @get(
        "/reorganisations",
        "reorganisations",
        "Reorganisations that the index has followed, the latest first.",
    )
    def reorganisations() -> list[Reorganisation]:
        return reader.reorganisations()

    @get("/studies", "studies", "All studies, the newest first.")
    def studies(cursor: _Cursor = None, limit: _Limit = 50) -> Page[StudyRow]:
        return list_studies(reader, cursor, limit)

    @get("/studies/{study}", "study", "A study: parameters, sites, coordinators, funds.")
    def study(study: _Study) -> StudyDetail:
        return read_study(reader, study)

    @get(
        "/studies/{study}/rounds", "rounds", "Its closings, the newest first, with overturned ones."
    )
    def rounds(study: _Study, cursor: _Cursor = None, limit: _Limit = 50) -> Page[RoundRow]:
        return study_rounds(reader, study, cursor, limit)

    @get(
        "/studies/{study}/series",
        "series",
        "Its charts: weights, rewards and metrics of each round that was not overturned.",
    )
    def charts(
        study: _Study,
        limit: _Limit = PAGE_ROWS,
        before: Annotated[
            int | None, _whole("before", 1, ROUND_MAX), Query(description="Only earlier rounds.")
        ] = None,
    ) -> list[ChartRow]:
        return series(reader, study, limit, before)

    @get("/studies/{study}/open-round", "openRound", "The open round.")
    def open_round(study: _Study) -> OpenRoundDetail:
        return read_open_round(reader, study)

    @get(
        "/studies/{study}/rounds/{round}",
        "round",
        "A closed round: its valid closing, or a named one.",
    )
    def closed_round(
        study: _Study,
        round: _Round,
        commitment: Annotated[
            str | None, _hex32("commitment"), Query(description="Of another closing.")
        ] = None,
    ) -> RoundDetail:
        return read_round(reader, study, round, commitment)

    @get("/sites/{site}", "site", "A site over all studies: all it signed, earned and was paid.")
    def site(
        site: Annotated[str, _address("site"), Path(description="Its address.")],
        cursor: _Cursor = None,
        limit: _Limit = 50,
    ) -> SiteDetail:
        return read_site(reader, site, cursor, limit)

    @get("/events", "events", "Events, decoded and raw. All conditions must hold.")
    def events(
        study: Annotated[str | None, _hex32("study"), Query(description="Of this study.")] = None,
        round: Annotated[
            int | None, _whole("round", 0, ROUND_MAX), Query(description="Of this round.")
        ] = None,
        site: Annotated[str | None, _address("site"), Query(description="Of this site.")] = None,
        address: Annotated[
            str | None, _address("address"), Query(description="With this address anywhere.")
        ] = None,
        name: Annotated[
            str | None,
            _text("name", "^[A-Za-z]{1,40}$", 40),
            Query(description="Of this name, such as RoundClosed."),
        ] = None,
        from_block: Annotated[
            int | None, _whole("from_block"), Query(description="Not before this block.")
        ] = None,
        to_block: Annotated[
            int | None, _whole("to_block"), Query(description="Not after this block.")
        ] = None,
        order: Annotated[
            str,
            _text("order", "^(newest|oldest)$", 6),
            Query(description="Which come first."),
        ] = "newest",
        cursor: _Cursor = None,
        limit: _Limit = 50,
    ) -> Page[EventRow]:
        chosen = EventFilter(study, round, site, address, name, from_block, to_block)
        return list_events(reader, chosen, cursor, limit, newest_first=order == "newest")

    @get("/transactions/{transaction}", "transaction", "A transaction with its events.")
    def transaction(
        transaction: Annotated[str, _hex32("transaction"), Path(description="Its hash.")],
        response: Response,
    ) -> TransactionDetail:
        found = read_transaction(reader, transaction)
        if found.sender is not None and all(one.final for one in found.events):
            response.headers["cache-control"] = _FOR_GOOD
        return found

    @get("/blocks/{block}", "block", "A block with its events. By its hash it is a permanent link.")
    def block(block: _Block, response: Response) -> BlockDetail:
        found = read_block(reader, block)
        if found.final:
            response.headers["cache-control"] = _FOR_GOOD
        return found

    @get(
        "/search",
        "search",
        "Find anything: address, hash, root, CID, round, block, or part of a name.",
    )
    def find(
        q: Annotated[
            str,
            _Reads(_asked, {"type": "string", "maxLength": LONGEST}),
            Query(description="What to look for."),
        ],
    ) -> list[Hit]:
        return search(reader, q)

    @get(
        "/objects/{cid}",
        "object",
        "An object of the content store, verified against its name.",
        response_class=StreamingResponse,
        responses={
            "200": {"description": "Its bytes.", "content": {"application/octet-stream": {}}},
            **_errors(
                s400="It is not a CID.",
                s403="It is encrypted, and this explorer has no key to it.",
                s404="The store does not have it, or there is no store.",
                s502="The store has other bytes under this name.",
            ),
        },
    )
    def content(cid: _Cid) -> Response:
        if store is None:
            return _error(404, "NoStore", "this explorer has no content store.")
        data = store.map(cid)
        headers = {
            "Cache-Control": _FOR_GOOD,
            "ETag": f'"{cid}"',
            "Content-Length": str(len(data)),
            "Content-Disposition": f'attachment; filename="{cid}"',
        }
        return StreamingResponse(
            _pieces(data), headers=headers, media_type="application/octet-stream"
        )

    @api.api_route("/{rest:path}", methods=["GET", "HEAD"], include_in_schema=False)
    def nothing(request: Request) -> Response:
        return _error(404, "NotFound", f"there is no {request.url.path}: see /api/openapi.json.")

    app.include_router(api)
    return app


def _pieces(data: memoryview) -> Iterator[bytes]:
    """An object in pieces: it may be larger than what one wants to hold."""
    for start in range(0, len(data), _PIECE_BYTES):
        yield bytes(data[start : start + _PIECE_BYTES])
