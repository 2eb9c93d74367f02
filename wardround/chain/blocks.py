"""Blocks, transactions and receipts, read from a node's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address

from wardround.chain.contract import Log


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction. Times are seconds since 1970."""

    transaction_hash: str
    block_number: int
    timestamp: int
    status: int
    gas_used: int
    contract_address: str | None
    logs: tuple[Log, ...]
    block_hash: str | None = None


@dataclass(frozen=True)
class Block:
    """A block's head and the hashes of its transactions."""

    number: int
    timestamp: int
    gas_limit: int
    base_fee_wei: int | None
    transactions: tuple[str, ...]
    block_hash: str | None = None


@dataclass(frozen=True)
class Transaction:
    """A transaction as it was sent."""

    transaction_hash: str
    sender: str
    to: str | None
    nonce: int
    data: bytes
    block_number: int | None


def read_block(found: dict[str, Any]) -> Block:
    """Read the answer to ``eth_getBlockByNumber``."""
    fee = found.get("baseFeePerGas")
    return Block(
        int(found["number"], 16),
        int(found["timestamp"], 16),
        int(found["gasLimit"], 16),
        None if fee is None else int(fee, 16),
        tuple(found["transactions"]),
        found.get("hash"),
    )


def read_transaction(found: dict[str, Any]) -> Transaction:
    """Read the answer to ``eth_getTransactionByHash``."""
    number = found.get("blockNumber")
    return Transaction(
        found["hash"],
        to_checksum_address(found["from"]),
        None if found.get("to") is None else to_checksum_address(found["to"]),
        int(found["nonce"], 16),
        read_bytes(found["input"]),
        None if number is None else int(number, 16),
    )


def read_receipt(transaction_hash: str, found: dict[str, Any], timestamp: int) -> Receipt:
    """Read the answer to ``eth_getTransactionReceipt``, with its block's time."""
    created = found.get("contractAddress")
    return Receipt(
        transaction_hash,
        int(found["blockNumber"], 16),
        timestamp,
        int(found["status"], 16),
        int(found["gasUsed"], 16),
        None if created is None else to_checksum_address(created),
        tuple(read_log(log) for log in found["logs"]),
        found.get("blockHash"),
    )


def read_log(found: dict[str, Any]) -> Log:
    """Read one of the answers to ``eth_getLogs``."""
    return Log(
        to_checksum_address(found["address"]),
        tuple(read_bytes(topic) for topic in found["topics"]),
        read_bytes(found["data"]),
        int(found["blockNumber"], 16),
        found["transactionHash"],
        int(found["logIndex"], 16),
    )


def read_bytes(text: str) -> bytes:
    """Read hexadecimal with 0x."""
    return bytes.fromhex(text[2:])
