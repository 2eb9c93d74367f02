"""The code of a contract, held against the code that wardround was released with.

A contract on a chain differs from what the compiler wrote only in its immutables. So with zeros in
their places the code has the artifact's hash, and they must have the values of this deployment.

Source:
    EIP-170 (code size), EIP-1167 (minimal proxy), EIP-1967 (proxy), EIP-7702 (delegated account).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from eth_utils import keccak, to_checksum_address

from wardround.chain.artifacts import load_artifact, releases
from wardround.chain.errors import RpcRefused, UnknownContract
from wardround.protocol.contribution import DOMAIN_NAME, DOMAIN_VERSION, Domain
from wardround.protocol.version import FORMER

#: Bytes of code that a contract may have.
CODE_MAX_BYTES = 24_576

#: Code that runs another contract's.
_FORWARDING = {
    kind: re.compile(
        re.escape(bytes.fromhex(before)) + b"(.{20})" + re.escape(bytes.fromhex(after)), re.S
    )
    for kind, before, after in (
        ("a minimal proxy of", "363d3d373d3d3d363d73", "5af43d82803e903d91602b57fd5bf3"),
        ("an account that delegates to", "ef0100", ""),
    )
}
#: Where a proxy keeps its implementation, and its beacon.
_PROXY_SLOTS = tuple(
    (int.from_bytes(keccak(text=f"eip1967.proxy.{name}"), "big") - 1).to_bytes(32, "big")
    for name in ("implementation", "beacon")
)


class CodeSource(Protocol):
    """What gives the code of contracts: a chain, or what was kept of one."""

    @property
    def chain_id(self) -> int: ...

    def code(self, address: str) -> bytes: ...

    def storage(self, address: str, slot: bytes) -> bytes: ...


@dataclass(frozen=True)
class KnownContract:
    """A WardRound contract whose code, and that of all it runs or calls, is known.

    Attributes:
        address: of the WardRound.
        annex: address of the WardRoundAnnex, whose code it runs as its own.
        court: address of its Court.
        court_annex: address of the CourtAnnex, whose code the Court runs as its own.
        escrow: address of the Escrow that those of its studies are clones of.
        release: whose contracts they are; empty for this one.
    """

    address: str
    annex: str
    court: str
    court_annex: str
    escrow: str
    release: str


def known_contract(chain: CodeSource, address: str) -> KnownContract:
    """Prove that a WardRound, its Court, both annexes and the Escrow are of this package.

    A study's escrow needs no request: only the WardRound can create one at its address, and it
    creates clones of this Escrow. Five requests, so once where a contract is opened.

    Raises:
        UnknownContract: there is other code at the address, or code with other immutables.
        ChainUnreachable: no answer.
    """
    address = to_checksum_address(address)
    release, words = _immutables(chain, "WardRound", address, releases())
    parts = {name: words[name] for name in ("ANNEX", "COURT", "ESCROW")}
    annex, court, escrow = map(_address, parts.values())
    _compare(address, words, _domain_words(Domain(chain.chain_id, address)) | parts)
    _, words = _immutables(chain, "WardRoundAnnex", annex, (release,))
    _compare(annex, words, _domain_words(Domain(chain.chain_id, annex)))
    _, words = _immutables(chain, "Court", court, (release,))
    _compare(court, words, {"WARD": _word(address), "ANNEX": words["ANNEX"]})
    court_annex = _address(words["ANNEX"])
    for name, part in (("CourtAnnex", court_annex), ("Escrow", escrow)):
        _, words = _immutables(chain, name, part, (release,))
        _compare(part, words, {"WARD": _word(address)})
    return KnownContract(address, annex, court, court_annex, escrow, release)


def _immutables(
    chain: CodeSource, name: str, address: str, among: tuple[str, ...]
) -> tuple[str, dict[str, bytes]]:
    """Find the release that has this code, and read its immutables."""
    code = chain.code(address)
    for release in among:
        words = load_artifact(name, release).runtime.immutables_of(code)
        if words is not None:
            return release, words
    raise UnknownContract(address, _reason(chain, name, address, code))


def _reason(chain: CodeSource, name: str, address: str, code: bytes) -> str:
    if not code:
        return "there is no contract: correct the address, or use an endpoint of its chain"
    for kind, pattern in _FORWARDING.items():
        found = pattern.fullmatch(code)
        if found is not None:
            target = to_checksum_address(found[1])
            return f"{kind} {target} is there: use a {name} that was deployed itself"
    if len(code) > CODE_MAX_BYTES:
        size = f"{len(code):,} bytes of code, more than the {CODE_MAX_BYTES:,} that a contract has"
        return f"the node answers with {size}: use another endpoint or address"
    if all(_short_string(word) in code for word in (DOMAIN_NAME, FORMER.partition("/")[2])):
        return f"it speaks protocol {FORMER}, which this version does not read"
    # A node may not offer storage; then the proxy is only called other code.
    with suppress(RpcRefused):
        if any(any(chain.storage(address, slot)) for slot in _PROXY_SLOTS):
            return (
                "a proxy is there, whose owner can replace the code behind it: "
                f"use a {name} that was deployed itself"
            )
    return (
        f"its {len(code):,} bytes of code are those of no known {name}: sign nothing for it and "
        "pay nothing in, and ask the sponsor for the address and for the release that deployed it"
    )


def _domain_words(domain: Domain) -> dict[str, bytes]:
    """The values of OpenZeppelin's immutables for an EIP-712 domain."""
    return {
        "_cachedChainId": domain.chain_id.to_bytes(32, "big"),
        "_cachedThis": _word(domain.contract),
        "_cachedDomainSeparator": domain.separator,
        "_hashedName": keccak(text=DOMAIN_NAME),
        "_hashedVersion": keccak(text=DOMAIN_VERSION),
        "_name": _short_string(DOMAIN_NAME),
        "_version": _short_string(DOMAIN_VERSION),
    }


def _compare(address: str, found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    for name, word in found.items():
        if word != expected[name]:
            raise UnknownContract(
                address,
                f"its code is known, but was deployed with {name} = 0x{word.hex()} where "
                f"0x{expected[name].hex()} belongs: use another contract",
            )


def _address(word: bytes) -> str:
    return to_checksum_address(word[-20:])


def _word(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def _short_string(text: str) -> bytes:
    # OpenZeppelin's ShortStrings: the text from the left, its length in the last byte.
    return text.encode().ljust(31, b"\0") + bytes([len(text)])
