"""Chains of a consortium: gas costs nothing, no account holds a coin, and the EVM may be older."""

from __future__ import annotations

from pathlib import Path

import pytest
from eth_account import Account

from tests.consortium import CHAIN_ID, FREE, consortium, legacy_front, opened
from tests.store.served import served
from wardround.chain.chain import Chain
from wardround.chain.errors import ChainError, TransactionRefused, TransactionTimedOut
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound

SPONSOR = Account.from_key(b"\x51" * 32)
SITE = Account.from_key(b"\x52" * 32)
ETHER = 10**18


def funded(chain: Chain) -> Chain:
    """The chain, once a sponsor has money enough there."""
    chain.rpc("anvil_setBalance", SPONSOR.address, hex(1000 * ETHER))
    return chain


# ---------------------------------------------------------------- gas that costs nothing


@pytest.fixture(params=["", "#max_fee_gwei=0"], ids=["by-itself", "by-setting"])
def setting(request: pytest.FixtureRequest) -> str:
    """What an administrator may add to an address where gas costs nothing."""
    return str(request.param)


def test_sponsor_without_a_coin_deploys_where_gas_costs_nothing(
    tmp_path: Path, setting: str
) -> None:
    """The base fee is 0, so a fee of 0 is enough, for a contract and for every call."""
    with consortium(tmp_path, *FREE) as address, opened(address + setting) as chain:
        assert chain.is_free()
        assert chain.balance_wei(SPONSOR.address) == 0
        token = StudyToken.deploy(chain, SPONSOR, 1000)
        token.transfer(SPONSOR, SITE.address, 400)
        assert token.balance_of(SITE.address) == 400
        assert chain.balance_wei(SPONSOR.address) == 0


def test_sponsor_without_a_coin_deploys_the_contract_of_a_study(
    tmp_path: Path, setting: str
) -> None:
    """The largest transactions of all cost as little."""
    with consortium(tmp_path, *FREE) as address, opened(address + setting) as chain:
        ward = WardRound.deploy(chain, SPONSOR)
        assert chain.code(ward.address)
        assert chain.code(ward.court())


def test_sponsor_with_a_few_coins_offers_no_more_than_they_pay_for(tmp_path: Path) -> None:
    """What an account was once given must not keep it from sending for nothing."""
    with consortium(tmp_path, *FREE) as address, opened(address) as chain:
        chain.rpc("anvil_setBalance", SPONSOR.address, hex(1000))
        receipt = chain.transfer(SPONSOR, SITE.address, 600)
        assert receipt is not None
        assert receipt.status == 1
        token = StudyToken.deploy(chain, SPONSOR, 1000)
        assert token.balance_of(SPONSOR.address) == 1000
        assert chain.balance_wei(SITE.address) == 600


def test_sponsor_without_a_coin_sends_where_there_is_no_base_fee(
    tmp_path: Path, setting: str
) -> None:
    """Before London a transaction names a gas price, and there it is 0."""
    options = ("--hardfork", "berlin", "--gas-price", "0")
    with consortium(tmp_path, *options) as address, opened(address + setting) as chain:
        assert chain.block().base_fee_wei is None
        assert chain.is_free()
        assert chain.transfer(SPONSOR, SITE.address, 0).status == 1


def test_sponsor_without_a_coin_deploys_where_fees_are_legacy(tmp_path: Path, setting: str) -> None:
    """Besu and Quorum run newer EVMs without EIP-1559: no base fee, no type 2, no fee history."""
    with (
        consortium(tmp_path, "--hardfork", "shanghai", *FREE) as address,
        legacy_front(address) as front,
        opened(front + setting) as chain,
    ):
        assert chain.block().base_fee_wei is None
        ward = WardRound.deploy(chain, SPONSOR)
        assert chain.code(ward.court())


def test_sponsor_without_a_coin_is_told_where_gas_costs_something(tmp_path: Path) -> None:
    """What is free on one chain is not free on every chain."""
    with (
        consortium(tmp_path) as address,
        opened(address) as chain,
        pytest.raises(TransactionRefused, match="holds 0 wei"),
    ):
        assert not chain.is_free()
        StudyToken.deploy(chain, SPONSOR, 1000)


def test_setting_of_a_free_chain_is_told_where_gas_costs_something(tmp_path: Path) -> None:
    """A fee of 0 is not raised in secret, nor sent again and again."""
    with consortium(tmp_path) as address:
        with opened(address) as chain:
            funded(chain)
        with opened(f"{address}#max_fee_gwei=0", timeout_seconds=1) as chain:
            with pytest.raises(TransactionTimedOut, match="wei a gas where 0 are allowed"):
                chain.transfer(SPONSOR, SITE.address, 1)
            assert chain.transaction_count(SPONSOR.address) == 0


# ---------------------------------------------------------------- what the contract needs


def refusal_of(chain: Chain) -> str:
    """What a sponsor with money enough reads when the contract cannot be deployed."""
    with pytest.raises(ChainError) as refusal:
        WardRound.deploy(funded(chain), SPONSOR)
    return str(refusal.value)


@pytest.mark.parametrize("hardfork", ["paris", "london", "berlin"])
def test_chain_of_an_older_evm_is_refused_by_what_the_contract_needs(
    tmp_path: Path, hardfork: str
) -> None:
    """An administrator who reads of Shanghai knows which line of the genesis file to change."""
    with consortium(tmp_path, "--hardfork", hardfork) as address, opened(address) as chain:
        said = refusal_of(chain)
    assert "Shanghai" in said
    assert "shanghaiTime" in said


@pytest.mark.parametrize(
    "words", ["invalid opcode: PUSH0", "Invalid opcode: 0x5f", "execution reverted"]
)
def test_older_evm_is_known_whatever_its_node_calls_the_opcode(words: str) -> None:
    """Geth, Besu, and a node that takes it for the contract's own refusal."""
    refused = {"code": -32000, "message": words}
    head = {"number": "0x1", "timestamp": "0x2", "gasLimit": "0x1c9c380", "transactions": []}
    answers = {
        "eth_chainId": hex(CHAIN_ID),
        "eth_getTransactionCount": "0x0",
        "eth_getBlockByNumber": head,
        "eth_estimateGas": refused,
        "eth_call": refused,
    }
    with (
        served(lambda method, _: answers[method]) as address,
        opened(address) as chain,
        pytest.raises(TransactionRefused, match=f"Shanghai.*{words}|Shanghai.*NoReason"),
    ):
        WardRound.deploy(chain, SPONSOR)


@pytest.mark.parametrize("gas_limit", [3_800_000, 3_000_000])
def test_chain_of_small_blocks_is_refused_by_what_the_contract_needs(
    tmp_path: Path, gas_limit: int
) -> None:
    """The contract does not fit a block: only a larger gas limit of blocks helps."""
    options = ("--gas-limit", str(gas_limit))
    with consortium(tmp_path, *options) as address, opened(address) as chain:
        said = refusal_of(chain)
    assert f"the gas limit of a block is {gas_limit}" in said


@pytest.mark.parametrize("hardfork", ["shanghai", "cancun", "prague"])
def test_chain_of_a_newer_evm_takes_the_contract(tmp_path: Path, hardfork: str) -> None:
    """Shanghai is enough."""
    with consortium(tmp_path, "--hardfork", hardfork) as address, opened(address) as chain:
        assert chain.code(WardRound.deploy(funded(chain), SPONSOR).address)


def test_chain_whose_blocks_hold_eight_million_gas_takes_the_contract(tmp_path: Path) -> None:
    """Court and WardRound are deployed one by one, so neither needs more."""
    with consortium(tmp_path, "--gas-limit", "8000000") as address, opened(address) as chain:
        ward = WardRound.deploy(funded(chain), SPONSOR)
        assert chain.code(ward.address)
