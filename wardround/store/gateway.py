"""A gateway to a vault over HTTP: documents are public, the rest is for granted accounts.

Requests for sealed objects and key rings, and uploads, are signed (`wardround.store.request`); for
each one the contract is asked whether the signer has a grant.
The gateway has no key to anything it serves.

| request | answer |
| --- | --- |
| ``GET /documents/CID`` | a public document |
| ``GET /sealed/STUDY/CID`` | what the content of this CID was sealed into |
| ``GET /rings/STUDY`` | the study's key rings, a JSON list |
| ``GET /cids/STUDY`` | the CIDs of all contents, a JSON list |
| ``PUT /sealed/STUDY/CID``, ``POST /rings/STUDY`` | 204, when it is kept |
"""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from wardround.chain.errors import ChainError
from wardround.chain.grants import Grants
from wardround.protocol.errors import Malformed, SignatureInvalid
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge
from wardround.store.key_ring import RING_MAX_BYTES, read_ring
from wardround.store.request import HEADER, TOLERANCE_SECONDS, Request, read_request
from wardround.store.sealing import read_header
from wardround.store.vault import LocalVault

_PART_BYTES = 1 << 18
#: Nonces of a minute that are remembered; beyond, requests are refused until some are old.
_NONCES_MAX = 200_000
_SEALED_MAX_BYTES = 1 << 32


class _Nonces:
    """Which nonces were seen, for as long as their requests would be good."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def take(self, nonce: bytes, now: float) -> None:
        with self._lock:
            if len(self._until) >= _NONCES_MAX:
                self._until = {one: end for one, end in self._until.items() if end >= now}
            if len(self._until) >= _NONCES_MAX:
                raise HTTPException(503, "too many requests: try again in a minute")
            if self._until.get(nonce, -1.0) >= now:
                raise HTTPException(401, "this request was made before")
            self._until[nonce] = now + 2 * TOLERANCE_SECONDS


class Gateway:
    """The requests of one vault."""

    def __init__(self, vault: LocalVault, grants: Grants, clock: Callable[[], float]) -> None:
        """Serve a vault.

        Args:
            vault: where objects are.
            grants: who may read.
            clock: seconds since 1970.
        """
        self._vault = vault
        self._grants = grants
        self._clock = clock
        self._nonces = _Nonces()

    def app(self) -> Starlette:
        """The web application."""
        return Starlette(
            routes=[
                Route("/documents/{cid}", self._document),
                Route("/sealed/{study}/{cid}", self._sealed),
                Route("/sealed/{study}/{cid}", self._keep_sealed, methods=["PUT"]),
                Route("/rings/{study}", self._rings),
                Route("/rings/{study}", self._keep_ring, methods=["POST"]),
                Route("/cids/{study}", self._cids),
            ],
            exception_handlers={
                ObjectMissing: _answer(404),
                ObjectAltered: _answer(502),
                ObjectTooLarge: _answer(413),
                Malformed: _answer(400),
                SignatureInvalid: _answer(401),
                ChainError: _answer(503),
            },
        )

    # ---------------------------------------------------------------- reading

    def _document(self, request: HttpRequest) -> Response:
        return _streamed(self._vault.document(request.path_params["cid"]))

    def _sealed(self, request: HttpRequest) -> Response:
        study, _ = self._granted(request)
        return _streamed(self._vault.sealed(study, request.path_params["cid"]))

    def _rings(self, request: HttpRequest) -> Response:
        study, _ = self._granted(request)
        return JSONResponse([data.decode("utf-8") for data in self._vault.rings(study)])

    def _cids(self, request: HttpRequest) -> Response:
        study, _ = self._granted(request)
        return JSONResponse(list(self._vault.cids(study)))

    # ---------------------------------------------------------------- writing

    async def _keep_sealed(self, request: HttpRequest) -> Response:
        study, data = await self._received(request, _SEALED_MAX_BYTES)
        header = read_header(data)
        if (header.study, header.cid) != (study, request.path_params["cid"]):
            raise Malformed("sealed object", "it is another one than the path names")
        epoch = await run_in_threadpool(self._grants.epoch, study)
        if header.epoch != epoch:
            raise HTTPException(
                409, f"it is of epoch {header.epoch}, and now is {epoch}: seal it again"
            )
        await run_in_threadpool(self._vault.keep_sealed, study, header.cid, data)
        return Response(status_code=204)

    async def _keep_ring(self, request: HttpRequest) -> Response:
        study, data = await self._received(request, RING_MAX_BYTES)
        if read_ring(data, self._grants.domain).study != study:
            raise Malformed("key ring", "it is of another study than the path names")
        await run_in_threadpool(self._vault.keep_ring, study, bytes(data))
        return Response(status_code=204)

    async def _received(self, request: HttpRequest, max_bytes: int) -> tuple[StudyId, memoryview]:
        """Take a body, once it is known that its sender may bring one. It is on disk, unnamed."""
        study, signed = await run_in_threadpool(self._granted, request)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or not 0 < int(length) <= max_bytes:
            raise HTTPException(413, f"give a Content-Length of 1 to {max_bytes}")
        digest, received = sha256(), 0
        with tempfile.TemporaryFile() as file:
            async for part in request.stream():
                received += len(part)
                if received > int(length):
                    raise HTTPException(413, "more was sent than Content-Length says")
                digest.update(part)
                await run_in_threadpool(file.write, part)
            file.flush()
            if received != int(length) or digest.digest() != signed.body:
                raise HTTPException(401, "the body is not the one that was signed")
            mapped = mmap.mmap(file.fileno(), received, access=mmap.ACCESS_READ)
        return study, memoryview(mapped)

    def _granted(self, request: HttpRequest) -> tuple[StudyId, Request]:
        """Find who asks, and whether the chain lets him, now."""
        study = StudyId(bytes32(request.path_params["study"], "study"))
        signed, signer = read_request(
            request.headers.get(HEADER, ""),
            study,
            request.method,
            request.url.path,
            self._grants.domain,
        )
        now = self._clock()
        if abs(now - signed.time) > TOLERANCE_SECONDS:
            raise HTTPException(401, f"the request is of {signed.time}, and now is {int(now)}")
        if not self._grants.is_granted(study, signer):
            raise HTTPException(403, f"{signer} has no grant for this study")
        self._nonces.take(signed.nonce, now)
        return study, signed


def _streamed(data: memoryview) -> Response:
    def parts() -> Iterator[bytes]:
        for start in range(0, len(data), _PART_BYTES):
            yield bytes(data[start : start + _PART_BYTES])

    headers = {"Content-Length": str(len(data))}
    return StreamingResponse(parts(), headers=headers, media_type="application/octet-stream")


def _answer(status: int) -> Callable[[HttpRequest, Exception], Response]:
    def answer(_: HttpRequest, error: Any) -> Response:
        return PlainTextResponse(f"{error}\n", status)

    return answer
