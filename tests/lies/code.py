"""Lies in the code of the contracts: another byte, another immutable, another contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

from eth_utils import keccak, to_canonical_address

from tests.lies.documents import CLIPPED, STRANGER, before_the_last
from tests.lies.lie import Dishonest, Lie, Named
from tests.lies.played import Played
from tests.lies.schemas import CONTRACTS
from wardround.chain.artifacts import WORD_BYTES, load_artifact
from wardround.chain.known_code import known_contract

_UNKNOWN = "contract-unknown"
_IMPLEMENTATION = int.from_bytes(keccak(text="eip1967.proxy.implementation"), "big") - 1


@cache
def _finished() -> Played:
    played = before_the_last(CLIPPED).forked()
    played.play()
    return played


@cache
def _addresses() -> dict[str, str]:
    played = _finished()
    known = known_contract(played.chain, played.address)
    places = (known.address, known.annex, known.court, known.court_annex, known.escrow)
    return dict(zip(CONTRACTS, places, strict=True))


def _code(name: str, longer: int = 0) -> bytes:
    code = _finished().chain.code(_addresses()[name])
    return (code + bytes(1))[: len(code) + longer]


def _replaced(name: str, code: Callable[[], bytes], slot: int | None = None) -> Dishonest:
    """Put other code in a contract's place, on a chain that its liar began."""
    played = _finished().forked()
    address = to_canonical_address(_addresses()[name])
    chain = played.chain.provider.evm._chain
    vm = chain.get_vm(chain.header)
    vm.state.set_code(address, code())
    if slot is not None:
        vm.state.set_storage(address, slot, int(STRANGER, 16))
    vm.state.persist()
    chain.header = chain.header.copy(state_root=vm.state.state_root)
    played.chain.provider.mine()
    return Dishonest.of(played)


def _with_byte(name: str, at: int) -> bytes:
    code = _code(name)
    at %= len(code)
    return code[:at] + bytes([code[at] ^ 1]) + code[at + 1 :]


def _with_immutable(name: str, immutable: str, word: bytes, places: slice) -> bytes:
    code = bytearray(_code(name))
    for offset in load_artifact(name).runtime.immutables[immutable][places]:
        code[offset : offset + WORD_BYTES] = word
    return bytes(code)


def _minimal_proxy(name: str) -> bytes:
    target = to_canonical_address(_addresses()[name])
    return (
        bytes.fromhex("363d3d373d3d3d363d73")
        + target
        + bytes.fromhex("5af43d82803e903d91602b57fd5bf3")
    )


def lies() -> Iterator[Lie]:
    for place, name in enumerate(CONTRACTS):
        other = CONTRACTS[place - 1]
        unknown = Named(_UNKNOWN, f"those of no known {name}")
        rows: tuple[tuple[str, Callable[[], bytes], Named], ...] = (
            ("first byte", partial(_with_byte, name, 0), unknown),
            ("a byte inside", partial(_with_byte, name, 1234), unknown),
            ("last byte, of the metadata", partial(_with_byte, name, -1), unknown),
            ("a byte more", partial(_code, name, 1), Named(_UNKNOWN, "")),
            ("a byte less", partial(_code, name, -1), unknown),
            ("none", lambda: b"", Named(_UNKNOWN, "there is no contract")),
            (f"that of {other}", partial(_code, other), unknown),
            ("a minimal proxy", partial(_minimal_proxy, name), Named(_UNKNOWN, "a minimal proxy")),
            ("an account that delegates", lambda: bytes.fromhex("ef0100" + STRANGER[2:]),
             Named(_UNKNOWN, "an account that delegates to")),
        )  # fmt: skip
        for how, code, named in rows:
            yield Lie(f"code.{name}", how, named, partial(_replaced, name, code))
        proxy = partial(_replaced, name, partial(_with_byte, name, 5), _IMPLEMENTATION)
        yield Lie(f"code.{name}", "a proxy", Named(_UNKNOWN, "a proxy is there"), proxy)
        for immutable, offsets in load_artifact(name).runtime.immutables.items():
            words = bytes(12) + to_canonical_address(STRANGER)
            for how, word, places in (
                ("another address", words, slice(None)),
                ("zero", bytes(WORD_BYTES), slice(None)),
                ("another in one place", words, slice(1)),
            ):
                if len(offsets) == 1 and places == slice(1):
                    continue
                make = partial(
                    _replaced, name, partial(_with_immutable, name, immutable, word, places)
                )
                yield Lie(f"code.{name}.{immutable}", how, Named(_UNKNOWN, ""), make)
