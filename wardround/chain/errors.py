"""Errors of the places where things are kept.

LedgerError
├── StoreError
│   ├── StoreUnknown          an address that names no kind of store
│   ├── ObjectMissing         the store has no such object
│   ├── ObjectAltered         an object whose bytes do not give its CID
│   ├── ObjectTooLarge        an object longer than the reader allows
│   ├── ObjectSealed          an object that is encrypted, and no key to it
│   ├── NotGranted            the sponsor has not let this account read or write
│   ├── StoreUnreachable      no answer from a store elsewhere (retryable)
│   ├── StoreRefused          a store elsewhere answers with a refusal
│   └── QuorumMissed          too few of a store's replicas took an object (retryable)
├── ChainError
│   ├── ChainUnreachable      no answer from the endpoint (retryable)
│   │   └── NoEndpointLeft    none of several endpoints is well (retryable)
│   ├── ChainUnknown          a chain address that names no chain
│   ├── ChainSettingsInvalid  what follows # in a chain's address is no setting
│   ├── WrongChain            another chain id than expected
│   ├── DevChainOnly          time travel asked of a chain that others share
│   ├── AnvilMissing          the anvil binary is not on this machine
│   ├── AnvilFailed           anvil did not start
│   ├── TransactionRefused    the node does not take a transaction, with its own words
│   ├── TransactionTimedOut   no receipt in time (retryable)
│   │   ├── FeeCapReached     because the fee needed is above the one allowed (retryable)
│   │   └── EarlierUndone     because one before it was undone (retryable)
│   ├── ContractReverted      the contract refused, named after its own error
│   ├── NotEnoughFunds        the sender cannot pay for the transaction
│   └── GasCapExceeded        more gas than a transaction may use
├── ArchiveInvalid            an archive that is none, or that does not prove what it says
├── AuditIncomplete           what is public holds, and encrypted vectors were not read
└── JournalError
    ├── JournalAltered        a line that is not the one that was written
    ├── JournalTruncated      the last line was cut off by a crash
    └── JournalInUse          another process appends to it
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround.protocol.errors import Retryable, WardroundError


class LedgerError(WardroundError):
    """Something about chain, store or journal."""


class StoreError(LedgerError):
    """Something about stored objects."""


class StoreUnknown(StoreError):
    """An address that names no kind of store."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"no store answers to {url!r}: give a folder, file:// and its path, or "
            "ipfs://HOST:PORT; several with commas between, and #quorum=N after them."
        )


class ObjectMissing(StoreError):
    """The store has no object of this CID."""

    def __init__(self, cid: str, where: str) -> None:
        self.cid = cid
        self.where = where
        super().__init__(f"object {cid} is not in {where}: fetch it from another copy.")


class ObjectAltered(StoreError):
    """The bytes under a CID are not those that it names."""

    def __init__(self, cid: str, found: str, where: str) -> None:
        self.cid = cid
        self.found = found
        self.where = where
        super().__init__(
            f"object {cid} in {where} was altered (its bytes give {found}): "
            "replace it from another copy."
        )


class ObjectTooLarge(StoreError):
    """An object is longer than the reader allows."""

    def __init__(self, cid: str, size_bytes: int, max_bytes: int) -> None:
        self.cid = cid
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes
        super().__init__(
            f"object {cid} has {size_bytes} bytes where at most {max_bytes} are expected: "
            "it is not what it is named as."
        )


class ObjectSealed(StoreError):
    """An object is encrypted, and this reader has no key to it."""

    def __init__(self, cid: str, epoch: int) -> None:
        self.cid = cid
        self.epoch = epoch
        super().__init__(
            f"object {cid} is encrypted (epoch {epoch}) and no key to it is here: ask the study's "
            "sponsor for a grant, and name the reading key."
        )


class NotGranted(StoreError):
    """Nothing may be read or written in this account's name."""

    def __init__(self, account: str, study: str) -> None:
        self.account = account
        self.study = study
        super().__init__(
            f"{account} has no grant with this reading key for study {study}: "
            "its sponsor gives one with `wardround grants give`."
        )


class StoreUnreachable(StoreError, Retryable):
    """A store elsewhere does not answer."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"the store at {where} does not answer ({reason}): try again.")


class StoreRefused(StoreError):
    """A store elsewhere answers, but not with what was asked for."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"the store at {where} refuses: {reason}.")


class QuorumMissed(StoreError, Retryable):
    """Too few replicas of a store took an object; `reasons` says why, by replica."""

    def __init__(self, quorum: int, reasons: Mapping[str, str]) -> None:
        self.quorum = quorum
        self.reasons = dict(reasons)
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"fewer than {quorum} replicas of the store have it ({listed}).")


class ChainError(LedgerError):
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


class AnvilMissing(ChainError):
    """The anvil binary is not on this machine."""

    def __init__(self, looked_in: tuple[str, ...]) -> None:
        self.looked_in = looked_in
        super().__init__(
            f"anvil was not found in {', '.join(looked_in)}: "
            "run `make setup`, or name the binary in WARDROUND_ANVIL."
        )


class AnvilFailed(ChainError):
    """The anvil process did not come up."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"anvil did not start ({reason}): try it by hand with `anvil`.")


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


class ArchiveInvalid(LedgerError):
    """An evidence archive that is none, or that does not prove what it says."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"archive {path}: {reason}: do not rely on it.")


class AuditIncomplete(LedgerError):
    """Everything public holds, but vectors are encrypted and this reader has no key to them."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        super().__init__(
            f"what is public holds, but {unread} vectors are encrypted and were not read, so "
            "models and rewards were not recomputed: ask the study's sponsor for a grant, and "
            "name your reading key (--reading-key FILE, or '&key=FILE' in the --store address)."
        )


class JournalError(LedgerError):
    """Something about the record of a development chain."""


class JournalAltered(JournalError):
    """A line of a journal is not the one that was written."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(f"{path}:{line}: the journal was altered ({reason}): use a true copy.")


class JournalTruncated(JournalError):
    """The last line was cut off while it was written."""

    def __init__(self, path: str, line: int) -> None:
        self.path = path
        self.line = line
        super().__init__(
            f"{path}:{line}: the journal ends inside a line, as after a crash: "
            "open it for appending to drop that line."
        )


class JournalInUse(JournalError):
    """Another process appends to the journal."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path}: another process appends to this journal: end it first.")


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
