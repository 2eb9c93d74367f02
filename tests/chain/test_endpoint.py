"""Endpoints that are slow, absent, or talk nonsense; and anvil as a process."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from web3.providers import BaseProvider
from web3.types import RPCEndpoint

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS
from tests.store.served import HttpAnswer, served
from wardround.chain import rpc
from wardround.chain.chain import open_chain
from wardround.chain.contract import Call, Contract
from wardround.chain.errors import (
    ChainBusy,
    ChainError,
    ChainUnreachable,
    RpcRefused,
    TransactionRefused,
    TransactionTimedOut,
)
from wardround.devchain.anvil import Anvil, find_anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.protocol.errors import Retryable


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    alice = Account.create()
    try:
        running = Anvil(Genesis(CHAIN_ID, GENESIS_SECONDS, {alice.address: 10 * ETHER}), 1)
    except AnvilMissing as error:
        pytest.skip(str(error))
    running.alice = alice  # type: ignore[attr-defined]
    with running:
        yield running


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ipc:///nowhere/at/all"])
def test_nobody_answers(url: str) -> None:
    with pytest.raises(ChainUnreachable) as caught:
        open_chain(url)
    assert caught.value.url == url
    assert isinstance(caught.value, Retryable)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "nonsense",
    [
        *(b"hello", b"[]", b"{}", b"null", b"busy", None),
        pytest.param(b"[" * 10**6, id="nested"),
    ],
)
def test_something_else_answers(nonsense: bytes | None) -> None:
    with served(lambda *_: nonsense) as url, pytest.raises(ChainUnreachable):
        open_chain(url)


def test_connection_that_is_lost_is_tried_again() -> None:
    answers = iter([None, b"busy", "0x5"])
    with served(lambda *_: next(answers)) as url:
        chain = open_chain(url, expected_chain_id=5)
        chain.close()


def test_node_that_refuses_to_say_its_chain() -> None:
    refusal = {"code": -32000, "message": "not yours"}
    with served(lambda *_: refusal) as url, pytest.raises(ChainUnreachable, match="not yours"):
        open_chain(url)


def test_other_chain_id() -> None:
    with served(lambda *_: "0x1") as url, pytest.raises(ChainError) as caught:
        open_chain(url, expected_chain_id=2)
    assert "serves chain 1, not 2" in str(caught.value)


def test_logs_are_asked_for_in_halves_where_the_node_wants_it() -> None:
    asked: list[tuple[int, int]] = []
    where = Account.create().address

    def answer(method: str, params: list[Any]) -> Any:
        if method != "eth_getLogs":
            return "0x5"
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        if last - first >= 30:
            return {"code": -32005, "message": "query returned more than 10000 results"}
        asked.append((first, last))
        return []

    with served(answer) as url:
        chain = open_chain(url)
        assert chain.logs(where, (), 0, 100) == []
        chain.close()
    assert asked == [(0, 25), (26, 51), (52, 77), (78, 100)]


def test_range_that_worked_is_remembered_for_the_next_query() -> None:
    asked: list[int] = []
    where = Account.create().address

    def answer(method: str, params: list[Any]) -> Any:
        if method != "eth_getLogs":
            return "0x5"
        asked.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
        return [] if asked[-1] <= 30 else {"code": -32602, "message": "Max range: 30"}

    with served(answer) as url:
        chain = open_chain(url)
        for first in (0, 500):
            assert chain.logs(where, (), first, first + 99) == []
        chain.close()
    assert asked == [100, 30, 30, 30, 10, 30, 30, 30, 10]


def test_refusal_of_one_block_is_the_nodes_word() -> None:
    asked: list[int] = []
    refusal = {"code": -32000, "message": "logs are not kept here"}

    def answer(method: str, params: list[Any]) -> Any:
        if method != "eth_getLogs":
            return "0x5"
        asked.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
        return refusal

    with served(answer) as url:
        chain = open_chain(url)
        with pytest.raises(RpcRefused, match="not kept here"):
            chain.logs(Account.create().address, (), 0, 9)
        chain.close()
    assert asked == [10, 5, 3, 2, 1]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long requests wait; nothing sleeps."""
    found: list[float] = []
    monkeypatch.setattr(rpc, "time", SimpleNamespace(sleep=found.append))
    return found


def test_endpoint_that_says_when_is_asked_then(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([*[HttpAnswer("no", 429, {"Retry-After": "17"})] * 3, "0x5"])
    with served(lambda *_: next(answers)) as url:
        open_chain(url, 5).close()
    assert waits == [17, 17, 17]
    assert f"{url}: HTTP status 429: no; asking again in 17 s" in caplog.messages


@pytest.mark.parametrize(
    ("answer", "count", "most_seconds"),
    [(None, 3, 0.7), (HttpAnswer("<html>", 502), 6, 6.3), (HttpAnswer("no", 404), 0, 0)],
)
def test_endpoint_that_is_away_is_asked_a_few_times(
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    answer: HttpAnswer | None,
    count: int,
    most_seconds: float,
) -> None:
    """A gateway takes longer to find its node; one that knows of none goes on so."""
    monkeypatch.setattr(rpc, "FIRST_PAUSE_SECONDS", 0.1)
    with served(lambda *_: answer) as url, pytest.raises(ChainUnreachable) as caught:
        open_chain(url)
    assert not isinstance(caught.value, ChainBusy)
    assert len(waits) == count
    assert sum(waits) <= most_seconds


def test_patience_with_an_endpoint_ends(waits: list[float]) -> None:
    """A wait beyond it is not begun; one of no stated length is cut to it."""
    answer = HttpAnswer("no", 429, {"Retry-After": "3600"})
    with served(lambda *_: answer) as url, pytest.raises(ChainBusy) as caught:
        open_chain(url)
    assert waits == []
    assert caught.value.wait_seconds == 3600
    assert "asks for fewer requests (HTTP status 429: no): try again in 3600 s" in str(caught.value)
    assert isinstance(caught.value, Retryable)
    answer = HttpAnswer("no", 429)
    with served(lambda *_: answer) as url, pytest.raises(ChainBusy, match="again later"):
        open_chain(url, timeout_seconds=20)
    assert sum(waits) == pytest.approx(20)
    assert waits[:3] == sorted(waits[:3])
    assert max(waits) <= 8


def test_wait_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rpc, "time", SimpleNamespace(sleep=interrupted))
    answer = HttpAnswer("no", 429, {"Retry-After": "9"})
    with served(lambda *_: answer) as url, pytest.raises(KeyboardInterrupt):
        open_chain(url)


class Batching(BaseProvider):
    """A node that takes so many requests at once, and limits some of them."""

    def __init__(self, most: int, limited: set[int] | None = None) -> None:
        super().__init__()
        self.most = most
        self.limited = limited or set()
        self.asked: list[int] = []

    def make_request(self, method: RPCEndpoint, params: Any) -> Any:
        self.asked.append(1)
        return {"id": 0, "result": params[0]}

    def make_batch_request(self, batch: list[tuple[RPCEndpoint, Any]]) -> Any:
        self.asked.append(len(batch))
        if len(batch) > self.most:
            return {"id": None, "error": {"code": -32600, "message": "batch too large"}}
        answers = [self._one(place, params[0]) for place, (_, params) in enumerate(batch)]
        return answers[::-1]

    def _one(self, place: int, found: int) -> Any:
        if found in self.limited:
            self.limited.remove(found)
            return {"id": place, "error": {"code": 429, "message": "too many requests"}}
        return {"id": place, "result": found}


@pytest.mark.parametrize("most", [1, 3, 100])
def test_batch_is_divided_where_the_node_wants_it(most: int) -> None:
    provider = Batching(most)
    asking = rpc.Rpc(provider, "http://batches")
    for _ in range(2):
        assert asking.many([("x_y", (one,)) for one in range(10)]) == list(range(10))
    refused = [asked for asked in provider.asked if asked > most]
    assert len(refused) <= 6, provider.asked


@pytest.mark.parametrize(("limited", "asked", "waited"), [(0, [10, 10], 1), (4, [10, 6], 0)])
def test_what_of_a_batch_is_answered_is_not_asked_again(
    waits: list[float], limited: int, asked: list[int], waited: int
) -> None:
    provider = Batching(100, {limited})
    asking = rpc.Rpc(provider, "http://batches")
    assert asking.many([("x_y", (one,)) for one in range(10)]) == list(range(10))
    assert (provider.asked, len(waits)) == (asked, waited)


def test_time_of_a_shared_chain_is_its_own() -> None:
    def answer(method: str, _: list[Any]) -> Any:
        return "0x5" if method == "eth_chainId" else {"code": -32601, "message": "not found"}

    with served(answer) as url:
        chain = open_chain(url)
        with pytest.raises(ChainError):
            chain.advance(10)
        chain.close()


def test_chain_without_base_fee_gets_legacy_transactions() -> None:
    alice = Account.create()
    sent: list[str] = []
    results = {
        "eth_chainId": "0x5",
        "eth_estimateGas": "0x5208",
        "eth_gasPrice": "0x3b9aca00",
        "eth_getTransactionCount": "0x7",
        "eth_getBlockByNumber": {
            "number": "0x1",
            "timestamp": "0x2",
            "gasLimit": "0x1c9c380",
            "transactions": [],
        },
    }

    def answer(method: str, params: list[Any]) -> Any:
        if method == "eth_sendRawTransaction":
            sent.append(params[0])
            return "0x00"
        if method == "eth_getTransactionReceipt":
            fields = {"blockNumber": "0x2", "status": "0x1", "gasUsed": "0x5208", "logs": []}
            return fields
        return results[method]

    with served(answer) as url:
        chain = open_chain(url)
        receipt = chain.transfer(alice, alice.address, 1)
        chain.close()
    (raw,) = sent
    assert int(raw[2:4], 16) >= 0xC0  # an RLP list: no typed transaction
    assert Account.recover_transaction(raw) == alice.address
    assert receipt.gas_used == 21_000


def deployed(anvil: Anvil, artifact: dict[str, Any]) -> Contract:
    alice = anvil.alice  # type: ignore[attr-defined]
    receipt = anvil.chain.deploy(alice, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    assert receipt.contract_address is not None
    return Contract(artifact["abi"], receipt.contract_address)


def test_transaction_that_hangs_is_replaced_and_happens_once(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe, alice, chain = deployed(anvil, probe_artifact), anvil.alice, anvil.chain  # type: ignore[attr-defined]
    counted = lambda: chain.call(probe.function("count")) >= 1  # noqa: E731
    chain.rpc("evm_setAutomine", False)
    chain.timeout_seconds = 0.2
    with pytest.raises(TransactionTimedOut) as caught:
        chain.send(alice, probe.function("increment", b""), "increment", counted)
    assert "no receipt of 0x" in str(caught.value)
    # Still not mined: sent again it replaces the first, under the same nonce.
    with pytest.raises(TransactionTimedOut):
        chain.send(alice, probe.function("increment", b""), "increment", counted)
    chain.rpc("evm_mine")
    assert chain.send(alice, probe.function("increment", b""), "increment", counted) is None
    assert chain.call(probe.function("count")) == 1
    assert len(chain.block().transactions) == 1


def test_transaction_mined_while_its_answer_was_lost(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    """The endpoint passes the transaction on and then drops the connection."""
    probe, alice = deployed(anvil, probe_artifact), anvil.alice  # type: ignore[attr-defined]
    dropped: list[str] = []

    def answer(method: str, params: list[Any]) -> Any:
        found = anvil.chain.rpc.provider.make_request(RPCEndpoint(method), params)
        if method == "eth_sendRawTransaction" and not dropped:
            dropped.append(method)
            return None
        return found["error"] if "error" in found else found["result"]

    with served(answer) as url:
        chain = open_chain(url)
        receipt = chain.send(alice, probe.function("increment", b""), "increment")
        chain.close()
    assert dropped
    assert receipt is not None
    assert anvil.chain.call(probe.function("count")) == 1


def test_transaction_whose_receipt_comes_late_is_not_sent_again(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    """The endpoint counts a transaction before it shows its receipt."""
    probe, alice = deployed(anvil, probe_artifact), anvil.alice  # type: ignore[attr-defined]
    asked: list[str] = []

    def answer(method: str, params: list[Any]) -> Any:
        asked.append(method)
        if method == "eth_getTransactionReceipt" and asked.count(method) <= 5:
            return b'{"jsonrpc": "2.0", "id": 1, "result": null}'
        found = anvil.chain.rpc.provider.make_request(RPCEndpoint(method), params)
        return found["error"] if "error" in found else found["result"]

    with served(answer) as url:
        chain = open_chain(url)
        receipt = chain.send(alice, probe.function("increment", b""), "increment")
        chain.close()
    assert receipt is not None
    assert asked.count("eth_getTransactionReceipt") > 5
    assert anvil.chain.call(probe.function("count")) == 1


def test_two_processes_with_one_key_do_not_lose_a_transaction(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe, alice = deployed(anvil, probe_artifact), anvil.alice  # type: ignore[attr-defined]
    other = open_chain(anvil.url)
    anvil.chain.timeout_seconds = other.timeout_seconds = 10

    def work(chain: Any, note: bytes) -> None:
        # Two equal transactions under one nonce would be one and the same.
        for _ in range(5):
            chain.send(alice, probe.function("increment", note), "increment")

    threads = [
        threading.Thread(target=work, args=args) for args in ((anvil.chain, b"a"), (other, b"b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert anvil.chain.call(probe.function("count")) == 10


def test_http_and_local_socket_show_the_same_chain(anvil: Anvil) -> None:
    chain = open_chain(anvil.url, CHAIN_ID)
    assert chain.block() == anvil.chain.block()
    chain.close()


def test_node_that_ends_is_noticed(anvil: Anvil) -> None:
    assert anvil.chain.block().number == 0
    os.kill(anvil.pid, 9)
    started = time.monotonic()
    with pytest.raises(ChainUnreachable):
        anvil.chain.block()
    assert time.monotonic() - started < 10


def test_anvil_stops_with_its_block(anvil: Anvil) -> None:
    folder = anvil._folder
    assert folder.exists()
    anvil.stop()
    anvil.stop()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(anvil.pid, 0)


def test_anvil_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnvilMissing) as caught:
        find_anvil({"WARDROUND_ANVIL": str(tmp_path / "anvil"), "PATH": ""})
    assert "make setup" in str(caught.value)
    monkeypatch.setattr("wardround.devchain.anvil.__file__", str(tmp_path / "a" / "b" / "anvil.py"))
    with pytest.raises(AnvilMissing):
        find_anvil({"PATH": ""})


def test_anvil_is_found_where_it_is_named_or_in_path(tmp_path: Path) -> None:
    binary = tmp_path / "anvil"
    binary.write_text("#!/bin/sh\necho no good; exit 3\n")
    binary.chmod(0o755)
    assert find_anvil({"WARDROUND_ANVIL": str(binary), "PATH": ""}) == binary
    assert find_anvil({"PATH": str(tmp_path)}) == binary


def test_anvil_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "anvil"
    binary.write_text("#!/bin/sh\necho no good; exit 3\n")
    binary.chmod(0o755)
    monkeypatch.setenv("WARDROUND_ANVIL", str(binary))
    with pytest.raises(ChainError, match="status 3: no good"):
        Anvil(Genesis(1, GENESIS_SECONDS, {}))


def test_transaction_that_the_node_refuses() -> None:
    alice = Account.create()
    results = {
        "eth_chainId": "0x5",
        "eth_estimateGas": "0x5208",
        "eth_maxPriorityFeePerGas": {"code": -32601, "message": "not found"},
        "eth_getTransactionCount": "0x0",
        "eth_getTransactionByHash": False,
        "eth_getBlockByNumber": {
            "number": "0x1",
            "timestamp": "0x2",
            "gasLimit": "0x1c9c380",
            "baseFeePerGas": "0x7",
            "transactions": [],
        },
        "eth_sendRawTransaction": {"code": -32000, "message": "blacklisted"},
    }

    def answer(method: str, _: list[Any]) -> Any:
        if method == "eth_getTransactionByHash":
            return b'{"jsonrpc":"2.0","id":1,"result":null}'
        return results[method]

    with served(answer) as url:
        chain = open_chain(url)
        with pytest.raises(TransactionRefused, match=r"pay: the node refuses .*blacklisted"):
            chain.send(alice, Call(alice.address, b"", "pay"), "pay")
        chain.close()


def test_deadline_that_passes_while_no_block_comes(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe, alice = deployed(anvil, probe_artifact), anvil.alice  # type: ignore[attr-defined]
    until = anvil.chain.timestamp() + 1000
    anvil.chain.rpc("evm_increaseTime", 1000)
    receipt = anvil.chain.send(alice, probe.function("unlock", until, bytes(32)), "unlock")
    assert receipt is not None
    assert receipt.timestamp >= until
