"""What answers mean, in the words and under the statuses of real providers and nodes."""

from collections.abc import Mapping
from typing import Any

import pytest

from wardround.chain.errors import RpcRefused
from wardround.chain.meaning import BATCH, LOGS, Meaning, RpcAnswer, RpcProblem, judge

BLOCKS = 1_000_000


def problem_of(
    error: Any, method: str = "eth_call", asked: int = 1, status: int = 200, **headers: str
) -> RpcProblem:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = judge(method, asked, RpcAnswer({"id": 1, "error": error}, status, named))
    assert found is not None
    return found


def error(code: int, message: str, data: Any = None) -> dict[str, Any]:
    return {"code": code, "message": message} | ({} if data is None else {"data": data})


RATE_LIMITS = {
    "EIP-1474": error(-32005, "limit exceeded"),
    "Alchemy": error(
        429,
        "Your app has exceeded its compute units per second capacity. If you have retries "
        "enabled, you can safely ignore this message.",
    ),
    "Infura": error(-32005, "project ID request rate exceeded", {"rate": {"backoff_seconds": 30}}),
    "Infura, a day's": error(-32005, "daily request count exceeded, request rate limited"),
    "QuickNode": error(-32007, "50/second request limit reached - reduce calls per second"),
    "Ankr": error(-32029, "too many requests"),
    "Polygon": error(-32090, "Too many requests, reason: call rate limit exhausted, retry in 10s"),
    "proxyd": error(-32016, "over rate limit"),
    "proxyd without a node": error(-32011, "backend is currently not healthy to serve traffic"),
    "Hedera": error(-32605, "IP Rate limit exceeded on eth_getLogs"),
    "proxyd without any": error(-32011, "no backends available for method"),
    "concurrent": error(-32000, "Unable to perform request: too many concurrent requests"),
    "BlockPI": error(-32000, "exceeded the quota usage"),
    "by the number alone": error(-32029, "no"),
    "text": "Too Many Requests",
}


@pytest.mark.parametrize("name", RATE_LIMITS)
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_limit_on_requests_is_one_in_any_words_under_any_status(name: str, status: int) -> None:
    if status != 200 and isinstance(RATE_LIMITS[name], str):
        return
    assert problem_of(RATE_LIMITS[name], status=status).meaning is Meaning.RATE_LIMITED


@pytest.mark.parametrize("name", sorted(RATE_LIMITS.keys() - {"EIP-1474"}))
def test_limit_on_requests_is_no_limit_on_logs(name: str) -> None:
    assert problem_of(RATE_LIMITS[name], LOGS, BLOCKS).meaning is Meaning.RATE_LIMITED


#: Passing troubles of a gateway, which a range of logs does not change either.
TROUBLES = {
    "a number of its own": error(19, "Temporary internal error. Please retry, trace-id: x"),
    "try": error(-32000, "Something went wrong: please try again"),
}
#: Of one request; a query of many blocks may be too wide instead.
SINGLE_TROUBLES = {
    "a limit": error(-32000, "limit exceeded"),
    "request timed out": error(-32000, "request timed out"),
    "timeout": error(-32603, "Timeout"),
    "gateway": error(-32000, "gateway timeout"),
}


@pytest.mark.parametrize("name", TROUBLES | SINGLE_TROUBLES)
@pytest.mark.parametrize("status", [200, 400, 500, 502])
def test_trouble_that_passes_is_waited_for(name: str, status: int) -> None:
    found = problem_of((TROUBLES | SINGLE_TROUBLES)[name], status=status)
    assert found.meaning is Meaning.RATE_LIMITED


@pytest.mark.parametrize("name", TROUBLES | SINGLE_TROUBLES)
def test_trouble_that_passes_is_told_from_a_range_that_is_too_wide(name: str) -> None:
    found = problem_of((TROUBLES | SINGLE_TROUBLES)[name], LOGS, BLOCKS)
    expected = Meaning.RATE_LIMITED if name in TROUBLES else Meaning.RANGE_LIMITED
    assert found.meaning is expected


def test_gateway_in_trouble_takes_a_transaction_later_and_a_full_pool_does_not() -> None:
    sent = "eth_sendRawTransaction"
    assert problem_of(TROUBLES["a number of its own"], sent, status=500).meaning is (
        Meaning.RATE_LIMITED
    )
    for status in (200, 500):
        refused = problem_of(error(-32000, "nonce too low"), sent, status=status)
        assert refused.meaning is Meaning.REFUSED


@pytest.mark.parametrize(
    "message", ["out of gas", "gas limit exceeded", "max code size limit exceeded"]
)
def test_what_a_contract_brings_about_is_not_waited_for(message: str) -> None:
    assert problem_of(error(-32000, message)).meaning is Meaning.REFUSED


WAITS: dict[str, tuple[Mapping[str, str], Any, float | None]] = {
    "seconds": ({"Retry-After": "7"}, "", 7),
    "a date": (
        {
            "Date": "Fri, 31 Dec 1999 23:59:30 GMT",
            "Retry-After": "Sat, 01 Jan 2000 00:00:15 GMT",
        },
        "",
        45,
    ),
    "a date that has passed": (
        {
            "Date": "Fri, 31 Dec 1999 23:59:30 GMT",
            "Retry-After": "Fri, 31 Dec 1999 23:59:00 GMT",
        },
        "",
        None,
    ),
    "a date beside no clock": ({"Retry-After": "Sat, 01 Jan 2000 00:00:15 GMT"}, "", None),
    "the header before the words": ({"Retry-After": "7"}, "retry in 3s", 7),
    "nothing": ({}, "", None),
    "at once": ({"Retry-After": "0"}, "", None),
    "nonsense": ({"Retry-After": "soon"}, "", None),
    "words": ({}, "rate limit exceeded, retry in 10s", 10),
    "words in milliseconds": ({}, "rate limited, try again in 250 ms", 0.25),
    "words in minutes": ({}, "Too many requests: please wait 2 minutes", 120),
}


@pytest.mark.parametrize("name", WAITS)
def test_endpoint_says_how_long_to_wait(name: str) -> None:
    headers, message, wait_seconds = WAITS[name]
    for body in ({"error": error(-32005, message)}, {"message": message}):
        found = judge("eth_call", 1, RpcAnswer(body, 429, headers))
        assert found is not None
        assert found.meaning is Meaning.RATE_LIMITED
        assert found.wait_seconds == wait_seconds


@pytest.mark.parametrize(
    ("data", "seconds"),
    [({"rate": {"backoff_seconds": 30}}, 30), ({"try_again_in": "726ms"}, 0.726)],
)
def test_wait_is_read_from_the_data_of_an_error(data: Any, seconds: float) -> None:
    found = problem_of(error(-32005, "too many requests", data))
    assert found.wait_seconds == pytest.approx(seconds)


#: In a provider's words: how much it takes, None where they name no number.
RANGE_LIMITS: dict[str, tuple[dict[str, Any], int | None]] = {
    "Alchemy": (
        error(
            -32600,
            "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block "
            "range. Based on your parameters, this block range should work: [0x64, 0x6d]. "
            "Upgrade to PAYG for expanded block range.",
        ),
        10,
    ),
    "Alchemy by size": (
        error(
            -32602,
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block "
            "range and no limit on the response size, or you can request any block range with a "
            "cap of 10K logs in the response. Based on your parameters and the response size "
            "limit, this block range should work: [0x0, 0x79bc]",
        ),
        0x79BC + 1,
    ),
    "Alchemy without a range": (
        error(-32602, "You can make eth_getLogs requests with up to a 2K block range"),
        2000,
    ),
    "Infura": (error(-32602, "range 1000000 exceeds limit of 10000"), 10_000),
    "Infura by results": (
        error(
            -32005,
            "query returned more than 10000 results. Try with this block range [0x10, 0x1F].",
        ),
        16,
    ),
    "Infura by time": (error(-32005, "query timeout exceeded"), None),
    "QuickNode": (error(-32614, "eth_getLogs is limited to a 10,000 range"), 10_000),
    "Ankr": (error(-32600, "block range is too wide"), None),
    "dRPC": (error(35, "ranges over 10000 blocks are not supported on freetier"), 10_000),
    "Chainstack": (error(-32000, "Block range limit exceeded. See docs/limits#evm"), None),
    "Coinbase": (error(-32602, "please limit the query to at most 1000 blocks"), 1000),
    "Cloudflare": (error(-32047, "Invalid eth_getLogs request: Max range: 800"), 800),
    "Tenderly": (
        error(
            -32602, "invalid params", {"payload": "range 900000 is bigger than range limit 2000"}
        ),
        2000,
    ),
    "thirdweb": (error(-32000, "maximum allowed number of requested blocks is 1000"), 1000),
    "Chainbase": (error(-32602, "exceeds the range allowed for your plan (1000)"), 1000),
    "publicnode": (error(-32701, "exceed maximum block range: 50000"), 50_000),
    "proxyd by size": (error(-32020, "backend response too large"), None),
    "jsonrpsee by size": (error(-32008, "Response is too big"), None),
    "Geth": (error(-32000, "query returned more than 20000 results"), None),
    "Erigon": (error(-32000, "query block range exceeds server limit"), None),
    "Reth": (error(-32602, "query exceeds max block range 100000"), 100_000),
    "Reth by results": (
        error(-32602, "query exceeds max results 20000, retry with the range 100-199"),
        100,
    ),
    "Besu": (error(-32005, "Requested range exceeds maximum RPC range limit"), None),
    "Nethermind": (error(-32005, "Too many logs requested. Max logs per response is 20000."), None),
    "Avalanche": (
        error(-32000, "requested too many blocks from 0 to 999999, maximum is set to 2048"),
        2048,
    ),
    "Moonbeam": (error(-32603, "block range is too wide (maximum 1024)"), 1024),
    "Fantom": (error(-32000, "too wide blocks range, the limit is 100"), 100),
    "BNB Chain": (error(-32005, "limit exceeded"), None),
    "in words never read before": (error(-32099, "computer says no"), None),
}


@pytest.mark.parametrize("name", RANGE_LIMITS)
@pytest.mark.parametrize("status", [200, 400, 403, 413, 500])
def test_limit_on_logs_is_one_in_any_words_under_any_status(name: str, status: int) -> None:
    told, at_once = RANGE_LIMITS[name]
    if (name, status) == ("in words never read before", 403):
        return
    found = problem_of(told, LOGS, BLOCKS, status)
    assert found.meaning is Meaning.RANGE_LIMITED
    assert found.at_once == at_once


@pytest.mark.parametrize("name", RANGE_LIMITS)
def test_one_block_cannot_be_divided(name: str) -> None:
    """Another endpoint may answer for it; but for a number that means requests as well."""
    told, _ = RANGE_LIMITS[name]
    found = problem_of(told, LOGS, 1)
    assert found.meaning is (Meaning.RATE_LIMITED if told["code"] == -32005 else Meaning.UNSERVED)


def test_limit_is_not_believed_that_would_not_help() -> None:
    assert problem_of(error(-32602, "Max range: 5000"), LOGS, 5000).at_once is None
    assert problem_of(error(-32602, "range 0-99 exceeds max 30"), LOGS, 100).at_once == 30


@pytest.mark.parametrize("status", [400, 408, 413, 500, 504, 524])
def test_gateway_that_cannot_bear_an_answer_limits_it(status: int) -> None:
    page = RpcAnswer("<html>no</html>", status)
    asked = judge(LOGS, BLOCKS, page), judge(LOGS, 1, page), judge("eth_call", 1, page)
    meanings = [found.meaning for found in asked if found is not None]
    assert meanings == [Meaning.RANGE_LIMITED, Meaning.UNREACHABLE, Meaning.UNREACHABLE]


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("batch too large", 100),
        ("Batch of more than 3 requests are not allowed on free tier", 3),
        ("batch requests are not supported", None),
    ],
)
def test_batch_that_is_refused_is_too_large(message: str, asked: int | None) -> None:
    told = {"id": None, "error": error(-32600, message)}
    for body in (told, [told]):
        found = judge(BATCH, 256, RpcAnswer(body))
        assert found is not None
        assert found.meaning is Meaning.RANGE_LIMITED
        assert found.at_once in (asked, None)


REVERTS = {
    "Geth": error(3, "execution reverted: rate limit exceeded", "0x08c379a0"),
    "Besu": error(-32000, "Execution reverted", "0x"),
    "Parity": error(-32015, "VM execution error.", "Reverted 0x08c379a0"),
    "without data": error(-32000, "execution reverted"),
}


@pytest.mark.parametrize("name", REVERTS)
def test_contract_that_refuses_is_an_answer_whatever_it_says(name: str) -> None:
    found = problem_of(REVERTS[name])
    assert found.meaning is Meaning.REVERTED
    assert found.data in (None, b"", bytes.fromhex("08c379a0"))


@pytest.mark.parametrize(
    ("told", "method", "status"),
    [
        (error(-32601, "the method eth_getLogs does not exist/is not available"), LOGS, 200),
        (error(-32603, "internal error"), "eth_call", 200),
        (error(-32000, "missing trie node 4ed94073"), "eth_call", 200),
        (error(-32000, "Unauthorized: you must use an API key"), "eth_call", 200),
        (error(-32000, "no"), "eth_call", 401),
        (error(-32000, "no"), "eth_call", 500),
        (error(-32000, "execution aborted (timeout = 5s)"), "eth_call", 200),
        (error(-32601, "method not allowed"), "eth_sendRawTransaction", 200),
    ],
)
def test_what_an_endpoint_does_not_do_another_may(
    told: dict[str, Any], method: str, status: int
) -> None:
    assert problem_of(told, method, status=status).meaning is Meaning.UNSERVED


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32000, "nonce too low"),
        (-32000, "replacement transaction underpriced"),
        (-32000, "insufficient funds for gas * price + value"),
        (-32000, "in-flight transaction limit reached for delegated accounts"),
        (-32005, "Transaction gas limit exceeds block gas limit"),  # Besu's own number
        (-32004, "Upfront cost exceeds account balance"),
    ],
)
def test_node_that_refuses_a_transaction_is_not_busy(code: int, message: str) -> None:
    found = problem_of(error(code, message), "eth_sendRawTransaction")
    assert (found.meaning, found.message, found.rpc_code) == (Meaning.REFUSED, message, code)


@pytest.mark.parametrize(
    ("message", "underpriced", "unaffordable"),
    [
        ("transaction underpriced: gas tip cap 0, minimum needed 1", True, False),
        ("replacement transaction underpriced", True, False),
        ("max fee per gas less than block base fee", True, False),
        ("Gas price below configured minimum gas price", True, False),
        ("Gas price below current base fee", True, False),
        ("FeeTooLow, EffectivePriorityFeePerGas too low 10 < 20, BaseFee: 30", True, False),
        ("insufficient funds for gas * price + value", False, True),
        ("Insufficient funds for gas * price + value", False, True),
        ("InsufficientFunds, Account balance: 0, cumulative cost: 1", False, True),
        ("sender doesn't have enough funds to send tx", False, True),
        ("Upfront cost exceeds account balance", False, True),
        ("Transaction gas limit exceeds block gas limit", False, False),
    ],
)
def test_fee_that_is_refused_is_too_low_or_too_high(
    message: str, underpriced: bool, unaffordable: bool
) -> None:
    refused = RpcRefused("eth_sendRawTransaction", -32000, message, None)
    assert (refused.underpriced, refused.unaffordable) == (underpriced, unaffordable)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("<html>Bad Gateway</html>", 502, "HTTP status 502"),
        ({"message": "no such project"}, 404, "HTTP status 404: no such project"),
        ({"error": "Internal Server Error"}, 500, "HTTP status 500: Internal Server Error"),
        ("", 503, "HTTP status 503"),
        ([], 200, "it does not speak JSON-RPC"),
        ({}, 200, "it does not speak JSON-RPC"),
        ("hello", 200, "it does not speak JSON-RPC"),
        (None, 200, "it does not speak JSON-RPC"),
        ({"result": 5}, 200, "it does not speak Ethereum"),
    ],
)
def test_answer_of_no_node_is_none(body: Any, status: int, message: str) -> None:
    found = judge("eth_call", 1, RpcAnswer(body, status))
    assert found == RpcProblem(Meaning.UNREACHABLE, message)


@pytest.mark.parametrize("code", ["x", None, [], 1.5])
def test_error_whose_number_is_none_is_still_read(code: Any) -> None:
    found = problem_of({"code": code, "message": "too many requests"})
    assert found.meaning is Meaning.RATE_LIMITED


def test_result_is_no_problem() -> None:
    assert judge("eth_call", 1, RpcAnswer({"result": "0x"})) is None
    assert (
        judge("eth_call", 1, RpcAnswer({"result": "0x", "error": None}, 200, WAITS["seconds"][0]))
        is None
    )
    assert judge(LOGS, 9, RpcAnswer({"result": []})) is None
    assert judge(BATCH, 2, RpcAnswer([{"id": 1, "result": "0x"}, {"id": 2, "error": {}}])) is None
