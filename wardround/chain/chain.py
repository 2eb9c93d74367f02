"""One chain for everybody: in process, a local anvil, or any JSON-RPC endpoint.

A transaction is sent so that it happens once. The question ``unless`` asks the chain whether its
effect is there already; it is asked before sending, and again whenever the outcome is in doubt. A
sender has at most one transaction under way: one that hangs is replaced under the same nonce, so
never both are mined (`wardround.chain.delivery`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from wardround.chain.blocks import Receipt
from wardround.chain.contract import AbiItem, Call, deployment
from wardround.chain.delivery import PendingTransaction
from wardround.chain.endpoints import Endpoints, chain_unknown, read_settings, split_urls
from wardround.chain.errors import (
    ChainError,
    ChainUnreachable,
    ContractReverted,
    RpcRefused,
    TransactionRefused,
    TransactionTimedOut,
    block_too_small,
    gas_cap_exceeded,
    not_enough_funds,
    wrong_chain,
)
from wardround.chain.providers import provider_of
from wardround.chain.reader import ReadOnlyChain, request_of
from wardround.chain.rpc import PATIENCE_SECONDS, Rpc
from wardround.host.backoff import pauses

#: What one transaction may use (EIP-7825). Development chains may not enforce it, so we do.
GAS_CAP = 16_777_216
#: Estimates are exact for one state; another transaction may change it before ours is mined.
GAS_MARGIN = 1.25

#: Nothing that we ask takes a node longer.
_ANSWER_SECONDS = 30.0
#: Another process with the same key may be quicker many times in a row.
_ATTEMPTS = 25
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 1.0


class Chain(ReadOnlyChain):
    """A chain behind a JSON-RPC interface, and transactions that happen once each."""

    def __init__(self, rpc: Rpc, timeout_seconds: float = 120) -> None:
        super().__init__(rpc, timeout_seconds)
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    def send(
        self,
        signer: LocalAccount,
        function: Call,
        label: str,
        unless: Callable[[], bool] | None = None,
    ) -> Receipt | None:
        """Send a transaction and wait until it is mined.

        Args:
            signer: pays and signs.
            function: what to call, or a deployment.
            label: names the attempt in errors.
            unless: asks the chain whether the effect is there already.

        Returns:
            The receipt; None when `unless` found the effect there, so nothing new was needed.

        Raises:
            ContractReverted: the contract refuses, under the name of its own error.
            TransactionRefused: the signer cannot pay, it needs more gas than `GAS_CAP` or a block
                holds, or the node refuses it for another reason.
            TransactionTimedOut: no receipt in time; call again.
            ChainUnreachable: no answer.
        """

        def done() -> bool:
            # At the head: what is there and not yet confirmed must not be sent again.
            if unless is None:
                return False
            with self.at_head():
                return unless()

        with self._lock(signer.address):
            if done() and self._settled(unless, label):
                return None
            try:
                receipt = self._deliver(signer, function, label, done)
            except ChainError:
                if not done():
                    raise
                receipt = None
            if receipt is None and not self._settled(unless, label):
                raise self._unsettled(label)
            return receipt

    def deploy(
        self,
        signer: LocalAccount,
        abi: Iterable[AbiItem],
        bytecode: bytes,
        *arguments: Any,
        label: str = "deploy",
    ) -> Receipt:
        """Create a contract; its address is in the receipt."""
        receipt = self.send(signer, deployment(abi, bytecode, *arguments), label)
        assert receipt is not None  # without `unless` there always is one
        return receipt

    def transfer(self, signer: LocalAccount, to: str, value_wei: int) -> Receipt:
        """Send some of the chain's own currency."""
        call = Call(to_checksum_address(to), b"", "transfer", value_wei=value_wei)
        receipt = self.send(signer, call, f"transfer to {to}")
        assert receipt is not None
        return receipt

    def advance(self, seconds: int) -> None:
        """Let time pass on a development chain: mine a block so much later.

        Raises:
            ChainError: the chain keeps its own time.
        """
        try:
            self.rpc("evm_increaseTime", seconds)
            self.rpc("evm_mine")
        except RpcRefused as error:
            raise ChainError(
                f"{self.url} keeps its own time: wait for it, or use embedded or anvil."
            ) from error

    def let_pass(self, seconds: float) -> None:
        """Wait so long; on a development chain, which has no blocks by itself, mine one then."""
        time.sleep(seconds)
        with suppress(RpcRefused):
            self.rpc("evm_mine")

    # ---------------------------------------------------------------- inside

    def _settled(self, unless: Callable[[], bool] | None, label: str) -> bool:
        """Wait until an effect that is at the head is confirmed; False when it vanished."""
        if unless is None or self.confirmations == 0:
            return True
        deadline, head = time.monotonic() + self.timeout_seconds, -1
        pause = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        while not unless():
            with self.at_head():
                if not unless():
                    return False
                if self._seen_number() > head:
                    # A new block arrived: the timeout counts from the last one.
                    head = self._seen_number()
                    deadline = time.monotonic() + self.timeout_seconds
            if time.monotonic() > deadline:
                raise self._unsettled(label)
            time.sleep(next(pause))
        return True

    def _unsettled(self, label: str) -> TransactionTimedOut:
        seconds = f"{self.timeout_seconds:g} s"
        return TransactionTimedOut(label, f"an earlier one was not confirmed within {seconds}")

    def _deliver(
        self, signer: LocalAccount, function: Call, label: str, done: Callable[[], bool]
    ) -> Receipt | None:
        gas = self._gas(signer.address, function, label)
        for _ in range(_ATTEMPTS):
            receipt = PendingTransaction(self, signer, function, gas, label).run()
            if receipt is None:
                if done():
                    return None
                continue
            if receipt.status != 1:
                raise self._why_failed(signer.address, function, label, receipt, gas)
            return receipt
        raise TransactionRefused(label, f"its nonce was taken {_ATTEMPTS} times by another sender")

    def _gas(self, sender: str, function: Call, label: str) -> int:
        limit = min(GAS_CAP, self.block().gas_limit)
        request = request_of(function, sender) | {"gas": hex(limit)}
        try:
            try:
                needed = int(self.rpc("eth_estimateGas", request, "latest"), 16)
            except RpcRefused as error:
                if not error.reverted:
                    raise
                # A deadline may have passed since the latest block. Only then: the pending state
                # may hold the very transaction that this one replaces.
                needed = int(self.rpc("eth_estimateGas", request, "pending"), 16)
        except RpcRefused as error:
            words = error.message.lower()
            if "out of gas" in words or "gas required exceeds" in words:
                raise _exceeded(label, limit, None) from error
            if error.unaffordable:
                held = self.balance_wei(sender)
                raise not_enough_funds(label, sender, held, function.value_wei) from error
            raise self.named(label, error) from error
        if needed > limit:
            raise _exceeded(label, limit, needed)
        return min(limit, int(needed * GAS_MARGIN))

    def _why_failed(
        self, sender: str, function: Call, label: str, receipt: Receipt, gas: int
    ) -> ContractReverted | TransactionRefused:
        # A receipt holds no reason: the call is made again on the state the transaction met.
        try:
            self.rpc("eth_call", request_of(function, sender), hex(receipt.block_number - 1))
        except RpcRefused as error:
            if error.data is not None:
                return self.errors.reverted(label, error.data)
        if receipt.gas_used >= gas:
            return gas_cap_exceeded(label, gas, None)
        return ContractReverted(label, "NoReason", {}, "0x")

    def _lock(self, sender: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(sender, threading.Lock())


def _exceeded(label: str, limit: int, needed: int | None) -> TransactionRefused:
    return (gas_cap_exceeded if limit == GAS_CAP else block_too_small)(label, limit, needed)


_EMBEDDED: dict[str, Chain] = {}


def register_embedded(name: str, chain: Chain | None) -> None:
    """Let `open_chain` find an embedded chain under ``embedded:NAME``; None forgets it."""
    if chain is None:
        _EMBEDDED.pop(name, None)
    else:
        _EMBEDDED[name] = chain


def open_chain(
    url: str, expected_chain_id: int | None = None, timeout_seconds: float = 120
) -> Chain:
    """Open the chain at an address.

    Args:
        url: ``http://``, ``https://``, ``ipc://PATH``, or ``embedded:NAME`` in the process that
            started that chain. Several, with commas between, stand in for each other. Settings
            may follow after ``#``, with ``&`` between: ``confirmations=N``, ``bump_seconds=N``,
            ``max_fee_gwei=N``; see `Chain`.
        expected_chain_id: refuse any other chain.
        timeout_seconds: how long to wait for a receipt, and for an answer at most.

    Raises:
        ChainError: the address names no chain, another chain answers, or what follows ``#`` is
            none of these.
        ChainUnreachable: no answer.
    """
    if url.startswith("embedded:"):
        chain = _EMBEDDED.get(url.removeprefix("embedded:"))
        if chain is None:
            raise chain_unknown(url)
    else:
        addresses, _, after = url.partition("#")
        settings = read_settings(after)
        try:
            rpc = _rpc(addresses, expected_chain_id, timeout_seconds)
            chain = Chain(rpc, timeout_seconds)
        except RpcRefused as error:
            raise ChainUnreachable(url, error.message) from error
        chain.confirmations = settings.confirmations
        chain.bump_seconds = settings.bump_seconds
        chain.max_fee_wei = settings.max_fee_wei
    if expected_chain_id not in (None, chain.chain_id):
        assert expected_chain_id is not None
        if not url.startswith("embedded:"):
            chain.close()
        raise wrong_chain(url, expected_chain_id, chain.chain_id)
    return chain


def _rpc(url: str, expected_chain_id: int | None, timeout_seconds: float) -> Rpc:
    answer_seconds = min(timeout_seconds, _ANSWER_SECONDS)
    patience_seconds = min(timeout_seconds, PATIENCE_SECONDS)
    urls = split_urls(url)
    if len(urls) > 1:
        return Endpoints(urls, expected_chain_id, answer_seconds, patience_seconds)
    provider = provider_of(url, answer_seconds)
    if provider is None:
        raise chain_unknown(url)
    return Rpc(provider, url, patience_seconds=patience_seconds)


@contextmanager
def connected(
    url: str, expected_chain_id: int | None = None, timeout_seconds: float = 120
) -> Iterator[Chain]:
    """Open the chain at an address for a while, see `open_chain`.

    A chain of this process stays open: its starter closes it.
    """
    chain = open_chain(url, expected_chain_id, timeout_seconds)
    try:
        yield chain
    finally:
        if not url.startswith("embedded:"):
            chain.close()
