"""One chain for everybody: in process, a local anvil, or any JSON-RPC endpoint.

A transaction is sent so that it happens once. The question ``unless`` asks the chain whether its
effect is there already; it is asked before sending, and again whenever the outcome is in doubt. A
sender has at most one transaction under way: one that hangs is replaced under the same nonce, so
never both are mined.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from ledger.blocks import (
    Block,
    Receipt,
    Transaction,
    read_block,
    read_bytes,
    read_log,
    read_receipt,
    read_transaction,
)
from ledger.contract import AbiItem, Call, ErrorTable, Log, deployment
from ledger.errors import (
    ChainUnknown,
    ChainUnreachable,
    ContractReverted,
    DevChainOnly,
    GasCapExceeded,
    NotEnoughFunds,
    TransactionRefused,
    TransactionTimedOut,
    WrongChain,
)
from ledger.rpc import Rpc, RpcRefused, provider_of

#: What one transaction may use (EIP-7825). Development chains may not enforce it, so we do.
GAS_CAP = 16_777_216
#: Estimates are exact for one state; another transaction may change it before ours is mined.
GAS_MARGIN = 1.25

_ATTEMPTS = 5
_FIRST_POLL_SECONDS = 0.001
_LAST_POLL_SECONDS = 0.5
_RECEIPT_LAG_SECONDS = 2.0
_DEFAULT_PRIORITY_WEI = 10**9


class Chain:
    """A chain behind a JSON-RPC interface."""

    def __init__(self, rpc: Rpc, timeout_seconds: float = 120) -> None:
        self.rpc = rpc
        self.url = rpc.url
        self.timeout_seconds = timeout_seconds
        self.errors = ErrorTable()
        self.chain_id = int(rpc("eth_chainId"), 16)
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    # ---------------------------------------------------------------- asking

    def call(self, function: Call, sender: str | None = None) -> Any:
        """Ask a contract, at the latest block.

        Raises:
            ContractReverted: the contract refuses, under the name of its own error.
            TransactionRefused: there is no contract, or the node refuses for its own reasons.
        """
        request = _request(function, sender)
        try:
            returned = read_bytes(self.rpc("eth_call", request, "latest"))
        except RpcRefused as error:
            raise self._named(function.name, error) from error
        if not returned and function.outputs:
            raise TransactionRefused(function.name, f"there is no contract at {function.to}")
        return function.result(returned)

    def balance_wei(self, address: str) -> int:
        """What an account holds of the chain's own currency."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        """A contract's code; empty when there is none."""
        return read_bytes(self.rpc("eth_getCode", address, "latest"))

    def block(self, number: int | None = None) -> Block:
        """A block by its number, or the latest."""
        found = self.rpc("eth_getBlockByNumber", "latest" if number is None else hex(number), False)
        if found is None:
            raise TransactionRefused("block", f"the chain has no block {number}")
        return read_block(found)

    def timestamp(self) -> int:
        """The latest block's time."""
        return self.block().timestamp

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """What became of a transaction; None while it is not mined."""
        found = self.rpc("eth_getTransactionReceipt", transaction_hash)
        if found is None or found.get("blockNumber") is None:
            return None
        # Anvil and many nodes name the time in each log, which saves a request.
        stated = next((log.get("blockTimestamp") for log in found["logs"]), None)
        if stated is not None:
            return read_receipt(transaction_hash, found, int(stated, 16))
        timestamp = self.block(int(found["blockNumber"], 16)).timestamp
        return read_receipt(transaction_hash, found, timestamp)

    def transaction(self, transaction_hash: str) -> Transaction | None:
        """A transaction as it was sent; None when the chain does not know it."""
        found = self.rpc("eth_getTransactionByHash", transaction_hash)
        return None if found is None else read_transaction(found)

    def logs(
        self,
        address: str,
        topics: Iterable[bytes | None] = (),
        from_block: int = 0,
        to_block: int | None = None,
    ) -> list[Log]:
        """Events of a contract in chain order.

        Args:
            address: the contract.
            topics: what each topic must be; None for any.
            from_block: the first block.
            to_block: the last block, the latest by default.
        """
        last = self.block().number if to_block is None else to_block
        if from_block > last:
            return []
        wanted = [None if topic is None else "0x" + topic.hex() for topic in topics]
        request = {
            "address": address,
            "topics": wanted,
            "fromBlock": hex(from_block),
            "toBlock": hex(last),
        }
        try:
            return [read_log(log) for log in self.rpc("eth_getLogs", request)]
        except RpcRefused:
            if from_block == last:
                raise
            # Public endpoints bound the blocks or events of one answer: halve and ask again.
            middle = (from_block + last) // 2
            return self.logs(address, topics, from_block, middle) + self.logs(
                address, topics, middle + 1, last
            )

    # ---------------------------------------------------------------- sending

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
            label: says in errors what was attempted.
            unless: asks the chain whether the effect is there already.

        Returns:
            The receipt; None when `unless` found the effect there, so nothing new was needed.

        Raises:
            ContractReverted: the contract refuses, under the name of its own error.
            NotEnoughFunds: the signer cannot pay.
            GasCapExceeded: it needs more than `GAS_CAP` gas.
            TransactionTimedOut: no receipt in time; call again.
            TransactionRefused: the node refuses for another reason.
            ChainUnreachable: no answer.
        """

        def done() -> bool:
            return unless is not None and unless()

        with self._lock(signer.address):
            if done():
                return None
            try:
                return self._deliver(signer, function, label, done)
            except (ContractReverted, TransactionTimedOut, TransactionRefused, ChainUnreachable):
                if done():
                    return None
                raise

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
            DevChainOnly: the chain keeps its own time.
        """
        try:
            self.rpc("evm_increaseTime", seconds)
            self.rpc("evm_mine")
        except RpcRefused as error:
            raise DevChainOnly(self.url) from error

    def close(self) -> None:
        """Let go of the connection."""
        closing = getattr(self.rpc.provider, "disconnect", None)
        if closing is not None:
            closing()

    # ---------------------------------------------------------------- inside

    def _deliver(
        self, signer: LocalAccount, function: Call, label: str, done: Callable[[], bool]
    ) -> Receipt | None:
        gas = self._gas(signer.address, function, label)
        fees = self._fees()
        for _ in range(_ATTEMPTS):
            # The mined count, not the pending one: see the module's first lines.
            nonce = int(self.rpc("eth_getTransactionCount", signer.address, "latest"), 16)
            fields: dict[str, Any] = {
                "chainId": self.chain_id,
                "nonce": nonce,
                "gas": gas,
                "value": function.value_wei,
                "data": function.data,
                **fees,
            }
            if function.to is not None:
                fields["to"] = function.to
            signed = signer.sign_transaction(fields)
            transaction_hash = "0x" + signed.hash.hex()
            try:
                self.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
            except RpcRefused as error:
                words = error.message.lower()
                if "out of gas" in words:
                    raise GasCapExceeded(label, gas, None) from error
                if "insufficient funds" in words or "enough funds" in words:
                    needed = gas * max(fees.values()) + function.value_wei
                    held = self.balance_wei(signer.address)
                    raise NotEnoughFunds(label, signer.address, held, needed) from error
                if error.reverted:
                    raise self._named(label, error) from error
                if "underpriced" in words:
                    # Nodes ask a tenth more for a replacement.
                    fees = {name: fee + fee // 4 + 1 for name, fee in fees.items()}
                    continue
                known = self.rpc("eth_getTransactionByHash", transaction_hash) is not None
                if not known and "nonce" in words:
                    if done():
                        return None
                    continue
                if not known:
                    raise TransactionRefused(label, error.message) from error
            receipt = self._wait(transaction_hash, signer.address, nonce, label)
            if receipt is None:
                if done():
                    return None
                continue
            if receipt.status != 1:
                raise self._why_failed(signer.address, function, label, receipt, gas)
            return receipt
        raise TransactionRefused(label, f"its nonce was taken {_ATTEMPTS} times by another sender")

    def _gas(self, sender: str, function: Call, label: str) -> int:
        request = _request(function, sender) | {"gas": hex(GAS_CAP)}
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
                raise GasCapExceeded(label, GAS_CAP, None) from error
            if "insufficient funds" in words:
                held = self.balance_wei(sender)
                raise NotEnoughFunds(label, sender, held, function.value_wei) from error
            raise self._named(label, error) from error
        if needed > GAS_CAP:
            raise GasCapExceeded(label, GAS_CAP, needed)
        return min(GAS_CAP, int(needed * GAS_MARGIN))

    def _fees(self) -> dict[str, int]:
        base = self.block().base_fee_wei
        if base is None:
            return {"gasPrice": int(self.rpc("eth_gasPrice"), 16)}
        try:
            priority = int(self.rpc("eth_maxPriorityFeePerGas"), 16)
        except RpcRefused:
            priority = _DEFAULT_PRIORITY_WEI
        # Twice the base fee lasts for six full blocks in a row.
        return {"maxFeePerGas": 2 * base + priority, "maxPriorityFeePerGas": priority}

    def _wait(self, transaction_hash: str, sender: str, nonce: int, label: str) -> Receipt | None:
        """Wait for a receipt; None when another transaction has taken the nonce for good."""
        deadline = time.monotonic() + self.timeout_seconds
        pause_seconds, taken_at = _FIRST_POLL_SECONDS, None
        while (receipt := self.receipt(transaction_hash)) is None:
            if int(self.rpc("eth_getTransactionCount", sender, "latest"), 16) > nonce:
                # Nodes count a transaction some time before they show its receipt: to give up at
                # once would be to send it twice.
                taken_at = taken_at or time.monotonic()
                if time.monotonic() > taken_at + _RECEIPT_LAG_SECONDS:
                    return None
            if time.monotonic() > deadline:
                raise TransactionTimedOut(label, transaction_hash, self.timeout_seconds)
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LAST_POLL_SECONDS)
        return receipt

    def _why_failed(
        self, sender: str, function: Call, label: str, receipt: Receipt, gas: int
    ) -> ContractReverted | GasCapExceeded:
        # A receipt holds no reason: the call is made again on the state the transaction met.
        try:
            self.rpc("eth_call", _request(function, sender), hex(receipt.block_number - 1))
        except RpcRefused as error:
            if error.data is not None:
                return self.errors.reverted(label, error.data)
        if receipt.gas_used >= gas:
            return GasCapExceeded(label, gas, None)
        return ContractReverted(label, "NoReason", {}, "0x")

    def _named(self, label: str, error: RpcRefused) -> ContractReverted | TransactionRefused:
        if error.reverted:
            return self.errors.reverted(label, error.data or b"")
        return TransactionRefused(label, error.message)

    def _lock(self, sender: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(sender, threading.Lock())


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
            started that chain.
        expected_chain_id: refuse any other chain.
        timeout_seconds: how long to wait for a receipt, and for an answer at most.

    Raises:
        ChainUnknown: the address names no chain.
        ChainUnreachable: nobody answers there.
        WrongChain: another chain answers.
    """
    if url.startswith("embedded:"):
        chain = _EMBEDDED.get(url.removeprefix("embedded:"))
        if chain is None:
            raise ChainUnknown(url)
    else:
        provider = provider_of(url, min(timeout_seconds, 30))
        if provider is None:
            raise ChainUnknown(url)
        try:
            chain = Chain(Rpc(provider, url), timeout_seconds)
        except RpcRefused as error:
            raise ChainUnreachable(url, error.message) from error
    if expected_chain_id not in (None, chain.chain_id):
        assert expected_chain_id is not None
        if not url.startswith("embedded:"):
            chain.close()
        raise WrongChain(url, expected_chain_id, chain.chain_id)
    return chain


@contextmanager
def connected(url: str, expected_chain_id: int | None = None) -> Iterator[Chain]:
    """Open the chain at an address for a while, see `open_chain`.

    A chain of this process stays open: whoever started it closes it.
    """
    chain = open_chain(url, expected_chain_id)
    try:
        yield chain
    finally:
        if not url.startswith("embedded:"):
            chain.close()


def _request(function: Call, sender: str | None) -> dict[str, str]:
    request = {"data": "0x" + function.data.hex()}
    if function.to is not None:
        request["to"] = function.to
    if sender is not None:
        request["from"] = sender
    if function.value_wei:
        request["value"] = hex(function.value_wei)
    return request
