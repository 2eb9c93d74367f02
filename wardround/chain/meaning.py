"""What an endpoint's answer means: the one place that reads its status, headers and body.

Providers word a limit as they like and send it under any status, so the body counts before the
status, and words before the error's number. Numbers alone decide little: -32005 is a limit on
requests at one provider, a limit on logs at another, and at Besu a transaction with more gas than
a block has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

LOGS = "eth_getLogs"
#: In place of the method where several requests travel together.
BATCH = "batch"
#: How geth, anvil, Besu and Nethermind refuse a fee that is too low, or more than the sender holds.
UNDERPRICED = re.compile(
    r"underpriced|less than block base fee|gas price below|FeeTooLow", re.IGNORECASE
)
UNAFFORDABLE = re.compile(
    r"insufficient ?funds|enough funds|cost exceeds account balance", re.IGNORECASE
)


class Meaning(Enum):
    """What a caller does about an answer that is no result."""

    RATE_LIMITED = "ask again later, or another endpoint"
    RANGE_LIMITED = "ask for less at once"
    REVERTED = "the contract refuses, and would anywhere"
    UNSERVED = "this endpoint does not do it, another one may"
    REFUSED = "the node refuses the request itself"
    UNREACHABLE = "no node has answered"


@dataclass(frozen=True)
class RpcAnswer:
    """What came back.

    Attributes:
        body: decoded JSON, or the text of what is none.
        status: of HTTP; 200 where there is none.
        headers: of HTTP, found by any case where they come from a real answer.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RpcProblem:
    """Why an answer is no result.

    Attributes:
        message: the node's own words, or what is wrong.
        rpc_code: the number of a JSON-RPC error, 0 where there is none.
        data: what a contract reverts with.
        wait_seconds: when to ask again, as the endpoint states; None where it does not.
        at_once: how much it answers for at once, in the unit of what was asked; None where it
            does not.
    """

    meaning: Meaning
    message: str
    rpc_code: int = 0
    data: bytes | None = None
    wait_seconds: float | None = None
    at_once: int | None = None


def judge(method: str, asked: int, answer: RpcAnswer) -> RpcProblem | None:
    """Give the reason why an answer is no result; None for a result.

    Args:
        method: what was asked, `BATCH` for several requests together.
        asked: how much at once: blocks of logs, requests of a batch, else 1.
        answer: what came back.
    """
    body, served = answer.body, 200 <= answer.status < 300
    if method == BATCH and isinstance(body, list):
        # An answer to each; unless one error is for all of them.
        refused = len(body) == 1 and isinstance(body[0], dict) and "error" in body[0]
        return judge(method, asked, replace(answer, body=body[0])) if refused else None
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) or (served and error is not None):
        return _of_error(method, asked, error, answer)
    if not served:
        return _of_status(asked, answer)
    if method == BATCH or not isinstance(body, dict) or "result" not in body:
        return RpcProblem(Meaning.UNREACHABLE, "it does not speak JSON-RPC")
    if not _fits(method, body["result"]):
        return RpcProblem(Meaning.UNREACHABLE, "it does not speak Ethereum")
    return None


# ---------------------------------------------------------------- errors of a node

_RATE_CODES = frozenset({-32029, -32016, -32090, 429})
_LIMIT_EXCEEDED = -32005
_NO_METHOD = -32601
_INTERNAL_ERROR = -32603
_TOO_MANY = 429
_BUSY = frozenset({_TOO_MANY, 503})
_NO_ENTRY = frozenset({401, 402, 403, 404, 405})

_RATE_WORDS = re.compile(
    r"rate.?limit|too many (?:\w+ )?(?:requests|connections|calls)|(?:request|call) rate"
    r"|rate exceeded|request limit (?:reached|exceeded)|request count"
    r"|(?:daily|monthly) (?:request|limit)|quota"
    r"|(?:requests|calls|hits) per |per (?:second|sec|minute)\b|/(?:sec|second)\b"
    r"|compute units|throughput|throttl|slow down|(?:retry|try.again).(?:in|after)\D{0,5}\d"
    r"|no (?:healthy )?(?:backend|upstream|node)s?\b"
)
_RANGE_WORDS = re.compile(
    r"\bblocks?\b|\branges?\b|\bresults\b|\blogs\b|\bbatch|response (?:size|is|too)"
    r"|too (?:large|big)|content length|size (?:limit|exceed)|time.?out|timed out|took too long"
    r"|deadline"
)
_BUSY_WORDS = re.compile(
    r"overload|too busy|is busy|temporar(?:y|ily)|service unavailable|not healthy"
    r"|(?:at|over) capacity|please (?:re)?try|try again|(?:request|gateway|upstream).{0,9} time"
    r"|^timed? ?out"
)
#: Of requests, or of logs; that of gas or of a contract's size is no provider's.
_LIMIT_WORDS = re.compile(r"(?<!gas )(?<!size )(?<!range )limit exceeded")
_UNSERVED_WORDS = re.compile(
    r"not (?:found|supported|available|implemented|allowed|whitelisted|authorized|enabled)"
    r"|unsupported|disabled|unauthori|forbidden|api.?key|denied|upgrade"
    r"|missing trie node|pruned|archive|historical|time.?out|timed out"
)


def _of_error(method: str, asked: int, error: Any, answer: RpcAnswer) -> RpcProblem:
    found = error if isinstance(error, dict) else {"message": str(error)}
    message, code = str(found.get("message", "")), _code(found.get("code"))
    words, data = _words(message, found.get("data")), _revert_data(found.get("data"))
    wait_seconds = at_once = None
    meaning = _meaning(method, asked, code, words, data, answer.status)
    if meaning is Meaning.RATE_LIMITED:
        wait_seconds = _wait_seconds(answer.headers, words)
    elif meaning is Meaning.RANGE_LIMITED:
        at_once = _at_once(words, asked)
    return RpcProblem(meaning, message, code, data, wait_seconds, at_once)


def _meaning(
    method: str, asked: int, code: int, words: str, data: bytes | None, status: int
) -> Meaning:
    sends = method == "eth_sendRawTransaction"
    if data is not None or "revert" in words:
        return Meaning.REVERTED
    if _RATE_WORDS.search(words):
        return Meaning.RATE_LIMITED
    if asked > 1 and _RANGE_WORDS.search(words):
        return Meaning.RANGE_LIMITED
    # About a transaction the numbers are each node's own, and its words name the pool or the block.
    if status in _BUSY or (not sends and code in _RATE_CODES):
        return Meaning.RATE_LIMITED
    if (not sends or status >= 500) and _BUSY_WORDS.search(words):
        return Meaning.RATE_LIMITED
    if not sends and (code == _LIMIT_EXCEEDED or _LIMIT_WORDS.search(words)):
        return Meaning.RANGE_LIMITED if asked > 1 else Meaning.RATE_LIMITED
    if code == _NO_METHOD or status in _NO_ENTRY or _UNSERVED_WORDS.search(words):
        return Meaning.UNSERVED
    if asked > 1:
        # Little else can be wrong with a query of logs or a batch; smaller ones show whether it is.
        return Meaning.RANGE_LIMITED
    if code == _INTERNAL_ERROR or method == LOGS or (status >= 500 and not sends):
        return Meaning.UNSERVED
    return Meaning.REFUSED


def _code(found: Any) -> int:
    try:
        return int(found)
    except (TypeError, ValueError):
        return 0


def _words(message: str, data: Any) -> str:
    """The words of an error, in lower case; of a long text the beginning."""
    more = "" if data is None else f" {data if isinstance(data, str) else json.dumps(data)}"
    return f"{message}{more}"[:2000].lower()


def _revert_data(data: Any) -> bytes | None:
    # Parity's family writes "Reverted 0x…".
    if not isinstance(data, str) or not data.removeprefix("Reverted ").startswith("0x"):
        return None
    try:
        return bytes.fromhex(data.removeprefix("Reverted ")[2:])
    except ValueError:
        return None


# ---------------------------------------------------------------- answers of a gateway

#: The request was too large, took too long behind the gateway, or was more than it bears.
_TOO_MUCH = frozenset({400, 408, 413, 422, 500, 504, 524})


def _of_status(asked: int, answer: RpcAnswer) -> RpcProblem:
    said = _said(answer.body)
    words = said.lower()
    message = f"HTTP status {answer.status}" + (f": {said}" if said else "")
    wait_seconds = _wait_seconds(answer.headers, words)
    limited = RpcProblem(Meaning.RATE_LIMITED, message, wait_seconds=wait_seconds)
    if answer.status == _TOO_MANY or _RATE_WORDS.search(words):
        return limited
    if asked > 1 and (answer.status in _TOO_MUCH or _RANGE_WORDS.search(words)):
        return RpcProblem(Meaning.RANGE_LIMITED, message, at_once=_at_once(words, asked))
    if wait_seconds is not None:
        return limited
    return RpcProblem(Meaning.UNREACHABLE, message)


def _said(body: Any) -> str:
    """The words of a gateway on one line; empty for a page."""
    if isinstance(body, dict):
        body = body.get("message") or body.get("error") or ""
    text = " ".join(body.split()) if isinstance(body, str) else ""
    return "" if "<" in text else text[:200]


# ---------------------------------------------------------------- numbers in the answer

_WAIT = re.compile(
    r"(?:retry|try.again|wait|backoff)\D{0,20}?(\d+(?:\.\d+)?)\s*(ms|milli|s\b|sec|m\b|min|h\b|hour)?"
)
_UNIT_SECONDS = {"ms": 0.001, "milli": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}


def _wait_seconds(headers: Mapping[str, str], words: str) -> float | None:
    """How long an endpoint asks to wait: by its ``Retry-After`` (RFC 9110), else in its words."""
    stated = headers.get("Retry-After", "").strip()
    seconds = 0.0
    if re.fullmatch(r"\d{1,9}(\.\d+)?", stated):
        seconds = float(stated)
    elif stated:
        try:
            # By the endpoint's own clock: ours may be wrong.
            sent = parsedate_to_datetime(headers.get("Date", ""))
            seconds = (parsedate_to_datetime(stated) - sent).total_seconds()
        except (ValueError, TypeError):
            seconds = 0.0
    elif found := _WAIT.search(words):
        seconds = float(found[1]) * _UNIT_SECONDS.get(found[2], 1.0)
    return seconds if seconds > 0 else None


_SUGGESTED = re.compile(
    r"\[\s*(0x[0-9a-f]{1,16}|\d{1,19})\s*,\s*(0x[0-9a-f]{1,16}|\d{1,19})\s*\]"
    r"|range\D{0,5}?(\d{1,19})\s*-\s*(\d{1,19})"
)
#: A number behind such words is a limit, unless they or what follows name results.
_STATED = re.compile(
    r"(?:limit(?:ed)?|max(?:imum)?|up to|at most|over|than|exceed\w*|allowed|plan)"
    r"(?:(?!result|\blogs?\b|event|entr)\D){0,40}?(\d[\d,]{0,18})(k?)\b"
    r"(?!\s*(?:results|logs|events|entries|sec|ms|mb|bytes))"
)


def _at_once(words: str, asked: int) -> int | None:
    """How much an endpoint states that it answers for: as the range it suggests, or its limit."""
    if found := _SUGGESTED.search(words):
        first, last = (
            int(one, 16 if one.startswith("0x") else 10) for one in found.groups() if one
        )
        if 0 < last - first + 1 < asked:
            return last - first + 1
    if found := _STATED.search(words):
        stated = int(found[1].replace(",", "")) * (1000 if found[2] else 1)
        if 0 < stated < asked:
            return stated
    return None


# ---------------------------------------------------------------- results

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITIES = frozenset(
    f"eth_{name}"
    for name in (
        *("chainId", "blockNumber", "getBalance", "getTransactionCount"),
        *("estimateGas", "gasPrice", "maxPriorityFeePerGas"),
    )
)
_DATA = frozenset({"eth_call", "eth_getCode", "eth_getStorageAt"})
_NAMED = {
    "eth_getBlockByNumber": {"number", "timestamp", "gasLimit", "transactions"},
    "eth_getTransactionReceipt": {"blockNumber", "status", "gasUsed", "logs"},
    "eth_getTransactionByHash": {"hash", "from", "nonce", "input"},
}


def _fits(method: str, result: Any) -> bool:
    """Whether a result has the form that the method promises, for those that we read."""
    if method in _QUANTITIES:
        return isinstance(result, str) and _QUANTITY.fullmatch(result) is not None
    if method in _DATA:
        return isinstance(result, str) and _BYTES.fullmatch(result) is not None
    if method in _NAMED:
        needed = _NAMED[method]
        return result is None or (isinstance(result, dict) and needed <= result.keys())
    return method != LOGS or isinstance(result, list)
