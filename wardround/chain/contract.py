"""Calls, events and errors of a contract, read from its ABI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import rlp
from eth_abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import ContextFramesBytesIO
from eth_abi.exceptions import DecodingError
from eth_abi.registry import registry
from eth_utils import keccak, to_checksum_address
from eth_utils.abi import collapse_if_tuple

from wardround.chain.errors import ContractReverted
from wardround.host.reason import reason_of

AbiItem = Mapping[str, Any]

_BUILT_IN_ERRORS: tuple[AbiItem, ...] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)


@dataclass(frozen=True)
class Log:
    """An event as the chain keeps it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    transaction_hash: str
    log_index: int


@dataclass(frozen=True)
class Call:
    """A function of a contract with its arguments, ready to be called or sent.

    ``to`` is None for a deployment; ``outputs`` are ABI types.
    """

    to: str | None
    data: bytes
    name: str
    outputs: tuple[str, ...] = ()
    value_wei: int = 0

    def result(self, returned: bytes) -> Any:
        """Decode what the function returned: nothing, one value, or a tuple of several.

        Raises:
            DecodingError: the contract answers something else.
        """
        values = _values(self.outputs, returned)
        return values[0] if len(values) == 1 else values


class Contract:
    """A contract at an address. Its functions have distinct names."""

    def __init__(self, abi: Iterable[AbiItem], address: str) -> None:
        self.abi = tuple(abi)
        self.address = to_checksum_address(address)
        self._functions = {item["name"]: item for item in self.abi if item["type"] == "function"}
        self._events = {
            keccak(text=_signature(item)): item for item in self.abi if item["type"] == "event"
        }
        self._selectors = {
            name: keccak(text=_signature(item))[:4] for name, item in self._functions.items()
        }

    def function(self, name: str, *arguments: Any) -> Call:
        """Encode a call of a function by its name.

        Args:
            name: as in the ABI.
            arguments: bytes, int, bool, str and tuples, in the ABI's order.
        """
        item = self._functions[name]
        data = self._selectors[name] + encode(_types(item["inputs"]), arguments)
        return Call(self.address, data, name, _types(item["outputs"]))

    def event(self, log: Log) -> tuple[str, dict[str, Any]] | None:
        """Decode a log of this contract; None when it comes from another one."""
        if log.address != self.address or not log.topics or log.topics[0] not in self._events:
            return None
        item = self._events[log.topics[0]]
        indexed = [field for field in item["inputs"] if field["indexed"]]
        others = [field for field in item["inputs"] if not field["indexed"]]
        found = _decoded(others, log.data)
        for field, topic in zip(indexed, log.topics[1:], strict=True):
            found |= _decoded([field], topic)
        return item["name"], {field["name"]: found[field["name"]] for field in item["inputs"]}

    def event_topic(self, name: str) -> bytes:
        """Topic 0 of an event by its name, 32 bytes."""
        return next(topic for topic, item in self._events.items() if item["name"] == name)

    def arguments(self, data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Decode calldata sent to this contract; None when no function of it was called.

        Padding is read as Solidity reads it, which looks at none: it may be anything, or missing.
        """
        for name, selector in self._selectors.items():
            if data[:4] == selector:
                try:
                    return name, _decoded(self._functions[name]["inputs"], data[4:], strict=False)
                except DecodingError:
                    return None
        return None


def deployment(abi: Iterable[AbiItem], bytecode: bytes, *arguments: Any) -> Call:
    """Encode the creation of a contract."""
    constructor: AbiItem = next(
        (item for item in abi if item["type"] == "constructor"), {"inputs": ()}
    )
    return Call(None, bytecode + encode(_types(constructor["inputs"]), arguments), "constructor")


def created_address(deployer: str, nonce: int) -> str:
    """Where the contract comes to that a deployer creates with a transaction of this nonce."""
    digest = keccak(rlp.encode([bytes.fromhex(deployer[2:]), nonce]))
    return to_checksum_address(digest[12:])


class ErrorTable:
    """The custom errors that contracts may revert with, by selector."""

    def __init__(self) -> None:
        self._errors: dict[bytes, AbiItem] = {}
        self.learn(_BUILT_IN_ERRORS)

    def learn(self, abi: Iterable[AbiItem]) -> None:
        """Add the errors of an ABI."""
        for item in abi:
            if item["type"] == "error":
                self._errors[keccak(text=_signature(item))[:4]] = item

    def reverted(self, label: str, data: bytes) -> ContractReverted:
        """Name a revert after the contract's own error; an unknown one keeps its bytes."""
        shown = "0x" + data.hex()
        if not data:
            return ContractReverted(label, "NoReason", {}, shown)
        item = self._errors.get(data[:4])
        if item is not None:
            with suppress(DecodingError):
                arguments = _decoded(item["inputs"], data[4:])
                return ContractReverted(label, item["name"], arguments, shown)
        return ContractReverted(label, "UnknownError", {"data": shown}, shown)


def _types(fields: Sequence[AbiItem]) -> tuple[str, ...]:
    return tuple(collapse_if_tuple(dict(field)) for field in fields)


def _decoded(fields: Sequence[AbiItem], data: bytes, *, strict: bool = True) -> dict[str, Any]:
    """Decode values by the names of their fields, or by their places where these have none."""
    types = _types(fields)
    names = [field["name"] or f"argument{place}" for place, field in enumerate(fields)]
    return dict(zip(names, _values(types, data, strict=strict), strict=True))


class _BoundedCalldata(ContextFramesBytesIO):
    """Reads no more than a few times what is there, also where offsets repeat one part of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)  # type: ignore[no-untyped-call]
        self._left = _READS * (len(data) + 32)

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DecodingError("it repeats itself")
        return data


class _Decoder(ABIDecoder):
    stream_class = _BoundedCalldata


#: Heads are read once more at each level of nesting.
_READS = 8
_decoder = _Decoder(registry)


def _values(types: Sequence[str], data: bytes, *, strict: bool = True) -> tuple[Any, ...]:
    # eth_abi names only some of the ways in which a contract's bytes can be wrong: a length of
    # 2**255 overflows, and a string may be no UTF-8 (a ValueError).
    try:
        return _plain(types, _decoder.decode(types, data, strict=strict))
    except (ArithmeticError, ValueError, MemoryError, RecursionError) as error:
        raise DecodingError(reason_of(error)) from error


def _signature(item: AbiItem) -> str:
    return f"{item['name']}({','.join(_types(item['inputs']))})"


def _plain(types: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
    # eth_abi gives addresses in lower case; everywhere else they are checksummed.
    return tuple(
        to_checksum_address(value) if kind == "address" else _nested(value)
        for kind, value in zip(types, values, strict=True)
    )


def _nested(value: Any) -> Any:
    # Only an address decodes to this form inside of a tuple or list; strings there are rare and
    # no contract of ours returns any.
    if isinstance(value, (tuple, list)):
        return tuple(_nested(inner) for inner in value)
    if isinstance(value, str) and len(value) == 42 and value.startswith("0x"):
        return to_checksum_address(value)
    return value
