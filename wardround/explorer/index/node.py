"""What the follower asks a node, in as few requests as possible, and believes only when it agrees.

What can be seen without trusting the node: that each header gives the hash it is named by, that
headers follow each other, that logs name these headers, and that no block whose filter admits a
log of ours is without one. A node that leaves out some logs of a block and not others is found by
what its events mean, in `wardround.explorer.index.project`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from wardround.chain.errors import RpcRefused
from wardround.chain.headers import BlockHeader, read_header
from wardround.chain.rpc import Rpc
from wardround.explorer.errors import NodeUnreliable
from wardround.explorer.index.decode import RawLog

#: Headers in one request.
HEADERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks that follow each other, and every log of the two contracts in them."""

    headers: Sequence[BlockHeader]
    logs: Sequence[RawLog]


class Node:
    """One endpoint, asked about one WardRound and its Court."""

    def __init__(self, rpc: Rpc, addresses: Sequence[str]) -> None:
        """Begin.

        Args:
            rpc: the connection.
            addresses: of the contracts, lower-case.
        """
        self.rpc = rpc
        self.addresses = tuple(addresses)
        #: Whether headers give their hash here; None before the first header. Some chains hash
        #: fields that no other has, so a chain whose first header does not, is not judged by it.
        self.hashes_follow: bool | None = None

    def head(self) -> BlockHeader:
        """The latest block."""
        (header,) = self._headers(["latest"])
        return header

    def headers(self, numbers: Sequence[int]) -> list[BlockHeader]:
        """Several blocks by their numbers."""
        found: list[BlockHeader] = []
        for start in range(0, len(numbers), HEADERS_AT_ONCE):
            found += self._headers([hex(one) for one in numbers[start : start + HEADERS_AT_ONCE]])
        for number, header in zip(numbers, found, strict=True):
            if header.number != number:
                raise unreliable(self.rpc, number, f"it gives block {header.number} instead")
        return found

    def range(self, first: int, last: int) -> Range:
        """Read blocks and logs.

        Raises:
            NodeUnreliable: the answer contradicts itself, something is missing, or the chain
                changed while it was read.
            RpcRefused: the node refuses.
            ChainUnreachable: no answer.
        """
        headers = self.headers(range(first, last + 1))
        for one, next_one in pairwise(headers):
            if next_one.parent != one.hash:
                reason = "its parent is not the block before: the chain has changed meanwhile"
                raise unreliable(self.rpc, next_one.number, reason)
        logs = self._logs(first, last)
        self._match(headers, logs)
        return Range(headers, logs)

    def _headers(self, names: Sequence[str]) -> list[BlockHeader]:
        answers = self.rpc.many([("eth_getBlockByNumber", (name, False)) for name in names])
        for name, found in zip(names, answers, strict=True):
            if found is None:
                number = int(name, 16) if name != "latest" else -1
                raise unreliable(self.rpc, number, "it does not have the block")
        return [self._read(found) for found in answers]

    def _read(self, found: Any) -> BlockHeader:
        try:
            header = read_header(found)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise unreliable(self.rpc, -1, f"a block is malformed ({error!r:.80})") from error
        follows = header.recomputed == header.hash
        if self.hashes_follow is None:
            self.hashes_follow = follows
        if self.hashes_follow and not follows:
            reason = f"it names it {header.hash}, its fields give {header.recomputed}"
            raise unreliable(self.rpc, header.number, reason)
        return header

    def _logs(self, first: int, last: int) -> list[RawLog]:
        found = self.rpc.logs({"address": list(self.addresses)}, first, last)
        try:
            return [_read_log(one) for one in found]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise unreliable(self.rpc, first, f"a log is malformed ({error!r:.80})") from error

    def _match(self, headers: Sequence[BlockHeader], logs: Sequence[RawLog]) -> None:
        by_number = {header.number: header for header in headers}
        before = (-1, -1)
        for log in logs:
            header = by_number.get(log.block)
            if header is None or log.contract not in self.addresses:
                raise unreliable(self.rpc, log.block, "it gives a log that was not asked for")
            if header.hash != log.block_hash:
                reason = f"a log is of block {log.block_hash}: the chain has changed meanwhile"
                raise unreliable(self.rpc, log.block, reason)
            if (log.block, log.log_index) <= before:
                raise unreliable(self.rpc, log.block, "its logs repeat or are out of order")
            before = (log.block, log.log_index)
        logged = {log.block for log in logs}
        for header in headers:
            admitted = header.may_hold_logs_of(*self.addresses)
            if header.number in logged and not admitted:
                raise unreliable(self.rpc, header.number, "its filter admits none of its logs")
            if admitted and header.bloom and header.number not in logged:
                self._look_closer(header)

    def _look_closer(self, header: BlockHeader) -> None:
        """Tell a missing log from a filter that admits too much, by the block's receipts."""
        for receipt in block_receipts(self.rpc, header.number) or ():
            for log in (receipt or {}).get("logs", ()):
                if log["address"].lower() in self.addresses:
                    reason = "a receipt holds a log that eth_getLogs does not give"
                    raise unreliable(self.rpc, header.number, reason)


def block_receipts(rpc: Rpc, number: int) -> Any:
    """The receipts of all transactions of a block, in order, as the node gives them."""
    try:
        return rpc("eth_getBlockReceipts", hex(number))
    except RpcRefused:
        block = rpc("eth_getBlockByNumber", hex(number), False)
        asked = [("eth_getTransactionReceipt", (one,)) for one in block["transactions"]]
        return rpc.many(asked)


def unreliable(rpc: Rpc, block: int, reason: str) -> NodeUnreliable:
    """The error that a node cannot be believed about a block."""
    return NodeUnreliable(f"{rpc.url} is wrong about block {block}: {reason}; ask another node.")


def _read_log(found: dict[str, Any]) -> RawLog:
    if found.get("removed"):
        raise ValueError("marked as removed")
    return RawLog(
        found["address"].lower(),
        tuple([bytes.fromhex(topic[2:]) for topic in found["topics"]]),
        bytes.fromhex(found["data"][2:]),
        int(found["blockNumber"], 16),
        found["blockHash"].lower(),
        found["transactionHash"].lower(),
        int(found["transactionIndex"], 16),
        int(found["logIndex"], 16),
    )
