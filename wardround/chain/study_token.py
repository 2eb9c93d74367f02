"""The ERC-20 that studies pay in; `StudyToken` is a plain one for demos and tests."""

from __future__ import annotations

from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.chain.amounts import DECIMALS_MAX, tokens_of
from wardround.chain.blocks import Receipt
from wardround.chain.bound import BoundContract, deploy_artifact
from wardround.chain.chain import Chain
from wardround.chain.errors import ContractReverted, TransactionRefused


class StudyToken(BoundContract):
    """An ERC-20 at an address. Amounts are in its smallest unit."""

    ARTIFACT = "StudyToken"

    @classmethod
    def deploy(cls, chain: Chain, signer: LocalAccount, supply: int) -> StudyToken:
        """Deploy a new one, all of which the signer then has."""
        address, _ = deploy_artifact(chain, signer, cls.ARTIFACT, supply)
        return cls(chain, address)

    def symbol(self) -> str | None:
        """How the token calls itself; None where it has no such name."""
        name = self._optional("symbol")
        return None if name is None else str(name)

    def decimals(self) -> int:
        """How many decimals a token has: 10**decimals of its units are one.

        Returns:
            0 to 24; 0 where the contract does not say so (ERC-20 leaves it open), which shows
            amounts as the chain has them.
        """
        count = self._optional("decimals")
        return count if count is not None and count <= DECIMALS_MAX else 0

    def balance_of(self, account: str) -> int:
        """What an account holds."""
        return int(self._ask("balanceOf", account))

    def require(self, account: str, amount: int) -> None:
        """Check that this is a token, and that an account holds so much of it.

        Raises:
            TransactionRefused: there is no such contract, or it holds less.
        """
        label = f"token {self.address}"
        try:
            held = self.balance_of(account)
        except (ContractReverted, TransactionRefused) as error:
            reason = "there is no ERC-20 token at this address of the chain: correct it"
            raise TransactionRefused(label, reason) from error
        if held < amount:
            decimals = self.decimals()
            raise TransactionRefused(
                label,
                f"{account} holds {tokens_of(held, decimals)} tokens and needs "
                f"{tokens_of(amount, decimals)}: send it some of these tokens",
            )

    def allowance(self, owner: str, spender: str) -> int:
        """What a spender may still take from an owner."""
        return int(self._ask("allowance", owner, spender))

    def approve(self, signer: LocalAccount, spender: str, amount: int) -> Receipt | None:
        """Let a spender take up to an amount; None when it may already, exactly so much."""
        call = self._call("approve", spender, amount)
        return self._send(
            signer,
            call,
            f"approve {spender}",
            lambda: self.allowance(signer.address, spender) == amount,
        )

    def transfer(self, signer: LocalAccount, to: str, amount: int) -> Receipt:
        """Transfer an amount. Not idempotent: see `Chain.send`."""
        call = self._call("transfer", to, amount)
        receipt = self._send(signer, call, f"transfer tokens to {to}", None)
        assert receipt is not None
        return receipt

    def _optional(self, function: str) -> Any:
        """Ask for what ERC-20 leaves open; some tokens answer it in another form, or not."""
        try:
            return self._ask(function)
        except (ContractReverted, TransactionRefused):
            return None
