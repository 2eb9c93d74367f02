"""Chains for the ledger's tests: an embedded one and a real anvil, with fresh keys each time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.chain.chain import Chain
from wardround.chain.contract import Contract
from wardround.devchain.anvil import Anvil
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis

CHAIN_ID = 31_337_001
GENESIS_SECONDS = 1_760_000_000
ETHER = 10**18


@dataclass(frozen=True)
class World:
    """A chain and who has money on it."""

    chain: Chain
    genesis: Genesis
    alice: LocalAccount
    bob: LocalAccount


@pytest.fixture(scope="session")
def probe_artifact() -> dict[str, Any]:
    """`Probe.sol`, compiled: ABI and bytecode."""
    return json.loads((Path(__file__).parent / "probe" / "Probe.json").read_text())


@pytest.fixture(params=["embedded", "anvil"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each kind of development chain in turn."""
    alice, bob = Account.create(), Account.create()
    genesis = Genesis(
        CHAIN_ID, GENESIS_SECONDS, {alice.address: 1000 * ETHER, bob.address: 1000 * ETHER}
    )
    if request.param == "embedded":
        chain = EmbeddedChain("world", genesis)
        yield World(chain, genesis, alice, bob)
        chain.close()
    else:
        try:
            anvil = Anvil(genesis)
        except AnvilMissing as error:
            pytest.skip(str(error))
        with anvil:
            yield World(anvil.chain, genesis, alice, bob)


@pytest.fixture
def probe(world: World, probe_artifact: dict[str, Any]) -> Contract:
    """The probe contract, deployed by alice; its errors are known to the chain."""
    abi = probe_artifact["abi"]
    world.chain.errors.learn(abi)
    receipt = world.chain.deploy(
        world.alice, abi, bytes.fromhex(probe_artifact["bytecode"][2:]), label="deploy Probe"
    )
    assert receipt.contract_address is not None
    return Contract(abi, receipt.contract_address)
