"""Several endpoints of one chain: real anvils with the same blocks, and proxies that misbehave."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_account import Account
from web3.types import RPCEndpoint

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS
from tests.store.served import HttpAnswer, served
from wardround.chain import endpoints, rpc
from wardround.chain.chain import Chain, open_chain
from wardround.chain.contract import Contract
from wardround.chain.endpoints import Endpoints, split_urls
from wardround.chain.errors import ChainBusy, ChainError, ChainUnreachable, RpcRefused
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.protocol.errors import Retryable

ALICE = Account.from_key(b"\x21" * 32)
GENESIS = Genesis(CHAIN_ID, GENESIS_SECONDS, {ALICE.address: 1000 * ETHER})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(endpoints, "FIRST_ASIDE_SECONDS", 0.1)
    monkeypatch.setattr(endpoints, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(endpoints, "_PROBE_SECONDS", 0.5)


def started(genesis: Genesis = GENESIS) -> Anvil:
    try:
        return Anvil(genesis)
    except AnvilMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    with started() as running:
        yield running


def follow(leader: Anvil, follower: Anvil) -> None:
    """Give a second anvil the blocks of the first, as nodes do among each other."""
    head = follower.chain.block().number
    follower.chain.rpc("evm_setAutomine", False)
    for number in range(head + 1, leader.chain.block().number + 1):
        block = leader.chain.block(number)
        for transaction_hash in block.transactions:
            raw = leader.chain.rpc("eth_getRawTransactionByHash", transaction_hash)
            follower.chain.rpc("eth_sendRawTransaction", raw)
        follower.chain.rpc("evm_mine", hex(block.timestamp))
        assert follower.chain.block().block_hash == block.block_hash
    follower.chain.rpc("evm_setAutomine", True)


class Proxy:
    """A node in front of a real one. `fault` may answer in its place, or spoil its answer."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.fault: Callable[[str, list[Any], Callable[[], Any]], Any] | None = None
        self.asked: list[str] = []
        self.url = ""

    def answer(self, method: str, parameters: list[Any]) -> Any:
        self.asked.append(method)

        def honest() -> Any:
            found = self.anvil.chain.rpc.provider.make_request(RPCEndpoint(method), parameters)
            if "error" in found:
                return found["error"]
            return found["result"] if found["result"] is not None else NULL

        return honest() if self.fault is None else self.fault(method, parameters, honest)


NULL = b'{"jsonrpc": "2.0", "id": 1, "result": null}'


@contextmanager
def proxies(anvil: Anvil, count: int = 2) -> Iterator[list[Proxy]]:
    found = [Proxy(anvil) for _ in range(count)]
    with served(found[0].answer) as first, served(found[1].answer) as second:
        found[0].url, found[1].url = first, second
        yield found


@contextmanager
def opened(*urls: str, timeout_seconds: float = 20) -> Iterator[Chain]:
    chain = open_chain(",".join(urls), CHAIN_ID, timeout_seconds)
    try:
        yield chain
    finally:
        chain.close()


def rpc_of(chain: Chain) -> Endpoints:
    assert isinstance(chain.rpc, Endpoints)
    return chain.rpc


def counter(anvil: Anvil, artifact: dict[str, Any]) -> Contract:
    receipt = anvil.chain.deploy(ALICE, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    assert receipt.contract_address is not None
    return Contract(artifact["abi"], receipt.contract_address)


def test_addresses_are_split_at_commas_before_an_address() -> None:
    assert split_urls("http://a/?x=1,2 , https://b,ipc:///c") == [
        "http://a/?x=1,2",
        "https://b",
        "ipc:///c",
    ]
    assert split_urls("http://a") == ["http://a"]


def test_settings_follow_the_addresses(anvil: Anvil) -> None:
    chain = open_chain(f"{anvil.url},{anvil.url}#confirmations=2&max_fee_gwei=40&bump_seconds=7")
    assert (chain.confirmations, chain.max_fee_wei, chain.bump_seconds) == (2, 40 * 10**9, 7)
    chain.close()
    chain = open_chain(anvil.url)
    assert (chain.confirmations, chain.max_fee_wei, chain.bump_seconds) == (0, None, 30)
    chain.close()


@pytest.mark.parametrize(
    "after",
    [
        *("confirmations", "confirmations=", "confirmations=-1", "confirmations=x"),
        *("max_fee_gwei=-1", "bump_seconds=0", "hello=1", "&", "confirmations=1&confirmations=2"),
    ],
)
def test_what_is_no_setting_is_refused(after: str) -> None:
    with pytest.raises(ChainError) as caught:
        open_chain(f"http://127.0.0.1:9#{after}")
    assert "confirmations=N" in str(caught.value)


def test_node_that_dies_between_transactions_is_replaced(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe = counter(anvil, probe_artifact)
    with started() as second, opened(anvil.url, second.url) as chain:
        follow(anvil, second)
        assert rpc_of(chain).current == anvil.url
        chain.send(ALICE, probe.function("increment", b"1"), "increment")
        follow(anvil, second)
        os.kill(anvil.pid, signal.SIGKILL)
        chain.send(ALICE, probe.function("increment", b"2"), "increment")
        assert rpc_of(chain).current == second.url
        assert "refused or lost" in rpc_of(chain).aside()[anvil.url]
        assert second.chain.call(probe.function("count")) == 2


def test_node_that_is_behind_what_was_seen_does_not_take_over(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    """It would report work as not done, and its count of transactions would be an old one."""
    probe = counter(anvil, probe_artifact)
    with started() as second:
        follow(anvil, second)
        with opened(anvil.url, second.url) as chain:
            follow(anvil, second)
            chain.send(ALICE, probe.function("increment", b"1"), "increment")
            raw = [
                anvil.chain.rpc("eth_getRawTransactionByHash", anvil.chain.block().transactions[0])
            ]
            timestamp = anvil.chain.timestamp()
            os.kill(anvil.pid, signal.SIGKILL)
            with pytest.raises(ChainUnreachable) as caught:
                chain.call(probe.function("count"))
            assert f"{second.url}: is at block 1, not yet 2" in caught.value.reason
            assert isinstance(caught.value, Retryable)
            assert "\n" not in str(caught.value)
            # The block reaches it: it takes over.
            second.chain.rpc("eth_sendRawTransaction", raw[0])
            assert timestamp > 0
            assert chain.call(probe.function("count")) == 1


def test_transaction_that_a_dying_node_kept_for_itself_is_sent_again(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe = counter(anvil, probe_artifact)
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        swallowed: list[str] = []

        def fault(method: str, parameters: list[Any], honest: Callable[[], Any]) -> Any:
            if swallowed:
                return None
            if method == "eth_sendRawTransaction":
                swallowed.append(parameters[0])
                from eth_utils import keccak

                return "0x" + keccak(bytes.fromhex(parameters[0][2:])).hex()
            return honest()

        first.fault = fault
        receipt = chain.send(ALICE, probe.function("increment", b""), "increment")
        assert receipt is not None
        assert swallowed
        assert rpc_of(chain).current == second.url
        assert anvil.chain.call(probe.function("count")) == 1


def hang(method: str, parameters: list[Any], honest: Callable[[], Any]) -> Any:
    time.sleep(1.5)


def until(condition: Callable[[], object]) -> None:
    """Poll until it holds: endpoints are checked when a request is made and a check is due."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "drops connections": (lambda *_: None, "refused or lost"),
    "is busy": (lambda *_: b"busy", "HTTP status 503"),
    "talks nonsense": (lambda *_: b"<html>", "JSON-RPC"),
    "answers with the wrong kind": (lambda *_: b'{"result": {}}', "Ethereum"),
    "hangs": (hang, "timeout"),
    "serves another chain": (
        lambda method, _, honest: "0x1" if method == "eth_chainId" else honest(),
        "serves chain 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_node_that_misbehaves_is_left_aside_and_tried_again(
    anvil: Anvil, probe_artifact: dict[str, Any], fault: str
) -> None:
    probe = counter(anvil, probe_artifact)
    with (
        proxies(anvil) as (first, second),
        opened(first.url, second.url, timeout_seconds=1) as chain,
    ):
        chain.timeout_seconds = 20
        first.fault, words = FAULTS[fault]
        until(lambda: chain.block() and rpc_of(chain).current == second.url)
        chain.send(ALICE, probe.function("increment", b"1"), "increment")
        assert words in rpc_of(chain).aside()[first.url]
        before = len(first.asked)
        first.fault = None
        until(lambda: chain.block() and not rpc_of(chain).aside())
        assert len(first.asked) > before
        # Well again: it takes over when the other one fails.
        second.fault = FAULTS["drops connections"][0]
        chain.send(ALICE, probe.function("increment", b"2"), "increment")
        assert rpc_of(chain).current == first.url
        assert anvil.chain.call(probe.function("count")) == 2


def test_several_questions_are_asked_of_one_node(anvil: Anvil) -> None:
    """Also when the first node fails: answers of two are never mixed."""
    with started() as second, opened(anvil.url, second.url) as chain:
        for _ in range(2):
            anvil.chain.rpc("evm_mine")
        follow(anvil, second)
        os.kill(anvil.pid, signal.SIGKILL)
        asked = [("eth_getBlockByNumber", (hex(number), False)) for number in range(3)]
        found = chain.rpc.many([*asked, ("eth_blockNumber", ())])
        assert [int(block["number"], 16) for block in found[:3]] == [0, 1, 2]
        assert found[3] == "0x2"
        assert rpc_of(chain).current == second.url


def test_node_that_stops_following_is_left_aside(
    anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "LAG_BLOCKS", 2)
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        frozen = anvil.chain.rpc("eth_getBlockByNumber", "latest", False)

        def fault(method: str, parameters: list[Any], honest: Callable[[], Any]) -> Any:
            return frozen if parameters[:1] == ["latest"] else honest()

        first.fault = fault
        for _ in range(3):
            anvil.chain.rpc("evm_mine")
        until(lambda: chain.block().number == 3)
        assert rpc_of(chain).current == second.url
        assert rpc_of(chain).aside()[first.url] == "is at block 0 while another is at 3"


def test_node_whose_head_is_old_is_left_aside(anvil: Anvil) -> None:
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        old = anvil.chain.rpc("eth_getBlockByNumber", "latest", False)
        first.fault = lambda method, parameters, honest: (
            old if parameters[:1] == ["latest"] else honest()
        )
        anvil.chain.advance(1000)
        until(lambda: chain.block() and rpc_of(chain).current == second.url)
        assert "s older than another's" in rpc_of(chain).aside()[first.url]


def test_internal_error_of_one_node_is_asked_of_another(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe = counter(anvil, probe_artifact)
    broken = {"code": -32603, "message": "missing trie node"}
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        first.fault = lambda method, _, honest: broken if method == "eth_call" else honest()
        assert chain.call(probe.function("count")) == 0
        assert "missing trie node" in rpc_of(chain).aside()[first.url]
        # Both answer so: the request is at fault.
        until(lambda: chain.block() and not rpc_of(chain).aside())
        second.fault = first.fault
        with pytest.raises(Exception, match="missing trie node"):
            chain.call(probe.function("count"))


LIMIT = HttpAnswer({"error": {"code": -32005, "message": "rate limited, try again in 300 ms"}}, 429)


def test_node_that_asks_for_patience_is_spared_while_another_answers(anvil: Anvil) -> None:
    """It is not probed either before its time; then it is well again."""
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        asked_at: list[float] = []

        def fault(method: str, _: list[Any], honest: Callable[[], Any]) -> Any:
            asked_at.append(time.monotonic())
            return LIMIT if len(asked_at) == 1 else honest()

        until(lambda: not rpc_of(chain).aside())
        first.fault = fault
        started_at = time.monotonic()
        until(lambda: chain.block() and rpc_of(chain).current == second.url)
        assert time.monotonic() - started_at < 0.3
        assert "rate limited" in rpc_of(chain).aside()[first.url]
        until(lambda: chain.block() and not rpc_of(chain).aside())
        assert asked_at[1] - asked_at[0] >= 0.3


def test_nodes_that_all_ask_for_patience_are_waited_for(anvil: Anvil) -> None:
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        until(lambda: not rpc_of(chain).aside())
        limited = {first.url, second.url}

        def spent(proxy: Proxy) -> Callable[..., Any]:
            def fault(_: str, __: list[Any], honest: Callable[[], Any]) -> Any:
                if proxy.url not in limited:
                    return honest()
                limited.remove(proxy.url)
                return LIMIT

            return fault

        first.fault, second.fault = spent(first), spent(second)
        assert chain.balance_wei(ALICE.address) == 1000 * ETHER
        assert not limited


def test_nodes_that_all_ask_for_too_much_patience_are_named(anvil: Anvil) -> None:
    with (
        proxies(anvil) as (first, second),
        opened(first.url, second.url, timeout_seconds=1) as chain,
    ):
        first.fault = second.fault = lambda *_: HttpAnswer("no", 429, {"Retry-After": "60"})
        started_at = time.monotonic()
        with pytest.raises(ChainBusy, match="again in 60 s") as caught:
            chain.block()
        assert time.monotonic() - started_at < 1
        assert first.url in caught.value.reason
        assert second.url in caught.value.reason


@pytest.mark.parametrize(
    "refusal",
    [
        {"code": -32601, "message": "the method eth_getBalance does not exist"},
        HttpAnswer({"error": {"code": -32000, "message": "invalid API key"}}, 401),
        HttpAnswer("Forbidden", 403),
    ],
)
def test_what_one_node_does_not_do_is_asked_of_another(anvil: Anvil, refusal: Any) -> None:
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        first.fault = lambda method, _, honest: refusal if method == "eth_getBalance" else honest()
        assert chain.balance_wei(ALICE.address) == 1000 * ETHER
        assert rpc_of(chain).current == second.url or rpc_of(chain).aside()


def test_each_node_has_a_range_of_its_own(anvil: Anvil, probe_artifact: dict[str, Any]) -> None:
    probe = counter(anvil, probe_artifact)
    anvil.chain.rpc("anvil_mine", hex(40))
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        spans: dict[str, list[int]] = {first.url: [], second.url: []}

        def limited(proxy: Proxy, most: int) -> Callable[..., Any]:
            def fault(method: str, parameters: list[Any], honest: Callable[[], Any]) -> Any:
                if method != "eth_getLogs":
                    return honest()
                ends = (parameters[0]["toBlock"], parameters[0]["fromBlock"])
                span = int(ends[0], 16) - int(ends[1], 16) + 1
                spans[proxy.url].append(span)
                return (
                    honest() if span <= most else {"code": -32602, "message": f"Max range: {most}"}
                )

            return fault

        first.fault, second.fault = limited(first, 10), limited(second, 20)
        chain.logs(probe.address, (), 0, 39)
        assert spans[first.url] == [40, 10, 10, 10, 10]
        first.fault = FAULTS["drops connections"][0]
        chain.logs(probe.address, (), 0, 39)
        chain.logs(probe.address, (), 0, 39)
        assert spans[second.url] == [10, 30, 20, 10, 20, 20]


def test_refusal_of_a_contract_is_an_answer(anvil: Anvil, probe_artifact: dict[str, Any]) -> None:
    probe = counter(anvil, probe_artifact)
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        calls = second.asked.count("eth_call")
        with pytest.raises(Exception, match="silent"):
            chain.call(probe.function("silent"))
        assert rpc_of(chain).aside() == {}
        assert second.asked.count("eth_call") == calls


def test_endpoint_that_passes_every_look_and_fails_every_request(anvil: Anvil) -> None:
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        for proxy in (first, second):
            proxy.fault = lambda method, _, honest: None if method == "eth_getBalance" else honest()
        with pytest.raises(ChainUnreachable):
            chain.balance_wei(ALICE.address)
        assert chain.block().number == 0


def test_none_left_names_every_one_and_comes_back(anvil: Anvil) -> None:
    with proxies(anvil) as (first, second), opened(first.url, second.url) as chain:
        first.fault = second.fault = lambda *_: None
        with pytest.raises(ChainUnreachable) as caught:
            chain.block()
        assert first.url in caught.value.reason
        assert second.url in caught.value.reason
        first.fault = second.fault = None
        assert chain.block().number == 0


def test_nobody_answers_at_first() -> None:
    with pytest.raises(ChainUnreachable) as caught:
        open_chain("http://127.0.0.1:9,ipc:///nowhere/at/all")
    assert caught.value.reason.count("; ") == 1


def test_one_of_several_is_enough(anvil: Anvil) -> None:
    with opened("http://127.0.0.1:9", anvil.url) as chain:
        assert chain.chain_id == CHAIN_ID
        assert rpc_of(chain).current == anvil.url


def test_all_serve_another_chain(anvil: Anvil) -> None:
    with pytest.raises(ChainError) as caught:
        open_chain(f"{anvil.url},{anvil.url}", 5)
    assert f"serves chain {CHAIN_ID}, not {5}" in str(caught.value)


def test_first_that_answers_says_which_chain_it_is(anvil: Anvil) -> None:
    with started(Genesis(5, GENESIS_SECONDS, {})) as other:
        chain = open_chain(f"{other.url},{anvil.url}")
        assert chain.chain_id == 5
        assert rpc_of(chain).aside()[anvil.url] == f"serves chain {CHAIN_ID}"
        chain.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9,ftp://x", "http://127.0.0.1:9,embedded:x"])
def test_address_in_a_list_that_is_none(url: str) -> None:
    with pytest.raises(ChainError):
        open_chain(url)


@pytest.mark.deep
def test_transactions_go_on_while_nodes_fail_in_turn(
    anvil: Anvil, probe_artifact: dict[str, Any]
) -> None:
    probe = counter(anvil, probe_artifact)
    stop = threading.Event()
    with (
        proxies(anvil) as (first, second),
        opened(first.url, second.url, timeout_seconds=1) as chain,
    ):
        chain.timeout_seconds = 30

        def spoil() -> None:
            turn = 0
            while not stop.wait(0.4):
                names = list(FAULTS)
                broken, well = (first, second) if turn % 2 else (second, first)
                well.fault = None
                broken.fault = FAULTS[names[turn % len(names)]][0]
                turn += 1
            first.fault = second.fault = None

        spoiler = threading.Thread(target=spoil)
        spoiler.start()
        try:
            for n in range(40):
                chain.send(ALICE, probe.function("increment", bytes([n])), "increment")
        except RpcRefused as error:  # pragma: no cover - the message is what the test shows
            pytest.fail(str(error))
        finally:
            stop.set()
            spoiler.join()
    assert anvil.chain.call(probe.function("count")) == 40
