"""How WardRound, its court and their annexes are deployed, on an embedded EVM and on anvil."""

from typing import Any

import pytest

from tests.chain.conftest import World
from wardround.chain.artifacts import load_artifact
from wardround.chain.blocks import Receipt
from wardround.chain.contract import Contract
from wardround.chain.errors import ContractReverted
from wardround.chain.ward_round import WardRound

#: Of creation code (EIP-3860).
CODE_LIMIT = 49_152
GAS_LIMIT = 8_000_000
PAIRS = (("WardRound", "WardRoundAnnex"), ("Court", "CourtAnnex"))
ARTIFACTS = [*(name for pair in PAIRS for name in pair), "Escrow", "Grants", "StudyToken"]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_creation_code_fits_a_transaction(name: str) -> None:
    """With two words for the constructor's arguments."""
    assert len(load_artifact(name).bytecode) + 64 <= CODE_LIMIT


def test_each_contract_its_court_and_its_escrow_name_each_other(world: World) -> None:
    for ward in [WardRound.deploy(world.chain, world.alice) for _ in range(2)]:
        for part in (ward.court(), ward.escrow()):
            of = Contract(load_artifact("Escrow").abi, part).function("WARD")
            assert world.chain.call(of) == ward.address


def test_no_deployment_needs_more_than_a_small_block_holds(world: World) -> None:
    WardRound.deploy(world.chain, world.alice)
    head = world.chain.block().number
    used = [
        receipt.gas_used
        for number in range(1, head + 1)
        for sent in world.chain.block(number).transactions
        if (receipt := world.chain.receipt(sent))
    ]
    assert len(used) == 4
    assert max(used) <= GAS_LIMIT


def test_transaction_in_between_the_deployments_leaves_no_contract(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The court names an address that the account's next contract does not come to."""
    deploy = world.chain.deploy

    def interrupted(*arguments: Any, label: str) -> Receipt:
        receipt = deploy(*arguments, label=label)
        world.chain.transfer(world.alice, world.bob.address, 1)
        return receipt

    monkeypatch.setattr(world.chain, "deploy", interrupted)
    with pytest.raises(ContractReverted, match="deploy again") as refusal:
        WardRound.deploy(world.chain, world.alice)
    assert refusal.value.name == "WardRound_CourtDiffers"
