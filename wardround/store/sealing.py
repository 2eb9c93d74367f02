"""How a confidential object is encrypted: AES-256-GCM in frames, under a key of its own.

An object is ``header ‖ frame ‖ frame …``. The header names the object in the clear: study,
epoch, the name of the epoch's key, CID and length of the content, and a random salt. A frame is 64
KiB of content (the last one shorter, or empty) and its 16-byte tag.

Nonces: each object has its own key, HKDF-SHA256 of the epoch's key with the header as salt and
info, and 256 random bits in the header. So nonces may count frames from zero, and never repeat
under a key. A nonce also marks the last frame (the STREAM construction: Hoang,
Reyhanitabar, Rogaway and Vizár 2015), so frames cannot be cut off, swapped or taken from another
object; the header is associated data of every frame.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.protocol.cid import sha256_of_cid
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import StudyId

KEY_BYTES = 32
KEY_NAME_BYTES = 16
FRAME_BYTES = 1 << 16
TAG_BYTES = 16

_MAGIC = b"\x89wardround-sealed-1\n"
_CID_BYTES = 59
#: Magic, study, epoch, name of the epoch's key, CID, length of the content, salt.
_HEADER = struct.Struct(f">{len(_MAGIC)}s32sQ{KEY_NAME_BYTES}s{_CID_BYTES}sQ32s")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class SealedHeader:
    """What a sealed object claims to be; proven only when its frames open.

    Args:
        study: whose object it is.
        epoch: when it was written, see IGrants.sol.
        key_name: of the epoch's key, see `name_of_key`.
        cid: of the content.
        size: of the content, bytes.
        salt: 32 random bytes.
    """

    study: StudyId
    epoch: int
    key_name: bytes
    cid: str
    size: int
    salt: bytes

    def pack(self) -> bytes:
        """The first bytes of the object."""
        return _HEADER.pack(
            _MAGIC,
            self.study,
            self.epoch,
            self.key_name,
            self.cid.encode("ascii"),
            self.size,
            self.salt,
        )

    @property
    def sealed_bytes(self) -> int:
        """Length of the whole object."""
        frames = max(1, -(-self.size // FRAME_BYTES))
        return HEADER_BYTES + self.size + frames * TAG_BYTES


def name_of_key(key: bytes) -> bytes:
    """Name an epoch's key without giving anything of it away, 16 bytes."""
    return sha256(b"wardround epoch key\0" + key).digest()[:KEY_NAME_BYTES]


def is_sealed(data: bytes | memoryview) -> bool:
    """Whether some bytes begin like a sealed object."""
    return bytes(data[: len(_MAGIC)]) == _MAGIC


def read_header(data: bytes | memoryview) -> SealedHeader:
    """Read the header of a sealed object.

    Raises:
        Malformed: it is none, or has not the length that it names.
    """
    if len(data) < HEADER_BYTES or not is_sealed(data):
        raise Malformed("sealed object", "it does not begin like one")
    _, study, epoch, key_name, cid, size, salt = _HEADER.unpack(bytes(data[:HEADER_BYTES]))
    try:
        name = cid.decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("sealed object", "its CID is not text") from error
    sha256_of_cid(name)
    header = SealedHeader(StudyId(study), epoch, key_name, name, size, salt)
    if len(data) != header.sealed_bytes:
        raise Malformed("sealed object", f"{len(data)} bytes instead of {header.sealed_bytes}")
    return header


def seal(content: memoryview, cid: str, study: StudyId, epoch: int, key: bytes) -> memoryview:
    """Encrypt an object. The result is on disk, without a name, and costs no memory.

    Args:
        content: the bytes.
        cid: their CID.
        study: whose they are.
        epoch: the current one.
        key: the epoch's, 32 bytes.
    """
    header = SealedHeader(study, epoch, name_of_key(key), cid, len(content), os.urandom(32))
    packed = header.pack()
    cipher = _cipher(header, key)
    with tempfile.TemporaryFile() as file:
        file.write(packed)
        for nonce, start, end in _frames(header.size):
            file.write(cipher.encrypt(nonce, content[start:end], packed))
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), header.sealed_bytes, access=mmap.ACCESS_READ))


def unseal(data: memoryview, key: bytes) -> memoryview:
    """Decrypt an object; read-only, in memory alone.

    Args:
        data: the whole sealed object.
        key: the epoch's that its header names.

    Raises:
        Malformed: it was altered, or sealed with another key.
    """
    header = read_header(data)
    cipher, packed = _cipher(header, key), bytes(data[:HEADER_BYTES])
    # Memory that no file has: nothing decrypted reaches the disk.
    content: mmap.mmap | bytearray = mmap.mmap(-1, header.size) if header.size else bytearray()
    place = HEADER_BYTES
    for nonce, start, end in _frames(header.size):
        length = end - start + TAG_BYTES
        try:
            content[start:end] = cipher.decrypt(nonce, data[place : place + length], packed)
        except InvalidTag as error:
            raise Malformed("sealed object", "it was altered, or has another key") from error
        place += length
    return memoryview(content).toreadonly()


def _frames(size: int) -> list[tuple[bytes, int, int]]:
    starts = range(0, max(size, 1), FRAME_BYTES)
    return [
        (
            number.to_bytes(11, "big") + (b"\1" if start == starts[-1] else b"\0"),
            start,
            min(start + FRAME_BYTES, size),
        )
        for number, start in enumerate(starts)
    ]


def _cipher(header: SealedHeader, key: bytes) -> AESGCM:
    info = b"wardround object key\0" + header.pack()
    return AESGCM(HKDF(SHA256(), KEY_BYTES, header.salt, info).derive(key))
