"""One of our contracts at an address, bound to the chain that it is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from eth_account.signers.local import LocalAccount

from wardround.chain.artifacts import load_artifact
from wardround.chain.blocks import Receipt
from wardround.chain.chain import Chain
from wardround.chain.contract import Call, Contract
from wardround.chain.errors import ContractReverted, TransactionRefused, evm_too_old


def deploy_artifact(
    chain: Chain, signer: LocalAccount, name: str, *arguments: Any
) -> tuple[str, str]:
    """Deploy one of our contracts with its constructor's arguments.

    Returns:
        Its address, and the hash of the transaction that created it.

    Raises:
        TransactionRefused: the chain's EVM or blocks do not take it, or as `Chain.send` says.
        ContractReverted: its constructor refuses.
    """
    artifact, label = load_artifact(name), f"deploy {name}"
    chain.errors.learn(artifact.abi)
    try:
        receipt = chain.deploy(signer, artifact.abi, artifact.bytecode, *arguments, label=label)
    except (ContractReverted, TransactionRefused) as error:
        # Nodes name an opcode that they do not know in many ways, some as a revert.
        if chain.has_push0():
            raise
        raise evm_too_old(label, error) from error
    assert receipt.contract_address is not None
    return receipt.contract_address, receipt.transaction_hash


class BoundContract:
    """A contract of ours; a subclass names its artifact.

    A method that sends may be called again after any failure: it asks the chain first whether its
    effect is there, and then sends nothing and returns None.
    """

    ARTIFACT: ClassVar[str]

    def __init__(self, chain: Chain, address: str) -> None:
        artifact = load_artifact(self.ARTIFACT)
        self.chain = chain
        self.contract = Contract(artifact.abi, address)
        self.address = self.contract.address
        chain.errors.learn(artifact.abi)

    def _ask(self, function: str, *arguments: Any) -> Any:
        return self.chain.call(self._call(function, *arguments))

    def _call(self, function: str, *arguments: Any) -> Call:
        return self.contract.function(function, *arguments)

    def _send(
        self, signer: LocalAccount, call: Call, label: str, unless: Callable[[], bool] | None
    ) -> Receipt | None:
        return self.chain.send(signer, call, label, unless)
