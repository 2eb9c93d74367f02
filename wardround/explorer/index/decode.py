"""Decodes events of WardRound and Court, strictly: encoded again, they give the same bytes.

`eth_abi` takes some 60 microseconds a value. Most events hold nothing but words of 32 bytes, and a
backfill reads millions of them, so those are read here; the others still go through `eth_abi`.
"""

from __future__ import annotations

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
    indexed: tuple[tuple[str, str, _WordReader], ...]
    #: Of events whose data is words alone; None where eth_abi reads it.
    words: tuple[tuple[str, str, _WordReader], ...] | None
    items: tuple[Mapping[str, Any], ...]
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
    if len(log.topics) != 1 + len(shape.indexed):
        raise ValueError(f"{len(log.topics)} topics where {1 + len(shape.indexed)} belong")
    found: dict[str, Any] = {}
    addresses: list[str] = []
    for (name, kind, read), topic in zip(shape.indexed, log.topics[1:], strict=True):
        value = found[name] = read(topic)
        if kind == "address":
            addresses.append(value)
    data = log.data
    if shape.words is None:
        found.update(_read_others(shape, data, addresses))
        return found, _parties(found, addresses)
    if len(data) != 32 * len(shape.words):
        raise ValueError(f"{len(data)} bytes of data where {32 * len(shape.words)} belong")
    start = 0
    for name, kind, read in shape.words:
        value = found[name] = read(data[start : start + 32])
        if kind == "address":
            addresses.append(value)
        start += 32
    return found, _parties(found, addresses)


def _parties(found: Mapping[str, Any], addresses: list[str]) -> list[str]:
    site = found.get("site")
    return list(dict.fromkeys(one for one in addresses if one != site and one not in _NOBODY))


def _read_others(shape: _Shape, data: bytes, addresses: list[str]) -> dict[str, Any]:
    types = [collapse_if_tuple(dict(item)) for item in shape.items]
    try:
        values = decode(types, data)
        again = encode(types, values)
    except (DecodingError, EncodingError, OverflowError, ValueError) as error:
        raise ValueError(str(error).split("\n", maxsplit=1)[0]) from error
    if again != data:
        raise ValueError("bytes that mean nothing follow or pad it")
    return {
        item["name"]: _named(item, value, addresses)
        for item, value in zip(shape.items, values, strict=True)
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
        return _integer(kind, value)
    return value


def _integer(kind: str, value: int) -> int | str:
    bits = int(kind.removeprefix("u").removeprefix("int"))
    return value if bits <= _JSON_BITS or bits == 64 else str(value)


def _word_reader(kind: str) -> _WordReader | None:
    if kind == "bytes32":
        return lambda word: "0x" + word.hex()
    if kind == "address":
        return _address
    if kind.startswith("uint"):
        return _unsigned(int(kind[4:]))
    if kind.startswith("int") and kind[3:].isdigit():
        return _signed(int(kind[3:]))
    return None


def _address(word: bytes) -> str:
    if word[:12] != bytes(12):
        raise ValueError("an address of more than 20 bytes")
    return "0x" + word[12:].hex()


def _unsigned(bits: int) -> _WordReader:
    limit = 1 << bits
    as_text = bits > _JSON_BITS and bits != 64

    def read(word: bytes) -> int | str:
        value = int.from_bytes(word, "big")
        if value >= limit:
            raise ValueError(f"an integer of more than {bits} bits")
        return str(value) if as_text else value

    return read


def _signed(bits: int) -> _WordReader:
    limit = 1 << (bits - 1)
    as_text = bits > _JSON_BITS

    def read(word: bytes) -> int | str:
        value = int.from_bytes(word, "big", signed=True)
        if not -limit <= value < limit:
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
        indexed = []
        for one in inputs:
            if one["indexed"]:
                reader = _word_reader(one["type"])
                assert reader is not None, "an indexed value that is hashed cannot be read back"
                indexed.append((one["name"], one["type"], reader))
        others = tuple(one for one in inputs if not one["indexed"])
        readers = [_word_reader(one["type"]) for one in others]
        words = None
        if all(readers):
            words = tuple(
                (one["name"], one["type"], reader)
                for one, reader in zip(others, readers, strict=True)
                if reader is not None
            )
        order = tuple(one["name"] for one in inputs)
        shapes[keccak(text=signature)] = _Shape(item["name"], tuple(indexed), words, others, order)
    return shapes
