"""The chain interface on an embedded EVM and on a real anvil."""

import threading
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS, World
from wardround.chain.chain import GAS_CAP, open_chain
from wardround.chain.contract import Contract
from wardround.chain.errors import ChainError, ContractReverted, TransactionRefused

CODE = b"\x01" * 32


def test_send_mines_and_returns_what_happened(world: World, probe: Contract) -> None:
    before = world.chain.block().number
    receipt = world.chain.send(world.bob, probe.function("increment", b"note"), "increment")
    assert receipt is not None
    assert receipt.status == 1
    assert receipt.block_number == before + 1
    assert receipt.timestamp == world.chain.block(receipt.block_number).timestamp
    assert 21_000 < receipt.gas_used < 100_000
    assert [probe.event(log) for log in receipt.logs] == [
        ("Counted", {"sender": world.bob.address, "count": 1, "note": b"note"})
    ]
    assert world.chain.call(probe.function("count")) == 1
    assert world.chain.receipt(receipt.transaction_hash) == receipt
    transaction = world.chain.transaction(receipt.transaction_hash)
    assert transaction is not None
    assert (transaction.sender, transaction.to) == (world.bob.address, probe.address)
    assert probe.arguments(transaction.data) == ("increment", {"note": b"note"})


def test_chain_starts_as_its_genesis_says(world: World) -> None:
    assert world.chain.chain_id == CHAIN_ID
    assert world.chain.block(0).timestamp == GENESIS_SECONDS
    assert world.chain.balance_wei(world.alice.address) == 1000 * ETHER
    assert world.chain.balance_wei(Account.create().address) == 0


@pytest.mark.parametrize(
    ("function", "arguments", "name", "found"),
    [
        ("unlock", (2**63, CODE), "Probe__Locked", {"until": 2**63, "code": CODE}),
        ("complain", ("no way",), "Error", {"message": "no way"}),
        ("divide", (0,), "Panic", {"code": 0x12}),
        ("silent", (), "NoReason", {}),
    ],
)
def test_revert_is_named_after_the_contracts_error(
    world: World,
    probe: Contract,
    function: str,
    arguments: tuple[Any, ...],
    name: str,
    found: dict[str, Any],
) -> None:
    call = probe.function(function, *arguments)
    with pytest.raises(ContractReverted) as sent:
        world.chain.send(world.alice, call, f"try {function}")
    with pytest.raises(ContractReverted) as called:
        world.chain.call(call, world.alice.address)
    for error in (sent.value, called.value):
        assert (error.name, error.arguments) == (name, found)
        assert "\n" not in str(error)
    assert str(sent.value).startswith(f"try {function}: the contract refused with {name}(")
    # Nothing was mined, the nonce is as before.
    assert world.chain.send(world.alice, probe.function("increment", b""), "next") is not None


def test_unknown_error_keeps_its_bytes(world: World, probe: Contract) -> None:
    world.chain.errors._errors.clear()
    with pytest.raises(ContractReverted) as caught:
        world.chain.call(probe.function("locked", 2**63, CODE))
    assert caught.value.name == "UnknownError"
    assert caught.value.data.endswith(CODE.hex())


def test_send_without_money(world: World, probe: Contract) -> None:
    poor = Account.create()
    with pytest.raises(TransactionRefused) as caught:
        world.chain.send(poor, probe.function("increment", b""), "increment")
    assert f"{poor.address} holds 0 wei and needs " in str(caught.value)


def test_transfer(world: World) -> None:
    somebody = Account.create()
    world.chain.transfer(world.alice, somebody.address, ETHER)
    assert world.chain.balance_wei(somebody.address) == ETHER
    with pytest.raises(TransactionRefused, match="send it some"):
        world.chain.transfer(somebody, world.alice.address, 2 * ETHER)


def test_more_gas_than_the_cap(world: World, probe: Contract) -> None:
    with pytest.raises(TransactionRefused, match=f"one transaction may use {GAS_CAP}"):
        world.chain.send(world.alice, probe.function("burn", 800), "burn")
    assert world.chain.call(probe.function("count")) == 0


def test_unless_the_effect_is_there_already(world: World, probe: Contract) -> None:
    def counted() -> bool:
        return world.chain.call(probe.function("count")) >= 1

    first = world.chain.send(world.alice, probe.function("increment", b""), "one", counted)
    again = world.chain.send(world.alice, probe.function("increment", b""), "one", counted)
    assert first is not None
    assert again is None
    assert counted()
    assert world.chain.call(probe.function("count")) == 1


def test_revert_because_another_was_first_is_success(world: World, probe: Contract) -> None:
    """The effect appears between the question and the transaction, which then reverts."""
    answers = iter([False, True])
    sent = world.chain.send(
        world.alice, probe.function("silent"), "race", unless=lambda: next(answers)
    )
    assert sent is None


def test_call_where_no_contract_is(world: World, probe: Contract) -> None:
    nowhere = Contract(probe.abi, Account.create().address)
    with pytest.raises(TransactionRefused, match="no contract"):
        world.chain.call(nowhere.function("count"))


def test_advance_moves_time_for_calls_and_transactions(world: World, probe: Contract) -> None:
    before = world.chain.timestamp()
    world.chain.advance(86_400)
    assert before + 86_400 <= world.chain.timestamp() <= before + 86_500
    assert world.chain.call(probe.function("now_")) == world.chain.timestamp()
    until = world.chain.timestamp() + 3600
    with pytest.raises(ContractReverted):
        world.chain.send(world.alice, probe.function("unlock", until, CODE), "unlock")
    world.chain.advance(3600)
    receipt = world.chain.send(world.alice, probe.function("unlock", until, CODE), "unlock")
    assert receipt is not None
    assert receipt.timestamp >= until


def test_block_times_never_go_back(world: World, probe: Contract) -> None:
    times = [world.chain.timestamp()]
    for _ in range(4):
        receipt = world.chain.send(world.alice, probe.function("increment", b""), "increment")
        assert receipt is not None
        times.append(receipt.timestamp)
    # Anvil mines several blocks a second; the embedded chain gives each its own second.
    gap = 1 if world.chain.url.startswith("embedded:") else 0
    assert all(later - earlier >= gap for earlier, later in pairwise(times))


def test_logs_by_topic_and_block(world: World, probe: Contract) -> None:
    senders = [world.alice, world.bob, world.alice]
    receipts = [
        world.chain.send(sender, probe.function("increment", bytes([n])), "increment")
        for n, sender in enumerate(senders)
    ]
    assert all(receipts)
    every = world.chain.logs(probe.address)
    assert every == [log for receipt in receipts if receipt for log in receipt.logs]
    bobs = bytes(12) + bytes.fromhex(world.bob.address[2:])
    counted = probe.event_topic("Counted")
    assert world.chain.logs(probe.address, [counted, bobs]) == [every[1]]
    assert world.chain.logs(probe.address, [None, bobs]) == [every[1]]
    assert world.chain.logs(probe.address, [bytes(32)]) == []
    assert world.chain.logs(probe.address, (), every[1].block_number) == every[1:]
    assert world.chain.logs(probe.address, (), 0, every[1].block_number) == every[:2]
    assert world.chain.logs(probe.address, (), every[2].block_number + 1) == []
    assert world.chain.logs(Account.create().address) == []


def test_unknown_hash(world: World) -> None:
    assert world.chain.receipt("0x" + "11" * 32) is None
    assert world.chain.transaction("0x" + "11" * 32) is None


def test_block_that_is_not_there(world: World) -> None:
    with pytest.raises(ChainError, match="no block 999"):
        world.chain.block(999)


def test_threads_of_one_sender_wait_for_each_other(world: World, probe: Contract) -> None:

    def work() -> None:
        for _ in range(3):
            assert world.chain.send(world.alice, probe.function("increment", b""), "increment")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert world.chain.call(probe.function("count")) == 9


def test_open_chain_checks_the_chain_id(world: World) -> None:
    if world.chain.url.startswith("embedded:"):
        assert open_chain(world.chain.url, CHAIN_ID) is world.chain
    with pytest.raises(ChainError) as caught:
        open_chain(world.chain.url, CHAIN_ID + 1)
    assert f"serves chain {CHAIN_ID}, not {CHAIN_ID + 1}" in str(caught.value)


@pytest.mark.parametrize("url", ["", "embedded:nobody", "ftp://x", "localhost:8545", "ws://x"])
def test_open_chain_that_no_address_names(url: str) -> None:
    with pytest.raises(ChainError):
        open_chain(url)
