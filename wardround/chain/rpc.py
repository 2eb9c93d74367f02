"""One JSON-RPC request over a web3 provider: waited for, retried, with every failure named."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.client import HTTPException
from typing import Any, TypeVar

import requests
from web3.exceptions import Web3Exception
from web3.providers import BaseProvider
from web3.types import RPCEndpoint

from wardround.chain.errors import ChainBusy, ChainUnreachable, RpcRefused
from wardround.chain.meaning import BATCH, LOGS, Meaning, RpcAnswer, RpcProblem, judge
from wardround.chain.portion import Portion
from wardround.host.backoff import pauses
from wardround.host.reason import reason_of

ATTEMPTS = 4
#: A gateway that misses its node takes longer to find it again than a connection to be made.
_GATEWAY_ATTEMPTS = 7
#: How long one request may wait for an endpoint that asks for patience: beyond a minute's window.
PATIENCE_SECONDS = 90.0
FIRST_PAUSE_SECONDS = 0.1
_LAST_PAUSE_SECONDS = 8.0
#: A person hears of waits from here on.
_TOLD_SECONDS = 1.0

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_Request = tuple[str, tuple[Any, ...]]


class Rpc:
    """Requests to one node. Every request that we make may be repeated without harm."""

    def __init__(
        self,
        provider: BaseProvider,
        url: str,
        attempts: int = ATTEMPTS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Begin; nothing is asked yet.

        Args:
            provider: the connection.
            url: names the endpoint in errors.
            attempts: how often a request is made where nothing answers.
            patience_seconds: how long a request waits in all, where the endpoint asks for it.
        """
        self.provider = provider
        self.url = url
        self._attempts = attempts
        self._patience_seconds = patience_seconds
        self._log_blocks = Portion()
        self._batch_requests = Portion()

    @property
    def log_blocks(self) -> Portion:
        """How many blocks' logs the endpoint gives at once."""
        return self._log_blocks

    def __call__(self, method: str, *parameters: Any) -> Any:
        """Ask the node.

        Raises:
            ChainBusy: the endpoint asks for more patience than there is.
            ChainUnreachable: no answer after several attempts.
            RpcRefused: the node answers with an error.
        """
        return self._patiently(partial(self._once, method, parameters))

    def many(self, requests_: Sequence[_Request]) -> list[Any]:
        """Ask several things at once, where the provider can; answers are in the order asked.

        Raises:
            As for one request; the first refusal is raised.
        """
        batch = getattr(self.provider, "make_batch_request", None)
        found: list[Any] = []
        while rest := requests_[len(found) :]:
            together = self._batch_requests.part_of(len(rest))
            if batch is not None and together > 1:
                found += self._patiently(partial(self._batched, batch, rest[:together]))
            else:
                method, parameters = rest[0]
                found.append(self(method, *parameters))
                self._batch_requests.answered(1)
        return found

    def logs(self, query: Mapping[str, Any], first: int, last: int) -> list[Any]:
        """Ask for the logs of a range of blocks, in as few parts as the endpoint takes.

        Args:
            query: addresses and topics, as `eth_getLogs` has them.
            first: the first block.
            last: the last block.

        Raises:
            As for one request.
        """
        found: list[Any] = []
        while first <= last:
            until = first + self.log_blocks.part_of(last - first + 1) - 1
            try:
                found += self(LOGS, {**query, "fromBlock": hex(first), "toBlock": hex(until)})
            except RpcRefused as error:
                if error.meaning is not Meaning.RANGE_LIMITED:
                    raise
            else:
                first = until + 1
        return found

    def close(self) -> None:
        """Let go of the connection; the next request opens it again."""
        closing = getattr(self.provider, "disconnect", None)
        if closing is not None:
            closing()

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask again as long as the endpoint asks for patience, and there is some left."""
        left, pause = self._patience_seconds, busy_pauses()
        while True:
            try:
                return ask()
            except ChainBusy as error:
                if error.wait_seconds is None:
                    wait = min(next(pause), left)
                else:
                    wait = max(error.wait_seconds, FIRST_PAUSE_SECONDS)
                if wait > left or left <= 0:
                    raise
                if wait >= _TOLD_SECONDS:
                    _log.warning("%s: %s; asking again in %.0f s", self.url, error.reason, wait)
                left -= wait
                time.sleep(wait)

    def _once(self, method: str, parameters: tuple[Any, ...]) -> Any:
        asked = _asked(method, parameters)
        request = partial(self.provider.make_request, RPCEndpoint(method), parameters)
        try:
            result = self._ask(method, asked, request)["result"]
        except RpcRefused as error:
            if error.meaning is Meaning.RANGE_LIMITED:
                self._log_blocks.refused(asked, error.at_once)
            raise
        if method == LOGS:
            self._log_blocks.answered(asked)
        return result

    def _batched(self, batch: Callable[[Any], Any], part: Sequence[_Request]) -> list[Any]:
        """Answers to the first of some requests made together; none where these are too many."""
        asked = [(RPCEndpoint(method), parameters) for method, parameters in part]
        try:
            answers = self._ask(BATCH, len(part), partial(batch, asked))
        except RpcRefused as error:
            if error.meaning is not Meaning.RANGE_LIMITED:
                raise
            self._batch_requests.refused(len(part), error.at_once)
            return []
        # A node may answer in any order; ids are given in the order asked.
        try:
            ordered = sorted(answers, key=lambda answer: int(answer["id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ChainUnreachable(self.url, "it does not speak JSON-RPC") from error
        if len(ordered) != len(part):
            raise ChainUnreachable(self.url, "it leaves out answers")
        found: list[Any] = []
        for (method, parameters), answer in zip(part, ordered, strict=True):
            problem = judge(method, _asked(method, parameters), RpcAnswer(answer))
            if problem is not None and found and problem.meaning is Meaning.RATE_LIMITED:
                return found  # the rest is asked for again
            if problem is not None:
                raise self._error(method, problem)
            found.append(answer["result"])
        self._batch_requests.answered(len(part))
        return found

    def _ask(self, method: str, asked: int, request: Callable[[], Any]) -> Any:
        pause = pauses(FIRST_PAUSE_SECONDS)
        # Few attempts mean that there are other endpoints: no second wait.
        few = self._attempts < ATTEMPTS
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = _answer(request)
            except (requests.RequestException, OSError, HTTPException, Web3Exception) as error:
                hangs = isinstance(error, requests.Timeout | TimeoutError)
                if attempt >= self._attempts or (hangs and few):
                    raise ChainUnreachable(self.url, _reason(error)) from error
            except (ValueError, RecursionError) as error:  # an answer that is not JSON
                raise ChainUnreachable(self.url, "it does not speak JSON-RPC") from error
            else:
                problem = judge(method, asked, answer)
                if problem is None:
                    return answer.body
                # A gateway may find its node again; a node that talks nonsense goes on so.
                away = problem.meaning is Meaning.UNREACHABLE and answer.status >= 500
                if not away or attempt >= (self._attempts if few else _GATEWAY_ATTEMPTS):
                    raise self._error(method, problem)
            time.sleep(next(pause))

    def _error(self, method: str, problem: RpcProblem) -> ChainUnreachable | RpcRefused:
        if problem.meaning is Meaning.UNREACHABLE:
            return ChainUnreachable(self.url, problem.message)
        if problem.meaning is Meaning.RATE_LIMITED:
            return ChainBusy(self.url, problem.message, problem.wait_seconds)
        return RpcRefused(
            method,
            problem.rpc_code,
            problem.message,
            problem.data,
            problem.meaning,
            problem.at_once,
        )


def busy_pauses() -> Iterator[float]:
    """Pauses between requests to an endpoint that asks for patience without a time."""
    return pauses(FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)


def _answer(request: Callable[[], Any]) -> RpcAnswer:
    try:
        return RpcAnswer(request())
    except requests.HTTPError as error:
        if error.response is None:
            raise
        response = error.response
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = response.text
    return RpcAnswer(body, response.status_code, response.headers)


def _asked(method: str, parameters: tuple[Any, ...]) -> int:
    """How much is asked for at once: the blocks of a query of logs, 1 of anything else."""
    if method != LOGS:
        return 1
    try:
        return int(parameters[0]["toBlock"], 16) - int(parameters[0]["fromBlock"], 16) + 1
    except (LookupError, TypeError, ValueError):  # named, such as "latest"
        return 1


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "timeout"
    if isinstance(error, requests.ConnectionError):
        return "connection refused or lost"
    return reason_of(error)
