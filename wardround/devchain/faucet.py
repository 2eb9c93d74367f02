"""The faucet of development chains: an account that everyone can use, whose money has no worth.

Its key follows from a fixed text. A development chain that is repeated from a journal of signed
transactions cannot take `anvil_setBalance`; a transfer from this account it can.
"""

from __future__ import annotations

from collections.abc import Iterable

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from wardround.chain.blocks import Receipt
from wardround.chain.chain import Chain
from wardround.chain.errors import ChainError, RpcRefused

DEV_CHAIN_ID = 31337
ETHER = 10**18
FAUCET: LocalAccount = Account.from_key(keccak(text="wardround development faucet"))


def balances_of(addresses: Iterable[str]) -> dict[str, int]:
    """What a development chain starts with, in wei: 10,000 units for each, and the faucet's."""
    return {**dict.fromkeys(addresses, 10_000 * ETHER), FAUCET.address: 10**9 * ETHER}


def require_dev_chain(chain: Chain) -> None:
    """Refuse every chain but a development chain.

    Raises:
        ChainError: its id is another one.
    """
    if chain.chain_id != DEV_CHAIN_ID:
        raise ChainError(
            f"chain {chain.chain_id} at {chain.url} is no development chain, whose id is "
            f"{DEV_CHAIN_ID}: accounts there are funded by those who hold its currency."
        )


def fund(chain: Chain, address: str, amount_wei: int) -> Receipt | None:
    """Give an account currency on a development chain.

    Returns:
        The faucet's transfer; None where anvil set the balance.
    Raises:
        ChainError: it is another chain, or one without a faucet of any kind.
    """
    require_dev_chain(chain)
    if chain.balance_wei(FAUCET.address) > amount_wei:
        return chain.transfer(FAUCET, address, amount_wei)
    try:
        chain.rpc("anvil_setBalance", address, hex(chain.balance_wei(address) + amount_wei))
    except RpcRefused as error:
        raise ChainError(
            f"{chain.url} makes no currency ({error.message}): use `wardround network up`, anvil, "
            "or --key FILE with the key of an account that holds some."
        ) from error
    return None
