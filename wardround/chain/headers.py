"""Blocks as a node states them, checked: the hash must follow from the header's own fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import rlp
from eth_utils import keccak
from trie.hexary import HexaryTrie

#: In the order in which they are hashed. Each fork added some at the end, and none was ever taken
#: away, so a header has the first so many of them.
#: Source: execution-specs, `Header` of the Prague fork.
_FIELDS = (
    ("parentHash", False),
    ("sha3Uncles", False),
    ("miner", False),
    ("stateRoot", False),
    ("transactionsRoot", False),
    ("receiptsRoot", False),
    ("logsBloom", False),
    ("difficulty", True),
    ("number", True),
    ("gasLimit", True),
    ("gasUsed", True),
    ("timestamp", True),
    ("extraData", False),
    ("mixHash", False),
    ("nonce", False),
    ("baseFeePerGas", True),
    ("withdrawalsRoot", False),
    ("blobGasUsed", True),
    ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False),
    ("requestsHash", False),
)
_FIRST_FORK = 15


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """A block's head.

    Attributes:
        recomputed: the hash that follows from the fields; None where the node gives too few.
        bloom: the filter over the addresses and topics of the block's logs, 256 bytes, or empty.
    """

    number: int
    hash: str
    parent: str
    timestamp: int
    recomputed: str | None
    bloom: bytes

    def may_hold_logs_of(self, *addresses: str) -> bool:
        """Whether the filter admits a log of one of these; True without a filter."""
        return not self.bloom or any(_in_bloom(self.bloom, address) for address in addresses)


def read_header(found: Mapping[str, Any]) -> BlockHeader:
    """Read the answer to ``eth_getBlockByNumber``.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: it is none.
    """
    bloom = found.get("logsBloom")
    return BlockHeader(
        int(found["number"], 16),
        found["hash"].lower(),
        found["parentHash"].lower(),
        int(found["timestamp"], 16),
        _hash_of(found),
        bytes.fromhex(bloom[2:]) if bloom else b"",
    )


def _hash_of(found: Mapping[str, Any]) -> str | None:
    present = [name in found and found[name] is not None for name, _ in _FIELDS]
    count = present.index(False) if False in present else len(_FIELDS)
    if count < _FIRST_FORK:
        return None
    values = [
        rlp.sedes.big_endian_int.serialize(int(found[name], 16))
        if is_number
        else bytes.fromhex(found[name][2:])
        for name, is_number in _FIELDS[:count]
    ]
    return "0x" + keccak(rlp.encode(values)).hex()


def _in_bloom(bloom: bytes, address: str) -> bool:
    return all(bloom[byte] & mask for byte, mask in _bits_of(address))


@lru_cache(maxsize=64)
def _bits_of(address: str) -> tuple[tuple[int, int], ...]:
    digest = keccak(bytes.fromhex(address[2:]))
    # Three bits of eleven each, counted from the end (yellow paper, section 4.3.1).
    bits = [int.from_bytes(digest[place : place + 2], "big") & 2047 for place in (0, 2, 4)]
    return tuple((255 - bit // 8, 1 << (bit % 8)) for bit in bits)


def receipts_root(receipts: Sequence[Mapping[str, Any]]) -> str:
    """The root that a header holds over all receipts of its block.

    Args:
        receipts: of every transaction in the block, in order, as a node gives them.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: one is malformed.

    Source:
        EIP-2718: a receipt is its type and ``rlp([status, cumulativeGas, logsBloom, logs])``.
    """
    encoded = []
    for receipt in receipts:
        logs = [
            [
                bytes.fromhex(log["address"][2:]),
                [bytes.fromhex(topic[2:]) for topic in log["topics"]],
                bytes.fromhex(log["data"][2:]),
            ]
            for log in receipt["logs"]
        ]
        body = rlp.encode(
            [
                int(receipt["status"], 16),
                int(receipt["cumulativeGasUsed"], 16),
                bytes.fromhex(receipt["logsBloom"][2:]),
                logs,
            ]
        )
        kind = int(receipt.get("type", "0x0"), 16)
        encoded.append((bytes([kind]) if kind else b"") + body)
    trie = HexaryTrie({})
    for place, item in enumerate(encoded):
        trie[rlp.encode(place, sedes=rlp.sedes.big_endian_int)] = item
    return "0x" + bytes(trie.root_hash).hex()
