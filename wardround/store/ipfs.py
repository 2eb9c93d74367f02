"""A content store in an IPFS daemon, over the HTTP RPC that Kubo and js-ipfs share.

Objects have the CIDs that `wardround.protocol.cid` computes, so a daemon that would name them
otherwise is refused, and what it returns is verified like a file's bytes. Objects that count are
those pinned; the daemon is trusted to keep them, and to know that it does.
"""

from __future__ import annotations

import base64
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ipfshttpclient
from ipfshttpclient import exceptions

from wardround.host.backoff import pauses
from wardround.host.reason import reason_of
from wardround.protocol.cid import Cid, cid_of, sha256_of_cid
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectTooLarge,
    StoreUnreachable,
    store_refused,
)

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.2

_OBJECT_NAME = re.compile(r"b[a-z2-7]{58}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ADD = {
    "cid-version": "1",
    "chunker": "size-1048576",
    "raw-leaves": "true",
    "pin": "true",
    "cid-base": "base32",
}
#: Kubo answers with the first, js-ipfs with the second.
_NOT_PINNED = ("is not pinned", "not pinned")

# ipfshttpclient names an argument that urllib3 no longer needs, once a connection.
warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning)


class IpfsStore(Store):
    """The pinned objects of a daemon."""

    def __init__(self, host: str, port: int, timeout_seconds: float = 30) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            host: of the daemon; its RPC has no passwords, so it should be this machine or a proxy.
            port: of its RPC.
            timeout_seconds: how long it may be silent.
        """
        self.url = f"ipfs://{host}:{port}"
        kind = "ip4" if re.fullmatch(r"[0-9.]+", host) else "dns"
        # `connect` would ask for the version, and refuses daemons of today.
        self._client = ipfshttpclient.Client(
            f"/{kind}/{host}/tcp/{port}/http", timeout=timeout_seconds
        )

    def put(self, data: bytes | memoryview) -> Cid:
        """Add and pin an object. See `Store.put`.

        Raises:
            StoreUnreachable: the daemon does not answer.
            StoreError: it refuses, or gives the object another CID.
        """
        view = memoryview(data).cast("B")
        cid = cid_of(view)
        named = self._asked(lambda: self._client.add_bytes(bytes(view), opts=dict(_ADD)), cid)
        if named != cid:
            raise store_refused(self.url, f"it names {cid} {named!r:.80}, so it adds otherwise")
        return cid

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Read and verify an object. See `Store.get`.

        Raises:
            StoreUnreachable: the daemon does not answer.
        """
        data: bytes = self._asked(lambda: self._read(cid, max_bytes), cid)
        return data

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        return memoryview(self.get(cid, max_bytes))

    def has(self, cid: str) -> bool:
        """Whether an object of this CID is pinned. See `Store.has`."""
        sha256_of_cid(cid)
        try:
            self._asked(lambda: self._client.pin.ls(cid, type="recursive"), cid)
        except ObjectMissing:
            return False
        return True

    def cids(self) -> Iterator[Cid]:
        """Name every pinned object that could be ours. See `Store.cids`."""
        found = self._asked(lambda: self._client.pin.ls(type="recursive"), "")
        keys = _field(found, "Keys")
        if not isinstance(keys, Iterable) or isinstance(keys, str):
            raise store_refused(self.url, "it lists no pins")
        names = (_in_base32(str(name)) for name in keys)
        return iter(sorted(Cid(name) for name in names if _OBJECT_NAME.fullmatch(name)))

    def close(self) -> None:
        self._client.close()

    # ---------------------------------------------------------------- inside

    def _read(self, cid: str, max_bytes: int) -> bytes:
        sha256_of_cid(cid)
        # Asked first: a daemon would look for what it lacks in the whole network.
        self._client.pin.ls(cid, type="recursive")
        stat = self._client.files.stat(f"/ipfs/{cid}")
        size = _field(stat, "Size")
        if not isinstance(size, int) or size < 0:
            raise store_refused(self.url, f"it does not say how long {cid} is")
        if size > max_bytes:
            raise ObjectTooLarge(cid, size, max_bytes)
        data = bytearray()
        with self._client.cat(cid, stream=True) as parts:
            for part in parts:
                data += part
                # Bounds the memory, whatever size was announced.
                if len(data) > size:
                    raise ObjectAltered(cid, f"more than {size} bytes", self.url)
        found = cid_of(memoryview(data))
        if found != cid:
            raise ObjectAltered(cid, found, self.url)
        return bytes(data)

    def _asked(self, ask: Callable[[], Any], cid: str) -> Any:
        pause = pauses(FIRST_PAUSE_SECONDS)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except exceptions.ErrorResponse as error:
                if any(words in str(error) for words in _NOT_PINNED):
                    raise ObjectMissing(cid, self.url) from error
                raise store_refused(self.url, reason_of(error)) from error
            except (exceptions.StatusError, exceptions.EncoderError, RecursionError) as error:
                raise store_refused(self.url, reason_of(error)) from error
            except (exceptions.CommunicationError, OSError) as error:
                if attempt == ATTEMPTS:
                    raise StoreUnreachable(self.url, _why_silent(error)) from error
            time.sleep(next(pause))
        raise AssertionError("the last attempt returns or raises")


def _in_base32(name: str) -> str:
    """A CIDv1 as we spell it: js-ipfs lists them in base58. Anything else stays as it is."""
    if not re.fullmatch(rf"z[{_BASE58}]{{48,50}}", name):
        return name
    number = 0
    for letter in name[1:]:
        number = 58 * number + _BASE58.index(letter)
    binary = number.to_bytes(40, "big").lstrip(b"\0")
    return "b" + base64.b32encode(binary).decode("ascii").lower().rstrip("=")


def _field(found: Any, name: str) -> Any:
    try:
        return found[name]
    except (KeyError, TypeError, IndexError):
        return None


def _why_silent(error: Exception) -> str:
    """Why a daemon gave no answer, without the library's addresses and retries."""
    if isinstance(error, exceptions.ConnectionError):
        return "connection refused or lost, or no such host"
    if isinstance(error, exceptions.TimeoutError):
        return "no answer in time"
    return reason_of(error)
