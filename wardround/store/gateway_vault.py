"""A vault behind a gateway: what it sends is not trusted, and read only as far as it may go."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from eth_account.signers.local import LocalAccount

from wardround.host.reason import reason_of
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import Cid, cid_of, sha256_of_cid
from wardround.protocol.contribution import Domain
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.store.base import MAX_OBJECT_BYTES
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectTooLarge,
    StoreUnreachable,
    not_granted,
    store_refused,
)
from wardround.store.request import HEADER, Request
from wardround.store.vault import DOCUMENT_MAX_BYTES, Vault

_LIST_MAX_BYTES = 1 << 26
_WORDS_MAX = 300
_SILENCES = 10


class GatewayVault(Vault):
    """A vault at the address of a gateway."""

    def __init__(
        self,
        url: str,
        domain: Domain,
        account: LocalAccount | None,
        clock: Callable[[], float],
        timeout_seconds: float = 30,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            url: of the gateway.
            domain: of the Grants contract.
            account: signs requests; None to read documents only.
            clock: seconds since 1970.
            timeout_seconds: how long the gateway may be silent; an answer may take ten times as
                long in all.
        """
        self.url = url.rstrip("/")
        self._domain = domain
        self._account = account
        self._clock = clock
        self._whole_seconds = _SILENCES * timeout_seconds
        self._client = httpx.Client(timeout=timeout_seconds, follow_redirects=False)

    def document(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        sha256_of_cid(cid)
        data = self._asked("GET", f"/documents/{cid}", None, b"", max_bytes, cid)
        found = cid_of(data)
        if found != cid:
            raise ObjectAltered(cid, found, self.url)
        return memoryview(data)

    def keep_document(self, data: memoryview) -> Cid:
        raise store_refused(self.url, "documents come from the study's own store")

    def sealed(self, study: StudyId, cid: str) -> memoryview:
        sha256_of_cid(cid)
        path = f"/sealed/{hex_of(study)}/{cid}"
        return memoryview(self._asked("GET", path, study, b"", MAX_OBJECT_BYTES, cid))

    def keep_sealed(self, study: StudyId, cid: str, data: memoryview) -> None:
        sha256_of_cid(cid)
        self._asked("PUT", f"/sealed/{hex_of(study)}/{cid}", study, bytes(data), 0, cid)

    def rings(self, study: StudyId) -> list[bytes]:
        return [text.encode() for text in self._list(f"/rings/{hex_of(study)}", study)]

    def keep_ring(self, study: StudyId, data: bytes) -> None:
        self._asked("POST", f"/rings/{hex_of(study)}", study, data, 0, "")

    def cids(self, study: StudyId) -> Iterator[Cid]:
        return iter([Cid(text) for text in self._list(f"/cids/{hex_of(study)}", study)])

    def close(self) -> None:
        self._client.close()

    def _list(self, path: str, study: StudyId) -> list[str]:
        data = self._asked("GET", path, study, b"", _LIST_MAX_BYTES, "")
        try:
            found: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise store_refused(self.url, "it answers with no JSON") from error
        # CIDs and canonical rings are ASCII; half of a surrogate pair could not even be encoded.
        if not isinstance(found, list) or not all(
            isinstance(one, str) and one.isascii() for one in found
        ):
            raise store_refused(self.url, "it answers with no list of texts")
        return found

    def _asked(
        self, method: str, path: str, study: StudyId | None, body: bytes, max_bytes: int, cid: str
    ) -> bytes:
        headers = {}
        if study is not None:
            if self._account is None:
                raise not_granted("a process without a key", hex_of(study))
            now, nonce = int(self._clock()), os.urandom(32)
            request = Request(study, method, path, sha256_digest(body), now, nonce)
            headers[HEADER] = request.header(self._domain, self._account)
        deadline = time.monotonic() + self._whole_seconds
        try:
            with self._client.stream(
                method, self.url + path, headers=headers, content=body or None
            ) as answer:
                if answer.status_code == 403 and study is not None and self._account is not None:
                    raise not_granted(self._account.address, hex_of(study))
                if answer.status_code == 404:
                    raise ObjectMissing(cid, self.url)
                allowed = max_bytes if answer.is_success else DOCUMENT_MAX_BYTES
                data = bytearray()
                # As it arrives: pieces of a fixed size could take any time to fill.
                for part in answer.iter_raw():
                    data += part
                    if time.monotonic() > deadline:
                        reason = f"its answer took more than {self._whole_seconds:g} seconds"
                        raise StoreUnreachable(self.url, reason)
                    if len(data) > allowed:
                        raise ObjectTooLarge(cid, len(data), allowed)
        except httpx.HTTPError as error:
            raise StoreUnreachable(self.url, reason_of(error)) from error
        if not answer.is_success:
            words = data[:_WORDS_MAX].decode("utf-8", "replace").strip()
            raise store_refused(self.url, f"status {answer.status_code}, {words}")
        return bytes(data)
