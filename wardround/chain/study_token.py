"""The ERC-20 that studies pay in; `StudyToken` is a plain one for demos and tests."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount

from wardround.chain.artifacts import load_artifact
from wardround.chain.blocks import Receipt
from wardround.chain.chain import Chain
from wardround.chain.contract import Contract


class StudyToken:
    """An ERC-20 at an address. Amounts are in its smallest unit."""

    def __init__(self, chain: Chain, address: str) -> None:
        artifact = load_artifact("StudyToken")
        self.chain = chain
        self.contract = Contract(artifact.abi, address)
        self.address = self.contract.address
        chain.errors.learn(artifact.abi)

    @classmethod
    def deploy(cls, chain: Chain, signer: LocalAccount, supply: int) -> StudyToken:
        """Create a new token, all of it the signer's."""
        artifact = load_artifact("StudyToken")
        receipt = chain.deploy(
            signer, artifact.abi, artifact.bytecode, supply, label="deploy StudyToken"
        )
        assert receipt.contract_address is not None
        return cls(chain, receipt.contract_address)

    def balance_of(self, account: str) -> int:
        """What an account holds."""
        return int(self.chain.call(self.contract.function("balanceOf", account)))

    def allowance(self, owner: str, spender: str) -> int:
        """What a spender may still take from an owner."""
        return int(self.chain.call(self.contract.function("allowance", owner, spender)))

    def approve(self, signer: LocalAccount, spender: str, amount: int) -> Receipt | None:
        """Let a spender take up to an amount; None when it may already, exactly so much."""
        return self.chain.send(
            signer,
            self.contract.function("approve", spender, amount),
            f"approve {spender}",
            unless=lambda: self.allowance(signer.address, spender) == amount,
        )

    def transfer(self, signer: LocalAccount, to: str, amount: int) -> Receipt:
        """Transfer an amount. Not idempotent: see `Chain.send`."""
        receipt = self.chain.send(
            signer, self.contract.function("transfer", to, amount), f"transfer tokens to {to}"
        )
        assert receipt is not None
        return receipt
