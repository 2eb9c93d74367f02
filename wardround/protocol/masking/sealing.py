"""How a site's mask roots reach their holders: sealed to keys made for one setup alone.

A helper makes a sealing key for a site and epoch, signs it, and erases it once it has acknowledged
the setup; then nothing that is stored or recorded gives the root away again. Sealing draws
randomness, which the protocol does not: the guard calls
``SUITE.encrypt(root, key, seal_info(...))``.

Source:
    RFC 9180 (HPKE, base mode) with the hybrid KEM MLKEM768-X25519 of draft-ietf-hpke-pq,
    HKDF-SHA256 and ChaCha20-Poly1305.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Domain, check_signer, sign_digest
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround.protocol.masking.ratchet import MaskSet
from wardround.protocol.masking.streams import KEY_BYTES
from wardround.protocol.masking.typed_data import struct_hash, typed_digest

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
#: Of a sealed root: the encapsulated key, 32 bytes, and their tag.
SEALED_BYTES = 1120 + KEY_BYTES + 16
_MLKEM_BYTES, _X25519_BYTES = 1184, 32
#: Of a sealing key: ML-KEM-768's, then X25519's.
SEALING_KEY_BYTES = _MLKEM_BYTES + _X25519_BYTES
_INFO = b"wardround/2 mask root"

SEALING_TYPE = "SealingKey(bytes32 study,address site,uint32 epoch,address helper,bytes32 key)"


@dataclass(frozen=True)
class SealingKey:
    """A helper's statement: seal the roots of this site's setup to this key.

    Without its signature another party's key could take its place. ``key`` has
    `SEALING_KEY_BYTES` bytes.
    """

    study: StudyId
    site: SiteAddress
    epoch: int
    helper: SiteAddress
    key: bytes = field(repr=False)

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the helper's key signs, 32 bytes; of the key, its SHA-256."""
        key = sha256_digest(self.key)
        struct = struct_hash(SEALING_TYPE, self.study, self.site, self.epoch, self.helper, key)
        return typed_digest(domain, struct)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with the helper's private key, 32 bytes; 65 bytes r, s (low), v."""
        return sign_digest(self.signing_digest(domain), key)

    def check_signature(self, domain: Domain, signature: bytes) -> None:
        """Check that ``helper`` made this signature.

        Raises:
            SignatureInvalid: wrong length, high s, or another signer.
        """
        check_signer(self.helper, self.signing_digest(domain), signature)

    def public_key(self) -> MLKEM768X25519PublicKey:
        """The key as HPKE takes it.

        Raises:
            Malformed: another length, or no such key.
        """
        if len(self.key) != SEALING_KEY_BYTES:
            reason = f"{len(self.key)} bytes where {SEALING_KEY_BYTES} belong"
            raise Malformed("sealing key", reason)
        try:
            return MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.key[:_MLKEM_BYTES]),
                X25519PublicKey.from_public_bytes(self.key[_MLKEM_BYTES:]),
            )
        except ValueError as error:
            raise Malformed("sealing key", str(error)) from error


def seal_info(owner: MaskSet, holder: SiteAddress) -> bytes:
    """What HPKE binds a sealed root to: its set, and who is to open it."""
    return _INFO + owner.encode() + bytes.fromhex(holder[2:])


def open_root(
    sealed: bytes, key: MLKEM768X25519PrivateKey, owner: MaskSet, holder: SiteAddress
) -> bytes:
    """Open a sealed root, 32 bytes.

    Raises:
        Malformed: sealed to another key, or for another set or holder, or altered.
    """
    try:
        root: bytes = SUITE.decrypt(sealed, key, info=seal_info(owner, holder))
    except InvalidTag as error:
        reason = "it does not open: refuse the setup, and have the site seal it to your key"
        raise Malformed(f"root of set {owner.number}", reason) from error
    if len(root) != KEY_BYTES:
        raise Malformed(f"root of set {owner.number}", f"{len(root)} bytes, not {KEY_BYTES}")
    return root
