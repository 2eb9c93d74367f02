"""One JSON-RPC request over a web3 provider: retried, with every failure named."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from web3.exceptions import Web3Exception
from web3.providers import BaseProvider, HTTPProvider, JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wardround.chain.errors import ChainUnreachable, RpcRefused
from wardround.host.backoff import pauses
from wardround.host.reason import reason_of
from wardround.host.silence import CONNECT_SECONDS, silence_options

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.1

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITIES = frozenset(
    f"eth_{name}"
    for name in (
        *("chainId", "blockNumber", "getBalance", "getTransactionCount"),
        *("estimateGas", "gasPrice", "maxPriorityFeePerGas"),
    )
)
_DATA = frozenset({"eth_call", "eth_getCode"})
_NAMED = {
    "eth_getBlockByNumber": {"number", "timestamp", "gasLimit", "transactions"},
    "eth_getTransactionReceipt": {"blockNumber", "status", "gasUsed", "logs"},
    "eth_getTransactionByHash": {"hash", "from", "nonce", "input"},
}
_RECEIVE_BYTES = 1 << 16
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Rpc:
    """Requests to one node. Every request that we make may be repeated without harm."""

    def __init__(self, provider: BaseProvider, url: str, attempts: int = ATTEMPTS) -> None:
        self.provider = provider
        self.url = url
        self._attempts = attempts

    def __call__(self, method: str, *parameters: Any) -> Any:
        """Ask the node.

        Raises:
            ChainUnreachable: no answer after several attempts.
            RpcRefused: the node answers with an error.
        """
        return self._result(
            method, self._ask(lambda: self.provider.make_request(RPCEndpoint(method), parameters))
        )

    def many(self, requests_: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Ask several things at once, where the provider can; answers are in the order asked.

        Raises:
            As for one request; the first refusal is raised.
        """
        batch = getattr(self.provider, "make_batch_request", None)
        if batch is None or len(requests_) < 2:
            return [self(method, *parameters) for method, parameters in requests_]
        asked = [(RPCEndpoint(method), parameters) for method, parameters in requests_]
        answers = self._ask(lambda: batch(asked))
        if isinstance(answers, dict):  # one error for all of them
            self._result("batch", answers)
        # A node may answer in any order; ids are given in the order asked.
        try:
            ordered = sorted(answers, key=lambda answer: int(answer["id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ChainUnreachable(self.url, "it does not speak JSON-RPC") from error
        if len(ordered) != len(asked):
            raise ChainUnreachable(self.url, "it leaves out answers")
        return [
            self._result(method, answer)
            for (method, _), answer in zip(requests_, ordered, strict=True)
        ]

    def close(self) -> None:
        """Let go of the connection; the next request opens it again."""
        closing = getattr(self.provider, "disconnect", None)
        if closing is not None:
            closing()

    def _ask(self, request: Callable[[], Any]) -> Any:
        pause = pauses(FIRST_PAUSE_SECONDS)
        for attempt in range(1, self._attempts + 1):
            try:
                return request()
            except (requests.RequestException, OSError, HTTPException, Web3Exception) as error:
                # Few attempts mean that there are other endpoints: no second wait.
                hangs = isinstance(error, requests.Timeout | TimeoutError)
                if attempt == self._attempts or (hangs and self._attempts < ATTEMPTS):
                    raise ChainUnreachable(self.url, _reason(error)) from error
            except (ValueError, RecursionError) as error:  # an answer that is not JSON
                raise ChainUnreachable(self.url, "it does not speak JSON-RPC") from error
            time.sleep(next(pause))
        raise AssertionError("the last attempt returns or raises")

    def _result(self, method: str, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise ChainUnreachable(self.url, "it does not speak JSON-RPC")
        if answer.get("error") is not None:
            raise _refused(method, answer["error"])
        if "result" not in answer:
            raise ChainUnreachable(self.url, "it does not speak JSON-RPC")
        result = answer["result"]
        if not _fits(method, result):
            raise ChainUnreachable(self.url, "it does not speak Ethereum")
        return result


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


def provider_of(url: str, timeout_seconds: float) -> BaseProvider | None:
    """The web3 provider for an address, None when it names none."""
    if url.startswith(("http://", "https://")):
        return WebProvider(url, timeout_seconds)
    if url.startswith("ipc://"):
        return LocalSocketProvider(url.removeprefix("ipc://"), timeout_seconds)
    return None


def _fits(method: str, result: Any) -> bool:
    """Whether a result has the form that the method promises, for those that we read."""
    if method in _QUANTITIES:
        return isinstance(result, str) and _QUANTITY.fullmatch(result) is not None
    if method in _DATA:
        return isinstance(result, str) and _BYTES.fullmatch(result) is not None
    if method in _NAMED:
        needed = _NAMED[method]
        return result is None or (isinstance(result, dict) and needed <= result.keys())
    return method != "eth_getLogs" or isinstance(result, list)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "timeout"
    if isinstance(error, requests.ConnectionError):
        return "connection refused or lost"
    return reason_of(error)


def _refused(method: str, error: Any) -> RpcRefused:
    if not isinstance(error, dict):
        return RpcRefused(method, 0, str(error), None)
    data = error.get("data")
    found: bytes | None = None
    if isinstance(data, str) and data.startswith("0x"):
        try:
            found = bytes.fromhex(data[2:])
        except ValueError:
            found = None
    return RpcRefused(method, int(error.get("code", 0)), str(error.get("message", "")), found)
