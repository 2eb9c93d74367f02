"""Chains of a consortium: gas costs nothing, no account holds a coin, and the EVM may be older."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eth_account import Account

from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainError, TransactionRefused
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import find_anvil
from wardround.devchain.errors import AnvilMissing

CHAIN_ID = 31_337_002
START_SECONDS = 20
SPONSOR = Account.from_key(b"\x51" * 32)
SITE = Account.from_key(b"\x52" * 32)
LISTENING = re.compile(r"^Listening on (\S+)$", re.MULTILINE)


@contextmanager
def consortium(folder: Path, *options: str) -> Iterator[str]:
    """Run a node with a consortium's own rules; give its address."""
    try:
        binary = find_anvil()
    except AnvilMissing as error:
        pytest.skip(str(error))
    said = folder / "anvil.txt"
    with said.open("wb") as output:
        node = subprocess.Popen(
            [
                *(str(binary), "--host", "127.0.0.1", "--port", "0"),
                *("--chain-id", str(CHAIN_ID), "--accounts", "0", *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://{_listening(node, said)}"
        finally:
            node.terminate()
            node.wait(START_SECONDS)


def _listening(node: subprocess.Popen[bytes], said: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := LISTENING.search(said.read_text("utf-8", "replace")):
            return found[1]
        assert node.poll() is None, said.read_text("utf-8", "replace")
        time.sleep(0.02)
    raise AssertionError("the node does not listen")


@contextmanager
def opened(address: str) -> Iterator[Chain]:
    chain = open_chain(address, CHAIN_ID)
    try:
        yield chain
    finally:
        chain.close()


# ---------------------------------------------------------------- gas that costs nothing

FREE = ("--block-base-fee-per-gas", "0", "--gas-price", "0", "--no-priority-fee")


def costs_nothing(address: str) -> str:
    """The address as an administrator writes it, with the setting if there is one for it."""
    try:
        with opened(f"{address}#max_fee_gwei=0"):
            return f"{address}#max_fee_gwei=0"
    except ChainError:
        return address


@pytest.mark.xfail(
    strict=True,
    raises=TransactionRefused,
    reason="a transaction offers a priority fee, which no account there can pay",
)
def test_sponsor_without_a_coin_deploys_where_gas_costs_nothing(tmp_path: Path) -> None:
    """The base fee is 0, so a fee of 0 is enough, for a contract and for every call."""
    with consortium(tmp_path, *FREE) as address, opened(costs_nothing(address)) as chain:
        assert chain.balance_wei(SPONSOR.address) == 0
        token = StudyToken.deploy(chain, SPONSOR, 1000)
        token.transfer(SPONSOR, SITE.address, 400)
        assert token.balance_of(SITE.address) == 400
        assert chain.balance_wei(SPONSOR.address) == 0


@pytest.mark.xfail(
    strict=True,
    raises=TransactionRefused,
    reason="a transaction offers a priority fee, which no account there can pay",
)
def test_sponsor_without_a_coin_deploys_the_contract_of_a_study(tmp_path: Path) -> None:
    """The largest transaction of all, nine million gas, costs as little."""
    with consortium(tmp_path, *FREE) as address, opened(costs_nothing(address)) as chain:
        ward = WardRound.deploy(chain, SPONSOR)
        assert chain.code(ward.address)


def test_sponsor_without_a_coin_sends_where_there_is_no_base_fee(tmp_path: Path) -> None:
    """Before London a transaction names a gas price, and there it is 0."""
    with (
        consortium(tmp_path, "--hardfork", "berlin", "--gas-price", "0") as address,
        opened(costs_nothing(address)) as chain,
    ):
        assert chain.block().base_fee_wei is None
        assert chain.transfer(SPONSOR, SITE.address, 0).status == 1


def test_sponsor_without_a_coin_is_told_where_gas_costs_something(tmp_path: Path) -> None:
    """What is free on one chain is not free on every chain."""
    with (
        consortium(tmp_path) as address,
        opened(address) as chain,
        pytest.raises(TransactionRefused, match="holds 0 wei"),
    ):
        StudyToken.deploy(chain, SPONSOR, 1000)


# ---------------------------------------------------------------- what the contract needs

unexplained = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the node's own words come through, and no remedy"
)


def refusal_of(chain: Chain) -> str:
    """What a sponsor with money enough reads when the contract cannot be deployed."""
    chain.rpc("anvil_setBalance", SPONSOR.address, hex(10**21))
    with pytest.raises(ChainError) as refusal:
        WardRound.deploy(chain, SPONSOR)
    return str(refusal.value)


@pytest.mark.parametrize("hardfork", ["paris", "london", "berlin"])
@unexplained
def test_chain_of_an_older_evm_is_refused_by_what_the_contract_needs(
    tmp_path: Path, hardfork: str
) -> None:
    """An administrator who reads of Shanghai knows which line of the genesis file to change."""
    with consortium(tmp_path, "--hardfork", hardfork) as address, opened(address) as chain:
        said = refusal_of(chain)
    assert "Shanghai" in said


@pytest.mark.parametrize("gas_limit", [8_000_000, 4_700_000])
@unexplained
def test_chain_of_small_blocks_is_refused_by_what_the_contract_needs(
    tmp_path: Path, gas_limit: int
) -> None:
    """The contract does not fit a block: only a larger gas limit of blocks helps."""
    options = ("--gas-limit", str(gas_limit))
    with consortium(tmp_path, *options) as address, opened(address) as chain:
        said = refusal_of(chain)
    assert re.search(r"\bblock.*gas limit|gas limit of (a )?block", said)
    assert re.search(r"\d", said.partition("gas limit")[2])


@pytest.mark.parametrize("hardfork", ["shanghai", "cancun", "prague"])
def test_chain_of_a_newer_evm_takes_the_contract(tmp_path: Path, hardfork: str) -> None:
    """Shanghai is enough."""
    with consortium(tmp_path, "--hardfork", hardfork) as address, opened(address) as chain:
        chain.rpc("anvil_setBalance", SPONSOR.address, hex(10**21))
        assert chain.code(WardRound.deploy(chain, SPONSOR).address)


def test_chain_whose_blocks_hold_the_contract_takes_it(tmp_path: Path) -> None:
    """Somewhat more than the contract needs is enough."""
    options = ("--gas-limit", "12000000")
    with consortium(tmp_path, *options) as address, opened(address) as chain:
        chain.rpc("anvil_setBalance", SPONSOR.address, hex(10**21))
        assert chain.code(WardRound.deploy(chain, SPONSOR).address)
