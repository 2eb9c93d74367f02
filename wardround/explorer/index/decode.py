"""Decodes events of WardRound and Court, strictly: encoded again, they give the same bytes.

`eth_abi` takes some 60 microseconds a value. Most events hold nothing but words of 32 bytes, and a
backfill reads millions of them, so those are read here; the others still go through `eth_abi`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils import keccak
from eth_utils.abi import collapse_if_tuple

from wardround.chain.artifacts import load_artifact
from wardround.explorer.errors import ExplorerError

#: Integers wider than this are written as decimal text: JSON readers keep 53 bits.
_JSON_BITS = 53
#: Addresses that mean no account.
_NOBODY = frozenset({"0x" + "00" * 20, "0x" + "00" * 19 + "01"})

_WordReader = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class RawLog:
    """A log as a node gives it; hashes in lower-case hexadecimal with 0x."""

    contract: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: str
    transaction_hash: str
    position: int
    log_index: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """An event by the contract's names: bytes as hexadecimal, wide integers as decimal text."""

    contract: str
    name: str
    args: dict[str, Any]
    addresses: tuple[str, ...]
    log: RawLog


@dataclass(frozen=True)
class _Shape:
    name: str
    #: Name, type and reader of each value that is one word: the indexed ones first.
    words: tuple[tuple[str, str, _WordReader], ...]
    indexed: int
    #: What eth_abi reads: all data of an event with a value that is not one word.
    others: tuple[Mapping[str, Any], ...]
    order: tuple[str, ...]


class EventTable:
    """The events of both contracts by their first topic."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """Read the events from the ABIs.

        Args:
            addresses: from lower-case address to ``WardRound`` or ``Court``.
        """
        self._names = dict(addresses)
        self._shapes = {
            (address, topic): shape
            for address, name in addresses.items()
            for topic, shape in _shapes(name).items()
        }

    def decode(self, log: RawLog) -> Decoded:
        """Read a log.

        Raises:
            ExplorerError: it is not an event of its contract, or its bytes are not those of one.
        """
        topic = log.topics[0] if log.topics else b""
        shape = self._shapes.get((log.contract, topic))
        contract = self._names.get(log.contract, log.contract)
        if shape is None:
            raise ExplorerError(
                f"block {log.block}, log {log.log_index}: {contract} has no event 0x{topic.hex()}: "
                "this is another contract, or another version of it; nothing after it is indexed."
            )
        try:
            found, addresses = _read(shape, log)
        except ValueError as error:
            raise ExplorerError(
                f"block {log.block}, log {log.log_index}: {shape.name} cannot be read ({error}): "
                "nothing after it is indexed; ask another node."
            ) from error
        args = {name: found[name] for name in shape.order}
        return Decoded(contract, shape.name, args, tuple(addresses), log)


def _read(shape: _Shape, log: RawLog) -> tuple[dict[str, Any], list[str]]:
    words, data = log.topics[1:], log.data
    if len(words) != shape.indexed:
        raise ValueError(f"{len(log.topics)} topics where {1 + shape.indexed} belong")
    if not shape.others:
        length = 32 * (len(shape.words) - shape.indexed)
        if len(data) != length:
            raise ValueError(f"{len(data)} bytes of data where {length} belong")
        words += tuple(data[start : start + 32] for start in range(0, length, 32))
    found: dict[str, Any] = {}
    addresses: list[str] = []
    for (name, kind, read), word in zip(shape.words, words, strict=True):
        value = found[name] = read(word)
        if kind == "address":
            addresses.append(value)
    if shape.others:
        found.update(_read_others(shape, data, addresses))
    return found, _parties(found, addresses)


def _parties(found: Mapping[str, Any], addresses: list[str]) -> list[str]:
    site = found.get("site")
    return list(dict.fromkeys(one for one in addresses if one != site and one not in _NOBODY))


def _read_others(shape: _Shape, data: bytes, addresses: list[str]) -> dict[str, Any]:
    types = [collapse_if_tuple(dict(item)) for item in shape.others]
    try:
        values = decode(types, data)
        again = encode(types, values)
    except (DecodingError, EncodingError, OverflowError, ValueError) as error:
        raise ValueError(str(error).split("\n", maxsplit=1)[0]) from error
    if again != data:
        raise ValueError("bytes that mean nothing follow or pad it")
    return {
        item["name"]: _named(item, value, addresses)
        for item, value in zip(shape.others, values, strict=True)
    }


def _named(item: Mapping[str, Any], value: Any, addresses: list[str]) -> Any:
    kind: str = item["type"]
    if kind.endswith("[]"):
        inner = {**item, "type": kind[:-2]}
        return [_named(inner, one, addresses) for one in value]
    if kind == "tuple":
        parts: Sequence[Mapping[str, Any]] = item["components"]
        return {
            part["name"]: _named(part, one, addresses)
            for part, one in zip(parts, value, strict=True)
        }
    if kind == "address":
        addresses.append(value.lower())
        return value.lower()
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if _is_text(_bits(kind)) else value
    return value


def _bits(kind: str) -> int:
    return int(kind.removeprefix("u").removeprefix("int"))


def _is_text(bits: int) -> bool:
    # Those of 64 bits are times and numbers of rounds, which are small.
    return bits > _JSON_BITS and bits != 64


def _word_reader(kind: str) -> _WordReader | None:
    if kind == "bytes32":
        return lambda word: "0x" + word.hex()
    if kind == "address":
        return _address
    if re.fullmatch("u?int[0-9]+", kind):
        return _integer(_bits(kind), signed=kind.startswith("i"))
    return None


def _address(word: bytes) -> str:
    if word[:12] != bytes(12):
        raise ValueError("an address of more than 20 bytes")
    return "0x" + word[12:].hex()


def _integer(bits: int, *, signed: bool) -> _WordReader:
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    as_text = _is_text(bits)

    def read(word: bytes) -> int | str:
        value = int.from_bytes(word, "big", signed=signed)
        if not low <= value < high:
            raise ValueError(f"an integer of more than {bits} bits")
        return str(value) if as_text else value

    return read


def _shapes(contract: str) -> dict[bytes, _Shape]:
    shapes = {}
    for item in load_artifact(contract).abi:
        if item["type"] != "event":
            continue
        inputs = item["inputs"]
        signature = f"{item['name']}({','.join(collapse_if_tuple(dict(one)) for one in inputs)})"
        indexed = [one for one in inputs if one["indexed"]]
        others = [one for one in inputs if not one["indexed"]]
        single = indexed
        if all(_word_reader(one["type"]) for one in others):
            single, others = indexed + others, []
        words = []
        for one in single:
            reader = _word_reader(one["type"])
            assert reader is not None, "an indexed value that is hashed cannot be read back"
            words.append((one["name"], one["type"], reader))
        order = tuple(one["name"] for one in inputs)
        shapes[keccak(text=signature)] = _Shape(
            item["name"], tuple(words), len(indexed), tuple(others), order
        )
    return shapes
