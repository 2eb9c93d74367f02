"""What a chain answers: views, blocks, receipts, events; nothing is sent here."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from eth_abi.exceptions import DecodingError

from wardround.chain.blocks import (
    Block,
    Receipt,
    Transaction,
    read_block,
    read_bytes,
    read_log,
    read_receipt,
    read_transaction,
)
from wardround.chain.contract import Call, ErrorTable, Log
from wardround.chain.errors import ChainError, ContractReverted, RpcRefused, TransactionRefused
from wardround.chain.rpc import Rpc

#: How often a block is chosen again to read at.
_VIEWS = 5


class ReadOnlyChain:
    """A chain behind a JSON-RPC interface.

    Attributes:
        confirmations: how many blocks must stand upon one before what it holds is acted upon.
            `call` and `logs` answer from the youngest such block, and `send` returns once its
            transaction is in one. 0 on a chain of one's own.
        bump_seconds: after how long a transaction that hangs is replaced by one that pays more.
        max_fee_wei: what a unit of gas may cost at most; None for whatever it takes.
    """

    def __init__(self, rpc: Rpc, timeout_seconds: float = 120) -> None:
        self.rpc = rpc
        self.confirmations = 0
        self.bump_seconds = 30.0
        self.max_fee_wei: int | None = None
        self._view = threading.local()
        self.url = rpc.url
        self.timeout_seconds = timeout_seconds
        self.errors = ErrorTable()
        self.chain_id = int(rpc("eth_chainId"), 16)

    def call(self, function: Call, sender: str | None = None) -> Any:
        """Ask a contract, at the latest block that is confirmed.

        Raises:
            ContractReverted: the contract refuses, under the name of its own error.
            TransactionRefused: there is no contract, it answers something else, or the node
                refuses for its own reasons.
        """
        request = request_of(function, sender)
        for left in reversed(range(_VIEWS)):
            seen = self._seen()
            try:
                returned = read_bytes(self.rpc("eth_call", request, seen))
                break
            except RpcRefused as error:
                # A reorganisation may have removed the block between the two questions.
                if error.reverted or seen == "latest" or not left:
                    raise self.named(function.name, error) from error
        if not returned and function.outputs:
            raise TransactionRefused(function.name, f"there is no contract at {function.to}")
        try:
            return function.result(returned)
        except DecodingError as error:
            reason = f"what the contract at {function.to} answers cannot be read ({error})"
            raise TransactionRefused(function.name, reason) from error

    def balance_wei(self, address: str) -> int:
        """What an account holds of the chain's own currency."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def transaction_count(self, address: str) -> int:
        """How many transactions of an account were mined: the nonce of its next one."""
        return int(self.rpc("eth_getTransactionCount", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        """A contract's code; empty when there is none."""
        return read_bytes(self.rpc("eth_getCode", address, "latest"))

    def storage(self, address: str, slot: bytes) -> bytes:
        """A word of a contract's storage; ``slot`` has 32 bytes."""
        return read_bytes(self.rpc("eth_getStorageAt", address, "0x" + slot.hex(), "latest"))

    def block(self, number: int | None = None) -> Block:
        """A block by its number, or the latest."""
        found = self.rpc("eth_getBlockByNumber", "latest" if number is None else hex(number), False)
        if found is None:
            raise ChainError(f"the chain at {self.url} has no block {number}.")
        return read_block(found)

    def is_free(self) -> bool:
        """Whether gas costs nothing, so that accounts need none of the chain's own currency."""
        base_fee_wei = self.block().base_fee_wei
        # EIP-1559 never lowers a base fee to 0: one that is 0 was set so.
        if base_fee_wei is not None:
            return base_fee_wei == 0
        return int(self.rpc("eth_gasPrice"), 16) == 0

    def has_push0(self) -> bool:
        """Whether the EVM is that of Shanghai or later, for which our contracts are compiled."""
        try:
            # Creates a contract without code: PUSH0 PUSH0 RETURN.
            self.rpc("eth_call", {"data": "0x5f5ff3"}, "latest")
        except RpcRefused:
            return False
        return True

    def timestamp(self) -> int:
        """The latest block's time."""
        return self.block().timestamp

    def confirmed_timestamp(self) -> int:
        """The time of the youngest block with its confirmations, also inside `at_head`.

        No later block is older, so what may happen before a time is over once this has passed it.
        """
        head = self.block()
        if self.confirmations == 0:
            return head.timestamp
        return self.block(max(0, head.number - self.confirmations)).timestamp

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """What became of a transaction; None while it is not mined."""
        found = self.rpc("eth_getTransactionReceipt", transaction_hash)
        if found is None or found.get("blockNumber") is None:
            return None
        # Anvil and many nodes name the time in each log, which saves a request.
        stated = next((log.get("blockTimestamp") for log in found["logs"]), None)
        if stated is not None:
            return read_receipt(transaction_hash, found, int(stated, 16))
        block = self.rpc("eth_getBlockByNumber", found["blockNumber"], False)
        if block is None:
            # A reorganisation came between the two requests: it is mined no more.
            return None
        return read_receipt(transaction_hash, found, read_block(block).timestamp)

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
            to_block: the last block, the latest that is confirmed by default.
        """
        last = self._seen_number() if to_block is None else to_block
        if from_block > last:
            return []
        wanted = [None if topic is None else "0x" + topic.hex() for topic in topics]
        query = {"address": address, "topics": wanted}
        return [read_log(log) for log in self.rpc.logs(query, from_block, last)]

    @contextmanager
    def at_head(self) -> Iterator[None]:
        """Answer this thread from the newest block, confirmed or not, inside a ``with``."""
        before = getattr(self._view, "at_head", False)
        self._view.at_head = True
        try:
            yield
        finally:
            self._view.at_head = before

    @contextmanager
    def unconfirmed(self) -> Iterator[None]:
        """Act on unconfirmed blocks, inside a ``with``: before a step that waits for all of them.

        For a chain that one thread uses.
        """
        before, self.confirmations = self.confirmations, 0
        try:
            yield
        finally:
            self.confirmations = before

    def close(self) -> None:
        """Let go of the connection."""
        self.rpc.close()

    def named(self, label: str, error: RpcRefused) -> ContractReverted | TransactionRefused:
        """A node's refusal under the name that the contract gives it, if it was the contract's."""
        if error.reverted:
            return self.errors.reverted(label, error.data or b"")
        return TransactionRefused(label, f"the node refuses the transaction ({error.message})")

    def _seen_number(self) -> int:
        head = self.block().number
        at_head = getattr(self._view, "at_head", False)
        return head if at_head else max(0, head - self.confirmations)

    def _seen(self) -> str:
        if self.confirmations == 0 or getattr(self._view, "at_head", False):
            return "latest"
        return hex(self._seen_number())


def request_of(function: Call, sender: str | None) -> dict[str, str]:
    """A call as a node reads it."""
    request = {"data": "0x" + function.data.hex()}
    if function.to is not None:
        request["to"] = function.to
    if sender is not None:
        request["from"] = sender
    if function.value_wei:
        request["value"] = hex(function.value_wei)
    return request
