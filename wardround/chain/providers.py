"""Connections to a node, by HTTP or a local socket: they notice that it is gone."""

from __future__ import annotations

import select
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from web3.providers import BaseProvider, HTTPProvider, JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wardround.host.silence import CONNECT_SECONDS, silence_options

_RECEIVE_BYTES = 1 << 16
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class LocalSocketProvider(JSONBaseProvider):
    """A node on a local socket. Unlike web3's own, it notices that the node has gone."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request, as web3 asks it."""
        answer: RPCResponse = self._exchange(self.encode_rpc_request(method, params))
        return answer

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> Any:
        """Answer several requests, as web3 asks them."""
        return self._exchange(self.encode_batch_rpc_request(requests))

    def disconnect(self) -> None:
        """Close the socket; the next request opens it again."""
        with self._lock:
            self._close()

    def _exchange(self, request: bytes) -> Any:
        with self._lock:
            try:
                connection = self._connection or self._connect()
                connection.sendall(request + b"\n")
                return self._receive(connection)
            except BaseException:
                # What is left of an answer must not be taken for the next one.
                self._close()
                raise

    def _connect(self) -> socket.socket:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(self._timeout_seconds)
        self._connection.connect(self._path)
        return self._connection

    def _receive(self, connection: socket.socket) -> Any:
        answer = bytearray()
        while part := connection.recv(_RECEIVE_BYTES):
            answer += part
            # Of the end alone: answers may have many megabytes. More of it may lie ready.
            more = select.select([connection], [], [], 0)[0]
            if part.rstrip()[-1:] in (b"}", b"]") and not more:
                try:
                    return self.decode_rpc_response(bytes(answer))
                except ValueError:
                    continue  # that bracket was not the last one
        raise ConnectionError("the node closed the connection")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, *silence_options()]


class _AttentiveAdapter(HTTPAdapter):
    """Connections that notice when the network is silent."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pool, as requests asks for it."""
        super().init_poolmanager(*arguments, **named, socket_options=_SOCKET_OPTIONS)

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        """Make the pool of a proxy."""
        return super().proxy_manager_for(*arguments, **named, socket_options=_SOCKET_OPTIONS)


class WebProvider(HTTPProvider):
    """web3's provider for HTTP with a connection that is kept, and can be closed."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._own_session = requests.Session()
        # Looking for proxies takes a millisecond a request, and there are none to this machine.
        self._own_session.trust_env = urlsplit(url).hostname not in _LOOPBACK
        for scheme in ("http://", "https://"):
            self._own_session.mount(scheme, _AttentiveAdapter())
        self._own_session.hooks["response"].append(_raise_where_told_to_wait)
        connect_seconds = min(CONNECT_SECONDS, timeout_seconds)
        super().__init__(
            url,
            request_kwargs={"timeout": (connect_seconds, timeout_seconds)},
            session=self._own_session,
            # The retries are ours: web3's own leave out the sending of transactions.
            exception_retry_configuration=None,
        )

    def disconnect(self) -> None:
        """Close the connection; the next request opens it again."""
        self._own_session.close()


def _raise_where_told_to_wait(response: requests.Response, **_: Any) -> None:
    # Some gateways name the time beside an error under status 200; web3 passes no headers on.
    if "Retry-After" in response.headers and not response.is_redirect:
        raise requests.HTTPError(response=response)


def provider_of(url: str, timeout_seconds: float) -> BaseProvider | None:
    """The web3 provider for an address, None when it names none."""
    if url.startswith(("http://", "https://")):
        return WebProvider(url, timeout_seconds)
    if url.startswith("ipc://"):
        return LocalSocketProvider(url.removeprefix("ipc://"), timeout_seconds)
    return None
