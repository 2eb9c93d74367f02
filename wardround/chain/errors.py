"""Errors of the chain.

ChainError
├── ChainUnreachable      no answer from the endpoint (retryable)
│   └── NoEndpointLeft    none of several endpoints is well (retryable)
├── ChainUnknown          a chain address that names no chain
├── ChainSettingsInvalid  what follows # in a chain's address is no setting
├── WrongChain            another chain id than expected
├── DevChainOnly          time travel asked of a chain that others share
├── TransactionRefused    the node does not take a transaction, with its own words
├── TransactionTimedOut   no receipt in time (retryable)
│   ├── FeeCapReached     because the fee needed is above the one allowed (retryable)
│   └── EarlierUndone     because one before it was undone (retryable)
├── ContractReverted      the contract refused, named after its own error
├── NotEnoughFunds        the sender cannot pay for the transaction
└── GasCapExceeded        more gas than a transaction may use
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround.protocol.errors import Retryable, WardroundError


class ChainError(WardroundError):
    """Something about the chain."""


class ChainUnreachable(ChainError, Retryable):
    """The endpoint does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"the chain at {url} does not answer ({reason}): start it or correct the address."
        )


class NoEndpointLeft(ChainUnreachable):
    """None of several endpoints of a chain is well; `reasons` says why, by address."""

    def __init__(self, url: str, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        listed = "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
        super().__init__(url, listed)


class ChainUnknown(ChainError):
    """An address that names no chain."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"no chain answers to {url!r}: give http://, https://, ws://, ipc:// or, "
            "in the process that started it, embedded:NAME."
        )


class ChainSettingsInvalid(ChainError):
    """What follows ``#`` in a chain's address is no setting, or has no value it can have."""

    def __init__(self, setting: str) -> None:
        self.setting = setting
        super().__init__(
            f"{setting!r} is no setting of a chain: after # give confirmations=N, "
            "bump_seconds=N or max_fee_gwei=N, with & between."
        )


class WrongChain(ChainError):
    """The endpoint serves another chain."""

    def __init__(self, url: str, expected: int, actual: int) -> None:
        self.url = url
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{url} serves chain {actual}, not {expected}: use an endpoint of chain {expected}."
        )


class DevChainOnly(ChainError):
    """Only a chain of one's own can be told the time."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"{url} keeps its own time: wait for it, or use embedded or anvil.")


class TransactionRefused(ChainError):
    """The node does not take a transaction."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"{label}: the node refuses the transaction ({reason}).")


class TransactionTimedOut(ChainError, Retryable):
    """No receipt came in time; the transaction may still be mined."""

    def __init__(self, label: str, transaction_hash: str, timeout_seconds: float) -> None:
        self.label = label
        self.transaction_hash = transaction_hash
        self.timeout_seconds = timeout_seconds
        super().__init__(
            f"{label}: no receipt of {transaction_hash} within {timeout_seconds:g} s: "
            "it may still be mined; call again, nothing is done twice."
        )


class EarlierUndone(TransactionTimedOut):
    """No receipt can come: a reorganisation undid an earlier transaction of the same sender."""

    def __init__(self, label: str, transaction_hash: str, waited_seconds: float) -> None:
        super().__init__(label, transaction_hash, waited_seconds)
        self.args = (
            f"{label}: a reorganisation undid an earlier transaction of the sender, and "
            f"{transaction_hash} cannot be mined without it: call again, nothing is done twice.",
        )


class FeeCapReached(TransactionTimedOut):
    """No receipt came in time, and the settings allow no higher fee."""

    def __init__(
        self,
        label: str,
        transaction_hash: str,
        timeout_seconds: float,
        cap_wei: int,
        needed_wei: int,
    ) -> None:
        self.cap_wei = cap_wei
        self.needed_wei = needed_wei
        super().__init__(label, transaction_hash, timeout_seconds)
        self.args = (
            f"{label}: {transaction_hash} needs {needed_wei} wei a gas where {cap_wei} "
            "are allowed: allow more, or wait for lower fees; call again, nothing is done twice.",
        )


class ContractReverted(ChainError):
    """The contract refused; `name` and `arguments` are those of its own error."""

    def __init__(self, label: str, name: str, arguments: Mapping[str, object], data: str) -> None:
        self.label = label
        self.name = name
        self.arguments = dict(arguments)
        self.data = data
        shown = ", ".join(f"{key} {_shown(value)}" for key, value in arguments.items())
        super().__init__(f"{label}: the contract refused with {name}({shown}).")


class NotEnoughFunds(ChainError):
    """The sender cannot pay for the transaction."""

    def __init__(self, label: str, sender: str, balance_wei: int, needed_wei: int) -> None:
        self.label = label
        self.sender = sender
        self.balance_wei = balance_wei
        self.needed_wei = needed_wei
        super().__init__(
            f"{label}: {sender} holds {balance_wei} wei and needs {needed_wei}: "
            "send it some of the chain's currency."
        )


class GasCapExceeded(ChainError):
    """A transaction needs more gas than the network lets one use."""

    def __init__(self, label: str, cap: int, needed: int | None) -> None:
        self.label = label
        self.cap = cap
        self.needed = needed
        found = "more" if needed is None else str(needed)
        super().__init__(
            f"{label}: needs {found} gas where one transaction may use {cap}: "
            "send less at once, or use root recording."
        )


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
