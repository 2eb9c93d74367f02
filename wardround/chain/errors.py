"""Errors of the chain.

ChainError                    also: an address or setting that is none, another chain than expected
├── ChainUnreachable          no answer from the endpoint, or from any of several (retryable)
│   └── ChainBusy             it asks for fewer requests, for longer than we wait (retryable)
├── RpcRefused                the node answers a request with an error
├── TransactionRefused        funds, gas or the node's own rules do not allow a transaction
├── TransactionTimedOut       no receipt in time, or fees above the cap (retryable)
├── ContractReverted          the contract refused, under the name of its own error
└── UnknownContract           other code, or code of another deployment, is at the address
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround.chain.meaning import UNAFFORDABLE, UNDERPRICED, Meaning
from wardround.chain.reverts import REASONS
from wardround.protocol.errors import Retryable, WardroundError


class ChainError(WardroundError):
    """The chain cannot do what was asked."""

    code = "chain"


class ChainUnreachable(ChainError, Retryable):
    """The endpoint does not answer."""

    code = "chain-unreachable"

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"the chain at {url} does not answer ({reason}): start it or correct the address."
        )


class ChainBusy(ChainUnreachable, Retryable):
    """The endpoint asks for fewer requests, and for more patience than there is.

    Attributes:
        wait_seconds: when to ask again, as it states; None where it does not.
    """

    code = "chain-busy"

    def __init__(self, url: str, reason: str, wait_seconds: float | None) -> None:
        self.url = url
        self.reason = reason
        self.wait_seconds = wait_seconds
        when = "later" if wait_seconds is None else f"in {wait_seconds:.0f} s"
        ChainError.__init__(
            self,
            f"the chain at {url} asks for fewer requests ({reason}): try again {when}, "
            "or name further endpoints, with commas between.",
        )


class RpcRefused(ChainError):
    """The node answered with an error: its number, message and data.

    Attributes:
        meaning: what to do about it.
        at_once: how much the endpoint states that it answers for at once; None where it does not.
    """

    code = "rpc-refused"

    def __init__(
        self,
        method: str,
        rpc_code: int,
        message: str,
        data: bytes | None,
        meaning: Meaning = Meaning.REFUSED,
        at_once: int | None = None,
    ) -> None:
        self.rpc_code = rpc_code
        self.message = message
        self.data = data
        self.meaning = meaning
        self.at_once = at_once
        super().__init__(f"{method}: the node answers {message!r} ({rpc_code}).")

    @property
    def reverted(self) -> bool:
        """Whether a contract refused, rather than the node."""
        return self.meaning is Meaning.REVERTED

    @property
    def underpriced(self) -> bool:
        """Whether the node takes the transaction for a higher fee."""
        return UNDERPRICED.search(self.message) is not None

    @property
    def unaffordable(self) -> bool:
        """Whether the sender cannot pay for the transaction."""
        return UNAFFORDABLE.search(self.message) is not None


class TransactionRefused(ChainError):
    """A transaction cannot be sent, or a view cannot be read, for the reason given."""

    code = "transaction-refused"

    def __init__(self, label: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{label}: {reason}.")


class TransactionTimedOut(ChainError, Retryable):
    """No receipt came in time; the transaction may still be mined."""

    code = "transaction-timed-out"

    def __init__(self, label: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{label}: {reason}; call again, nothing is done twice.")


class ContractReverted(ChainError):
    """The contract refused; `name` and `arguments` are those of its own error.

    Attributes:
        reason: what it means to a person; the error's name where only a program meets it.
    """

    code = "contract-reverted"

    def __init__(self, label: str, name: str, arguments: Mapping[str, object], data: str) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.data = data
        shown = ", ".join(
            f"{key} 0x{value.hex()}" if isinstance(value, bytes) else f"{key} {value}"
            for key, value in arguments.items()
        )
        refused = f"the contract refused with {name}({shown})"
        self.reason = REASONS.get(name, name)
        known = name in REASONS
        super().__init__(
            f"{label}: {self.reason} ({refused})." if known else f"{label}: {refused}."
        )


class UnknownContract(ChainError):
    """What is at an address is no contract that this release knows."""

    code = "contract-unknown"

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"contract {address}: {reason}.")


def wrong_chain(url: str, expected: int, actual: int) -> ChainError:
    """The endpoint serves another chain."""
    return ChainError(
        f"{url} serves chain {actual}, not {expected}: use an endpoint of chain {expected}."
    )


def unreadable_log(contract: str, transaction: str, reason: str) -> ChainError:
    """A node gives as a contract's log what that contract cannot have logged."""
    return ChainError(
        f"the node gives a log of {contract} in transaction {transaction} that cannot be one "
        f"({reason}): use another endpoint."
    )


def gas_cap_exceeded(label: str, cap: int, needed: int | None) -> TransactionRefused:
    """A transaction needs more gas than one may use; `needed` is None where it is not known."""
    found = "more" if needed is None else str(needed)
    return TransactionRefused(
        label,
        f"needs {found} gas where one transaction may use {cap}: "
        "send less at once, or use root recording",
    )


def block_too_small(label: str, limit: int, needed: int | None) -> TransactionRefused:
    """No block of the chain holds a transaction; `needed` is None where it is not known."""
    found = "more" if needed is None else str(needed)
    return TransactionRefused(
        label,
        f"needs {found} gas where the gas limit of a block is {limit}: have the chain's validators "
        "raise it, or send less at once",
    )


def evm_too_old(label: str, error: ChainError) -> TransactionRefused:
    """The chain's EVM lacks what our contracts are compiled for."""
    return TransactionRefused(
        label,
        "the contracts need the EVM of Shanghai or later (PUSH0, EIP-3855), and this chain has an "
        f"older one: set shanghaiTime in its genesis file, or use another chain ({error})",
    )


def not_enough_funds(label: str, sender: str, balance: int, needed: int) -> TransactionRefused:
    """The sender cannot pay for a transaction; amounts in wei."""
    return TransactionRefused(
        label,
        f"{sender} holds {balance} wei and needs {needed}: send it some of the chain's currency",
    )
