"""Endpoints that report a retryable error in other words, or under another status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account

from tests.store.served import HttpAnswer, served
from wardround.chain.chain import open_chain
from wardround.chain.errors import ChainUnreachable, RpcRefused

CHAIN = 5
BALANCE = 7 * 10**18
WHERE = Account.from_key(b"\x21" * 32).address


Answering = Callable[[str, list[Any]], HttpAnswer]


# ---------------------------------------------------------------- too many requests

LIMITED_SECONDS = 1.2

gives_up = pytest.mark.xfail(
    strict=True,
    raises=ChainUnreachable,
    reason="it gives up after 0.7 s, whatever Retry-After says",
)
takes_for_an_answer = pytest.mark.xfail(
    strict=True, raises=RpcRefused, reason="a limit on requests is taken for the node's last word"
)
TOO_MANY = {"code": -32005, "message": "rate limit exceeded, retry in 1s"}

LIMITS = {
    "429": (HttpAnswer("Too Many Requests", 429, {"Retry-After": "1"}), gives_up),
    "429 with an error": (HttpAnswer({"error": TOO_MANY}, 429, {"Retry-After": "1"}), gives_up),
    "429 without a time": (HttpAnswer({"error": TOO_MANY}, 429), gives_up),
    "503": (HttpAnswer("Service Unavailable", 503, {"Retry-After": "1"}), gives_up),
    "an error": (HttpAnswer({"error": TOO_MANY}), takes_for_an_answer),
    "an error of its own": (
        HttpAnswer({"error": {"code": 429, "message": "Too Many Requests"}}),
        takes_for_an_answer,
    ),
}


@pytest.mark.parametrize(
    "limit", [pytest.param(answer, id=name, marks=mark) for name, (answer, mark) in LIMITS.items()]
)
def test_endpoint_that_asks_for_patience_is_asked_again(limit: HttpAnswer) -> None:
    """A caller waits as long as the endpoint asks, and goes on by itself."""
    limited_until: list[float] = []

    def answering(method: str, _: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        if not limited_until:
            limited_until.append(time.monotonic() + LIMITED_SECONDS)
        if time.monotonic() < limited_until[0]:
            return limit
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

unreachable = pytest.mark.xfail(
    strict=True,
    raises=ChainUnreachable,
    reason="an answer under another status than 200 is not read, and its endpoint called silent",
)
TOO_LONG = {"code": -32602, "message": "query exceeds max block range 30"}


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


@pytest.mark.parametrize(
    "status",
    [200, *(pytest.param(one, marks=unreachable) for one in (400, 413, 403, 500))],
)
def test_logs_are_asked_for_in_parts_whatever_status_tells_of_the_limit(status: int) -> None:
    """The body names the request's fault; providers send it under various statuses."""

    def answering(method: str, parameters: list[Any]) -> HttpAnswer:
        if method == "eth_chainId":
            return HttpAnswer({"result": hex(CHAIN)})
        first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
        if last - first >= MOST_BLOCKS:
            return HttpAnswer({"error": TOO_LONG}, status)
        return HttpAnswer(
            {"result": [log_at(block) for block in LOGGED_AT if first <= block <= last]}
        )

    with served(answering) as url:
        chain = open_chain(url, CHAIN)
        try:
            found = chain.logs(WHERE, (), 0, 100)
        finally:
            chain.close()
    assert [log.block_number for log in found] == list(LOGGED_AT)


@pytest.mark.parametrize(
    "status", [200, *(pytest.param(one, marks=unreachable) for one in (400, 500))]
)
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


def test_gateway_that_answers_with_a_page_is_unreachable() -> None:
    """A page of HTML is no answer of a node, so there is nothing in it to read."""

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
