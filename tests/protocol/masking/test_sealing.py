"""Roots sealed to keys of one setup, and the helper's statement of such a key."""

from __future__ import annotations

import hmac
from dataclasses import replace
from hashlib import sha3_256

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from tests.protocol.masking import DOMAIN, VECTORS, read
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import Malformed, SignatureInvalid
from wardround.protocol.identifiers import StudyId, address_of
from wardround.protocol.masking.ratchet import MaskSet
from wardround.protocol.masking.sealing import (
    SEALED_BYTES,
    SEALING_KEY_BYTES,
    SEALING_TYPE,
    SUITE,
    SealingKey,
    open_root,
    seal_info,
)

VECTOR = VECTORS["statements"]["SealingKey"]
HOLDER, OTHER = address_of("0x" + "11" * 20), address_of("0x" + "12" * 20)
OWNER = MaskSet(DOMAIN, StudyId(b"\x01" * 32), address_of("0x" + "09" * 20), 0, 1)
ROOT = bytes(range(32))


@pytest.fixture(scope="module")
def pair() -> tuple[MLKEM768X25519PrivateKey, bytes]:
    """A helper's private key for one setup, and its public bytes."""
    first, second = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = first.public_key().public_bytes_raw() + second.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(first, second), public


def statement(key: bytes) -> SealingKey:
    return SealingKey(OWNER.study, OWNER.site, OWNER.epoch, HOLDER, key)


def test_sealed_root_opens_for_its_holder_alone(
    pair: tuple[MLKEM768X25519PrivateKey, bytes],
) -> None:
    key, public = pair
    sealed = SUITE.encrypt(ROOT, statement(public).public_key(), seal_info(OWNER, HOLDER))
    assert len(sealed) == SEALED_BYTES
    assert len(public) == SEALING_KEY_BYTES
    assert open_root(sealed, key, OWNER, HOLDER) == ROOT
    others = [
        (replace(OWNER, number=2), HOLDER),
        (replace(OWNER, epoch=1), HOLDER),
        (replace(OWNER, study=StudyId(bytes(32))), HOLDER),
        (replace(OWNER, site=OTHER), HOLDER),
        (replace(OWNER, domain=Domain(1, DOMAIN.contract)), HOLDER),
        (OWNER, OTHER),
    ]
    for owner, holder in others:
        with pytest.raises(Malformed, match="does not open"):
            open_root(sealed, key, owner, holder)
    for damaged in (b"", sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), bytes(SEALED_BYTES)):
        with pytest.raises(Malformed, match="does not open"):
            open_root(damaged, key, OWNER, HOLDER)


def test_sealed_text_of_another_length_is_refused(
    pair: tuple[MLKEM768X25519PrivateKey, bytes],
) -> None:
    key, public = pair
    sealed = SUITE.encrypt(bytes(31), statement(public).public_key(), seal_info(OWNER, HOLDER))
    with pytest.raises(Malformed, match="31 bytes"):
        open_root(sealed, key, OWNER, HOLDER)


def expanded(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869) of at most 32 bytes."""
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


def test_sealed_root_of_the_vectors_opens_by_the_standard_s_own_steps() -> None:
    """RFC 9180 with the KEM's combiner written out; the product opens the same."""
    vector = VECTORS["sealed"]
    first = MLKEM768PrivateKey.from_seed_bytes(read(vector["seeds"]["mlkem768"]))
    second = X25519PrivateKey.from_private_bytes(read(vector["seeds"]["x25519"]))
    study, site = StudyId(read(vector["study"])), address_of(vector["site"])
    owner = MaskSet(DOMAIN, study, site, vector["epoch"], vector["set"])
    holder, sealed = address_of(vector["holder"]), read(vector["sealed"])
    pair = MLKEM768X25519PrivateKey(first, second)
    assert open_root(sealed, pair, owner, holder) == read(vector["root"])

    capsule, point, text = sealed[:1088], sealed[1088:1120], sealed[1120:]
    shared = sha3_256(
        first.decapsulate(capsule)
        + second.exchange(X25519PublicKey.from_public_bytes(point))
        + point
        + second.public_key().public_bytes_raw()
        + bytes.fromhex("5c2e2f2f5e5c")
    ).digest()
    suite = b"HPKE" + bytes.fromhex("647a00010003")

    def extract(salt: bytes, label: bytes, value: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + value, "sha256")

    info = seal_info(owner, holder)
    context = bytes(1) + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    parts = [
        expanded(secret, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context, length)
        for label, length in ((b"key", 32), (b"base_nonce", 12))
    ]
    opened = ChaCha20Poly1305(parts[0]).decrypt(parts[1], text, None)
    assert opened == read(vector["root"])


@pytest.mark.parametrize("key", [b"", bytes(SEALING_KEY_BYTES - 1), b"\xff" * SEALING_KEY_BYTES])
def test_bytes_that_are_no_key_are_refused(key: bytes) -> None:
    with pytest.raises(Malformed, match="sealing key"):
        statement(key).public_key()


def test_statement_is_that_of_the_vectors() -> None:
    message = VECTOR["message"]
    one = SealingKey(
        StudyId(read(message["study"])),
        address_of(message["site"]),
        message["epoch"],
        address_of(message["helper"]),
        bytes(range(256)) * 4 + bytes(192),
    )
    assert VECTOR["type"] == SEALING_TYPE
    assert one.signing_digest(DOMAIN) == read(VECTOR["digest"])
    assert one.sign(DOMAIN, bytes([9]) * 32) == read(VECTOR["signature"])
    with pytest.raises(SignatureInvalid):
        one.check_signature(DOMAIN, read(VECTOR["signature"]))
    mine = replace(one, helper=address_of(VECTOR["signer"]))
    mine.check_signature(DOMAIN, mine.sign(DOMAIN, bytes([9]) * 32))
