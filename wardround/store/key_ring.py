"""A key ring: the key of one epoch of a study, wrapped for each of its readers.

It is a canonical JSON object, signed by the study's sponsor or one of its coordinators. Other rings
are rejected: with a stranger's key a writer would encrypt for that stranger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from pydantic import Field

from wardround.chain.grants import Grantee
from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.contribution import Domain, recover_signer, sign_digest
from wardround.protocol.documents import Form, validate_form
from wardround.protocol.errors import Malformed, SpecificationError
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.protocol.report import Address, Hex32
from wardround.store.reading_key import ReadingKey, wrap
from wardround.store.sealing import name_of_key

FORMAT = "wardround-keys/1"
#: A ring of two thousand readers is shorter.
RING_MAX_BYTES = 1 << 20

RING_TYPE = "KeyRing(bytes32 study,uint64 epoch,bytes16 key,bytes32 readers)"
_TYPEHASH = keccak(text=RING_TYPE)
_Hex = Annotated[str, Field(pattern=r"^0x(?:[0-9a-f]{2})*$", max_length=400)]


class _Wrapped(Form):
    reader: Address
    publicKey: Hex32  # noqa: N815 - the name in the file
    wrapped: _Hex


class _Document(Form):
    format: Literal["wardround-keys/1"]
    study: Hex32
    epoch: Annotated[int, Field(ge=1, lt=2**53)]
    key: Annotated[str, Field(pattern=r"^0x[0-9a-f]{32}$")]
    readers: list[_Wrapped]
    signature: Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]


@dataclass(frozen=True)
class KeyRing:
    """A ring as it was read; `signer` has signed it."""

    study: StudyId
    epoch: int
    key_name: bytes
    wrapped: Mapping[tuple[str, bytes], bytes]
    signer: str

    def open(self, reading: ReadingKey) -> bytes | None:
        """The epoch's key, 32 bytes; None when it is not wrapped for this reader.

        Raises:
            Malformed: it is, and does not open, or is another key than the ring names.
        """
        for (reader, public_key), wrapped in self.wrapped.items():
            if public_key == reading.public:
                context = _context(self.study, self.epoch, self.key_name, reader)
                key = reading.unwrap(wrapped, context)
                if name_of_key(key) != self.key_name:
                    raise Malformed("key ring", "it holds another key than it names")
                return key
        return None


def is_ring(data: bytes | memoryview) -> bool:
    """Whether some bytes look like a key ring."""
    if len(data) > RING_MAX_BYTES or bytes(data[:1]) != b"{":
        return False
    return f'"format":"{FORMAT}"'.encode() in bytes(data)


def make_ring(
    study: StudyId,
    epoch: int,
    key: bytes,
    readers: Iterable[Grantee],
    signer: LocalAccount,
    domain: Domain,
) -> bytes:
    """Wrap an epoch's key for readers, and sign.

    A reader whose public key is none gets nothing: that must not keep it from the others.
    """
    name = name_of_key(key)
    listed = []
    for reader in readers:
        context = _context(study, epoch, name, reader.account)
        try:
            wrapped = wrap(key, reader.public_key, context)
        except Malformed:
            continue
        listed.append(
            {
                "publicKey": "0x" + reader.public_key.hex(),
                "reader": reader.account.lower(),
                "wrapped": "0x" + wrapped.hex(),
            }
        )
    digest = _digest(study, epoch, name, listed, domain)
    return canonical_bytes(
        {
            "epoch": epoch,
            "format": FORMAT,
            "key": "0x" + name.hex(),
            "readers": listed,
            "signature": "0x" + sign_digest(digest, bytes(signer.key)).hex(),
            "study": "0x" + study.hex(),
        }
    )


def read_ring(data: bytes | memoryview, domain: Domain) -> KeyRing:
    """Read a ring and find who signed it.

    Raises:
        Malformed: it is none.
        SignatureInvalid: it has no valid signature.
    """
    if len(data) > RING_MAX_BYTES:
        raise Malformed("key ring", f"{len(data)} bytes are too many")
    value = parse_canonical(bytes(data), "key ring")
    try:
        document = validate_form(_Document, value, "", "key ring")
    except SpecificationError as error:
        raise Malformed("key ring", str(error)) from error
    study, name = StudyId(bytes32(document.study, "study")), bytes.fromhex(document.key[2:])
    assert isinstance(value, dict)
    digest = _digest(study, document.epoch, name, value["readers"], domain)
    signer = recover_signer(digest, bytes.fromhex(document.signature[2:]), "a key ring")
    wrapped = {
        (one.reader.lower(), bytes.fromhex(one.publicKey[2:])): bytes.fromhex(one.wrapped[2:])
        for one in document.readers
    }
    return KeyRing(study, document.epoch, name, wrapped, str(signer))


def _digest(
    study: StudyId, epoch: int, name: bytes, readers: Sequence[Mapping[str, Any]], domain: Domain
) -> bytes:
    listed = sha256(canonical_bytes(list(readers))).digest()
    body = keccak(_TYPEHASH + study + epoch.to_bytes(32, "big") + name.ljust(32, b"\0") + listed)
    return keccak(b"\x19\x01" + domain.separator + body)


def _context(study: StudyId, epoch: int, name: bytes, reader: str) -> bytes:
    return (
        b"wardround key ring 1\0"
        + study
        + epoch.to_bytes(8, "big")
        + name
        + bytes.fromhex(reader.removeprefix("0x"))
    )
