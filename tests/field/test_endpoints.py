"""Endpoints that report a retryable error in other words, or under another status."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from eth_account import Account

from tests.store.served import HttpAnswer, served
from wardround.chain import rpc
from wardround.chain.chain import open_chain
from wardround.chain.errors import ChainUnreachable, RpcRefused

CHAIN = 5
BALANCE = 7 * 10**18
WHERE = Account.from_key(b"\x21" * 32).address


Answering = Callable[[str, list[Any]], HttpAnswer]


# ---------------------------------------------------------------- too many requests

LIMITED_SECONDS = 0.8
TOO_MANY = {"code": -32005, "message": "rate limit exceeded, retry in 1s"}

LIMITS: dict[str, HttpAnswer | Callable[[], HttpAnswer]] = {
    "429": HttpAnswer("Too Many Requests", 429, {"Retry-After": "1"}),
    "429 with an error": HttpAnswer({"error": TOO_MANY}, 429, {"Retry-After": "1"}),
    "429 without a time": HttpAnswer({"error": {"code": 429, "message": "slow down"}}, 429),
    "429 until a date": lambda: HttpAnswer(
        "Too Many Requests", 429, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    ),
    "503": HttpAnswer("Service Unavailable", 503, {"Retry-After": "1"}),
    "503 without a time": HttpAnswer("<html>Service Unavailable</html>", 503),
    "403 with an error": HttpAnswer({"error": TOO_MANY}, 403),
    "an error": HttpAnswer({"error": TOO_MANY}),
    "an error beside a time": HttpAnswer(
        {"error": {"code": -32005, "message": "limit exceeded"}}, 200, {"Retry-After": "1"}
    ),
    "an error of its own": HttpAnswer({"error": {"code": 429, "message": "Too Many Requests"}}),
    "an error with a number of its own": HttpAnswer({"error": {"code": -32029, "message": "no"}}),
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_endpoint_that_asks_for_patience_is_asked_again(
    limit: HttpAnswer | Callable[[], HttpAnswer],
) -> None:
    """A caller waits as long as the endpoint asks, and goes on by itself."""
    limited_until: list[float] = []

    def answering(method: str, _: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        if not limited_until:
            limited_until.append(time.monotonic() + LIMITED_SECONDS)
        if time.monotonic() < limited_until[0]:
            return limit() if callable(limit) else limit
        return HttpAnswer({"result": hex(BALANCE)})

    with served(answering) as url:
        chain = open_chain(url, CHAIN)
        try:
            assert chain.balance_wei(WHERE) == BALANCE
        finally:
            chain.close()


# ---------------------------------------------------------------- limits on logs

MOST_BLOCKS = 30
LOGGED_AT = (3, 40, 41, 99)

TOO_LONG = {"code": -32602, "message": "query exceeds max block range 30"}
#: How other providers word it: by range, results, size or time, as an error or as a page.
TOO_MUCH: dict[str, HttpAnswer] = {
    "suggests a range": HttpAnswer(
        {"error": {"code": -32600, "message": "this block range should work: [0x0, 0x9]. Upgrade"}},
        400,
    ),
    "by results": HttpAnswer({"error": {"code": -32005, "message": "more than 10000 results"}}),
    "by size": HttpAnswer(
        {"error": {"code": -32020, "message": "backend response too large"}}, 500
    ),
    "by time": HttpAnswer({"error": {"code": -32005, "message": "query timeout exceeded"}}),
    "by plan": HttpAnswer(
        {"error": {"code": 35, "message": "ranges over 30 blocks are not supported on freetier"}},
        400,
    ),
    "in the data": HttpAnswer(
        {
            "error": {
                "code": -32602,
                "message": "invalid params",
                "data": {"payload": "range 101 is bigger than range limit 30"},
            }
        },
        400,
    ),
    "limit exceeded": HttpAnswer({"error": {"code": -32005, "message": "limit exceeded"}}),
    "a page": HttpAnswer("<html>413 Content Too Large</html>", 413),
    "no time": HttpAnswer("<html>504 Gateway Time-out</html>", 504),
}


def log_at(block: int) -> dict[str, Any]:
    return {
        "address": WHERE,
        "topics": ["0x" + "11" * 32],
        "data": "0x",
        "blockNumber": hex(block),
        "blockHash": "0x" + "22" * 32,
        "transactionHash": "0x" + f"{block:064x}",
        "transactionIndex": "0x0",
        "logIndex": "0x0",
        "removed": False,
    }


@pytest.mark.parametrize("status", [200, 400, 413, 403, 500])
def test_logs_are_asked_for_in_parts_whatever_status_tells_of_the_limit(status: int) -> None:
    """The body names the request's fault; providers send it under various statuses."""

    def answering(method: str, parameters: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        return logged(parameters, HttpAnswer({"error": TOO_LONG}, status))

    assert blocks_with_logs(answering) == list(LOGGED_AT)


@pytest.mark.parametrize("refusal", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_logs_are_asked_for_in_parts_whatever_words_tell_of_the_limit(refusal: HttpAnswer) -> None:
    """No caller knows the providers by name."""

    def answering(method: str, parameters: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        return logged(parameters, refusal)

    assert blocks_with_logs(answering) == list(LOGGED_AT)


def test_logs_of_a_limited_endpoint_that_is_limited_in_requests_too() -> None:
    """Both limits at once: it waits for the one, and divides for the other."""
    asked = 0

    def answering(method: str, parameters: list[Any]) -> HttpAnswer:
        nonlocal asked
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        asked += 1
        if asked % 2:
            return HttpAnswer({"error": {"code": -32005, "message": "try again in 10 ms"}}, 429)
        return logged(parameters, HttpAnswer({"error": TOO_LONG}, 400))

    assert blocks_with_logs(answering) == list(LOGGED_AT)


def logged(parameters: list[Any], refusal: HttpAnswer) -> HttpAnswer:
    first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
    if last - first >= MOST_BLOCKS:
        return refusal
    return HttpAnswer({"result": [log_at(block) for block in LOGGED_AT if first <= block <= last]})


def blocks_with_logs(answering: Answering) -> list[int]:
    with served(answering) as url:
        chain = open_chain(url, CHAIN)
        try:
            return [log.block_number for log in chain.logs(WHERE, (), 0, 100)]
        finally:
            chain.close()


@pytest.mark.parametrize("status", [200, 400, 500])
def test_refusal_of_the_node_is_told_in_its_own_words_under_any_status(status: int) -> None:
    """The node answers, so it is reached."""

    def answering(method: str, _: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        return HttpAnswer({"error": {"code": -32601, "message": "no such method here"}}, status)

    with served(answering) as url:
        chain = open_chain(url, CHAIN)
        try:
            with pytest.raises(RpcRefused, match="no such method here"):
                chain.balance_wei(WHERE)
        finally:
            chain.close()


def test_gateway_that_answers_with_a_page_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of HTML is no answer of a node, so there is nothing in it to read."""
    monkeypatch.setattr(rpc, "FIRST_PAUSE_SECONDS", 0.01)

    def answering(method: str, _: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        return HttpAnswer("<html>Bad Gateway</html>", 502)

    with served(answering) as url:
        chain = open_chain(url, CHAIN)
        try:
            with pytest.raises(ChainUnreachable, match="502"):
                chain.balance_wei(WHERE)
        finally:
            chain.close()
