"""The key that a reader of confidential objects keeps, and keys wrapped to it.

X25519 key pairs (RFC 7748); a key is wrapped with HPKE in base mode (RFC 9180): DHKEM(X25519,
HKDF-SHA256), HKDF-SHA256, AES-256-GCM. It is a key of its own and not derived from the reader's
signing key: that one may be in hardware that only signs.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from wardround.host.durable import write_private
from wardround.host.key_file import read_secret
from wardround.protocol.errors import Malformed

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ReadingKey:
    """A reader's private key."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        """What the sponsor writes into the grant, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Open what `wrap` made for this key.

        Raises:
            Malformed: it was made for another key or context, or altered.
        """
        try:
            return _SUITE.decrypt(wrapped, self._key, context)
        except (InvalidTag, ValueError) as error:
            raise Malformed("wrapped key", "it does not open with this reading key") from error


def wrap(key: bytes, public_key: bytes, context: bytes) -> bytes:
    """Encrypt a key so that one reader alone can open it.

    Args:
        key: what to wrap.
        public_key: the reader's, 32 bytes.
        context: what it is for; it opens in no other.

    Raises:
        Malformed: not a usable X25519 public key.
    """
    try:
        return _SUITE.encrypt(key, X25519PublicKey.from_public_bytes(public_key), context)
    except ValueError as error:
        raise Malformed("public key", f"0x{public_key.hex()} is not one of X25519") from error


def write_new_reading_key(path: Path) -> ReadingKey:
    """Make a key and write it to a new file that only its owner can read."""
    key = X25519PrivateKey.generate()
    write_private(path, key.private_bytes_raw().hex() + "\n")
    return ReadingKey(key)


def read_reading_key(path: Path) -> ReadingKey:
    """Read a key.

    Raises:
        SpecificationError: the file cannot be read.
        Malformed: it is not 32 bytes of hexadecimal.
    """
    return ReadingKey(X25519PrivateKey.from_private_bytes(read_secret(path, "reading key")))
