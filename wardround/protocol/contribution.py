"""What a site signs, and how a round's contributions are committed to.

Source:
    EIP-712 (typed structured data), IWardRound.Contribution, Entries.sol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol, TypeVar

from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils import keccak

from wardround.protocol.errors import Malformed, SignatureInvalid, weight_invalid
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, address_of
from wardround.protocol.merkle import entries_root

CONTRIBUTION_TYPE = (
    "Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site,"
    "bytes32 update,uint64 weight,bytes32 report)"
)
_CONTRIBUTION_TYPEHASH = keccak(text=CONTRIBUTION_TYPE)
_DOMAIN_TYPEHASH = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2

#: Of the EIP-712 domain.
DOMAIN_NAME = "wardround"
DOMAIN_VERSION = "2"

#: Bytes of one packed entry: site 20, weight 8, update 32, report 32, signature 65.
ENTRY_BYTES = 157
#: The sum of all weights in a round stays below this, so that int64 sums are exact.
WEIGHT_LIMIT = 2**31


@dataclass(frozen=True)
class Domain:
    """The chain and contract that a signature is good for, and no other."""

    chain_id: int
    contract: str

    @property
    def separator(self) -> bytes:
        """EIP-712 domain separator, 32 bytes."""
        return _separator(self.chain_id, self.contract)


@lru_cache(maxsize=64)
def _separator(chain_id: int, contract: str) -> bytes:
    return keccak(
        _DOMAIN_TYPEHASH
        + keccak(text=DOMAIN_NAME)
        + keccak(text=DOMAIN_VERSION)
        + chain_id.to_bytes(32, "big")
        + _address_word(contract)
    )


@dataclass(frozen=True)
class Contribution:
    """One site's statement: for this round, on this base model, this update with this weight.

    ``update`` is the vector root of the update, ``report`` the SHA-256 of the site's report.
    """

    study: StudyId
    round: int
    base_model: Root
    site: SiteAddress
    update: Root
    weight: int
    report: Digest

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the site's key signs, 32 bytes."""
        body = keccak(
            _CONTRIBUTION_TYPEHASH
            + self.study
            + self.round.to_bytes(32, "big")
            + self.base_model
            + _address_word(self.site)
            + self.update
            + self.weight.to_bytes(32, "big")
            + self.report
        )
        return keccak(b"\x19\x01" + domain.separator + body)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with the site's private key.

        Args:
            domain: chain and contract.
            key: 32-byte private key of ``site``.
        Returns:
            65 bytes: r, s (low), v (27 or 28).
        """
        return sign_digest(self.signing_digest(domain), key)

    def check_signature(self, domain: Domain, signature: bytes) -> None:
        """Check that ``site`` made this signature.

        Raises:
            SignatureInvalid: wrong length, high s, or another signer.
        """
        check_signer(self.site, self.signing_digest(domain), signature)


@dataclass(frozen=True)
class Entry:
    """A contribution as it is recorded: what is common to the round is left out."""

    site: SiteAddress
    weight: int
    update: Root
    report: Digest
    signature: bytes

    def pack(self) -> bytes:
        """Write the 157 bytes that are hashed into the contributions root."""
        return (
            bytes.fromhex(self.site[2:])
            + self.weight.to_bytes(8, "big")
            + self.update
            + self.report
            + self.signature
        )

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """Read 157 bytes.

        Raises:
            Malformed: another length.
        """
        if len(data) != ENTRY_BYTES:
            raise Malformed("entry", f"{len(data)} bytes where {ENTRY_BYTES} belong")
        return cls(
            site=address_of("0x" + data[:20].hex()),
            weight=int.from_bytes(data[20:28], "big"),
            update=Root(data[28:60]),
            report=Digest(data[60:92]),
            signature=data[92:],
        )

    def contribution(self, study: StudyId, round_number: int, base_model: Root) -> Contribution:
        """Put back what the round has in common, to check the signature."""
        return Contribution(
            study, round_number, base_model, self.site, self.update, self.weight, self.report
        )


class PackedEntry(Protocol):
    """What every entry has, clear or masked."""

    @property
    def site(self) -> SiteAddress:
        """Whose it is."""

    def pack(self) -> bytes:
        """The bytes that are hashed into the contributions root."""


EntryT = TypeVar("EntryT", bound=PackedEntry)


def pack_entries(entries: Sequence[PackedEntry]) -> bytes:
    """Concatenate entries for the contract's calldata; the caller has sorted them."""
    return b"".join(entry.pack() for entry in entries)


def unpack_entries(data: bytes) -> list[Entry]:
    """Split packed entries.

    Raises:
        Malformed: not a whole number of entries.
    """
    if len(data) % ENTRY_BYTES:
        raise Malformed("entries", f"{len(data)} bytes are not a multiple of {ENTRY_BYTES}")
    return [
        Entry.unpack(data[start : start + ENTRY_BYTES])
        for start in range(0, len(data), ENTRY_BYTES)
    ]


def sort_entries(entries: Sequence[EntryT]) -> list[EntryT]:
    """Order entries by site, as every commitment wants them.

    Raises:
        Malformed: a site has two entries.
    """
    ordered = sorted(entries, key=lambda entry: bytes.fromhex(entry.site[2:]))
    for before, after in pairwise(ordered):
        if before.site == after.site:
            raise Malformed("entries", f"site {after.site} stands twice")
    return ordered


def contributions_root(entries: Sequence[PackedEntry]) -> Root:
    """RFC 9162 root over the packed entries, which must be sorted by site."""
    return entries_root(entry.pack() for entry in entries)


def total_weight(entries: Sequence[Entry]) -> int:
    """Sum of all weights.

    Raises:
        ProtocolError: a weight below one, or a sum of 2**31 or more.
    """
    for entry in entries:
        if entry.weight < 1:
            raise weight_invalid(f"weight of {entry.site}", entry.weight, WEIGHT_LIMIT - 1)
    total = sum(entry.weight for entry in entries)
    if total >= WEIGHT_LIMIT:
        raise weight_invalid("total weight", total, WEIGHT_LIMIT - 1)
    return total


def sign_digest(digest: bytes, key: bytes) -> bytes:
    """Sign 32 bytes with secp256k1 (RFC 6979 nonce, low s); 65 bytes r, s, v."""
    signature = keys.PrivateKey(key).sign_msg_hash(digest)
    v, r, s = signature.vrs
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v + 27])


def recover_signer(digest: bytes, signature: bytes, claimed: str) -> SiteAddress:
    """Recover who signed 32 bytes, refusing every malleable form.

    Args:
        digest: what was signed.
        signature: 65 bytes r, s, v with v 27 or 28 and s in the lower half.
        claimed: the claimed signer, for the error.
    Raises:
        SignatureInvalid: wrong length, v or s, or no key fits.
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise SignatureInvalid(claimed, "not 65 bytes ending in 27 or 28")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if s > _HALF_ORDER:
        raise SignatureInvalid(claimed, "s is in the upper half")
    try:
        public = keys.Signature(vrs=(signature[64] - 27, r, s)).recover_public_key_from_msg_hash(
            digest
        )
    except (BadSignature, ValidationError) as error:
        raise SignatureInvalid(claimed, str(error)) from error
    return SiteAddress(public.to_checksum_address())


def check_signer(account: str, digest: bytes, signature: bytes) -> None:
    """Check that an account's own key has signed 32 bytes.

    Raises:
        SignatureInvalid: wrong length, high s, or another signer.
    """
    signer = recover_signer(digest, signature, account)
    if signer != account:
        raise SignatureInvalid(account, f"made by {signer}")


def _address_word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def is_signed_by_key(account: str, digest: bytes, signature: bytes) -> bool:
    """Whether an account's own key has signed 32 bytes; a contract may sign without one."""
    try:
        return bool(recover_signer(digest, signature, account) == account)
    except SignatureInvalid:
        return False
