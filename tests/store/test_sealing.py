"""Encryption of objects: frames, nonces, keys for readers; every altered byte is found."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.chain.grants import Grantee
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_of
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import Malformed, SignatureInvalid, SpecificationError
from wardround.protocol.identifiers import StudyId
from wardround.store import sealing
from wardround.store.key_ring import is_ring, make_ring, read_ring
from wardround.store.reading_key import ReadingKey, read_reading_key, wrap, write_new_reading_key
from wardround.store.sealing import (
    FRAME_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    SealedHeader,
    is_sealed,
    name_of_key,
    read_header,
    seal,
    unseal,
)
from wardround.store.vault import is_document

STUDY = StudyId(b"\x51" * 32)
KEY = b"\x4b" * 32
DOMAIN = Domain(31337, "0x" + "Aa" * 20)


def sealed(data: bytes, key: bytes = KEY, epoch: int = 3) -> bytes:
    return bytes(seal(memoryview(data), cid_of(data), STUDY, epoch, key))


@pytest.mark.parametrize(
    "size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, (1 << 20) + 5]
)
def test_what_is_sealed_opens_again(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    whole = sealed(data)
    header = read_header(whole)
    assert (header.study, header.epoch, header.cid, header.size) == (STUDY, 3, cid_of(data), size)
    assert header.key_name == name_of_key(KEY)
    assert len(whole) == header.sealed_bytes
    assert unseal(memoryview(whole), KEY) == data
    assert is_sealed(whole)


def test_no_content_is_in_what_is_sealed() -> None:
    data = b"patients of the ward" * 10_000
    whole = sealed(data)
    for start in range(0, 40, 4):
        assert data[start : start + 8] not in whole
    # Twice the same content gives nothing in common but the header's first fields.
    again = sealed(data)
    assert whole[HEADER_BYTES:] != again[HEADER_BYTES:]
    assert read_header(whole).salt != read_header(again).salt


def test_every_flipped_byte_is_found() -> None:
    data = bytes(300)
    whole = sealed(data)
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        with pytest.raises(Malformed):
            unseal(memoryview(bytes(altered)), KEY)


def test_frames_cannot_be_cut_off_swapped_or_repeated() -> None:
    data = bytes(2 * FRAME_BYTES)
    whole = sealed(data)
    step = FRAME_BYTES + TAG_BYTES
    head, first, second = whole[:HEADER_BYTES], whole[HEADER_BYTES:][:step], whole[-step:]
    for frames in (second + first, first + first, second + second):
        with pytest.raises(Malformed, match="altered"):
            unseal(memoryview(head + frames), KEY)
    # Cut at a frame, with a header that agrees: the first frame is not the last.
    header = read_header(whole)
    shorter = SealedHeader(STUDY, 3, header.key_name, header.cid, FRAME_BYTES, header.salt)
    with pytest.raises(Malformed, match="altered"):
        unseal(memoryview(shorter.pack() + first), KEY)


def test_header_binds_study_epoch_and_content() -> None:
    whole = sealed(b"model")
    header = read_header(whole)
    body = whole[HEADER_BYTES:]
    changes = [
        {"study": StudyId(b"\x52" * 32)},
        {"epoch": 4},
        {"cid": cid_of(b"another")},
        {"salt": bytes(32)},
        {"key_name": bytes(16)},
    ]
    for change in changes:
        other = SealedHeader(**{**header.__dict__, **change})
        with pytest.raises(Malformed, match="altered"):
            unseal(memoryview(other.pack() + body), KEY)
    assert unseal(memoryview(header.pack() + body), KEY) == b"model"


def test_another_key_does_not_open() -> None:
    with pytest.raises(Malformed):
        unseal(memoryview(sealed(b"model")), b"\x4c" * 32)


@given(data=st.binary(max_size=400))
@settings(max_examples=200)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_header(data)
    with pytest.raises(Malformed):
        read_header(sealing._MAGIC + data)


LARGE = """
import resource, sys
from wardround.store.sealing import seal, unseal
from wardround.protocol.identifiers import StudyId
import mmap
size = 256 << 20
content = memoryview(mmap.mmap(-1, size))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
whole = seal(content, "b" * 59, StudyId(bytes(32)), 1, bytes(32))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_sealing_takes_memory_for_frames_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, check=True, timeout=120
    )
    # Reading the content brings its own 256 MiB into memory; the sealed one adds none.
    assert int(done.stdout) < (256 + 32) * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


# ---------------------------------------------------------------- readers' keys


@pytest.fixture
def reading(tmp_path: Path) -> ReadingKey:
    return write_new_reading_key(tmp_path / "reader.key")


def test_key_file_is_private_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "reader.key"
    made = write_new_reading_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_reading_key(path).public == made.public
    with pytest.raises(FileExistsError):
        write_new_reading_key(path)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_file_that_holds_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reader.key"
    path.write_text(text)
    with pytest.raises(Malformed, match="32 bytes"):
        read_reading_key(path)


def test_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"reading key .* cannot be read \(no such file"):
        read_reading_key(tmp_path / "reader.key")


def test_wrapped_key_opens_for_its_reader_and_context_alone(
    tmp_path: Path, reading: ReadingKey
) -> None:
    wrapped = wrap(KEY, reading.public, b"context")
    assert KEY not in wrapped
    assert reading.unwrap(wrapped, b"context") == KEY
    stranger = write_new_reading_key(tmp_path / "stranger.key")
    for other, data, context in (
        (stranger, wrapped, b"context"),
        (reading, wrapped, b"contexT"),
        (reading, wrapped[:-1], b"context"),
        (reading, b"", b"context"),
    ):
        with pytest.raises(Malformed):
            other.unwrap(data, context)


@pytest.mark.parametrize("public", [bytes(32), bytes(31), b"\x01" + bytes(31)])
def test_public_key_of_small_order_or_length_is_refused(public: bytes) -> None:
    with pytest.raises(Malformed):
        wrap(KEY, public, b"")


# ---------------------------------------------------------------- rings


def test_ring_is_for_its_readers_and_says_who_signed(tmp_path: Path, reading: ReadingKey) -> None:
    sponsor, reader = Account.create(), Account.create()
    broken = Grantee(Account.create().address, bytes(32))
    data = make_ring(
        STUDY, 2, KEY, [Grantee(reader.address, reading.public), broken], sponsor, DOMAIN
    )
    assert is_ring(data)
    assert not is_document(memoryview(data))
    assert KEY.hex() not in data.decode()
    ring = read_ring(data, DOMAIN)
    assert (ring.study, ring.epoch, ring.signer) == (STUDY, 2, sponsor.address)
    assert ring.open(reading) == KEY
    assert ring.open(write_new_reading_key(tmp_path / "stranger.key")) is None
    assert len(ring.wrapped) == 1  # a reader without a usable key does not stop the others


@pytest.mark.parametrize("field", ["epoch", "key", "study", "readers", "format", "signature"])
def test_altered_ring_is_somebody_elses(reading: ReadingKey, field: str) -> None:
    import json

    sponsor = Account.create()
    data = make_ring(STUDY, 2, KEY, [Grantee(sponsor.address, reading.public)], sponsor, DOMAIN)
    value = json.loads(data)
    value[field] = {
        "epoch": 3,
        "key": "0x" + "00" * 16,
        "study": "0x" + "00" * 32,
        "readers": [],
        "format": "wardround-keys/2",
        "signature": "0x" + "00" * 65,
    }[field]
    try:
        assert read_ring(canonical_bytes(value), DOMAIN).signer != sponsor.address
    except (Malformed, SignatureInvalid):
        assert True


def test_ring_for_another_contract_is_somebody_elses(reading: ReadingKey) -> None:
    sponsor = Account.create()
    data = make_ring(STUDY, 2, KEY, [Grantee(sponsor.address, reading.public)], sponsor, DOMAIN)
    for domain in (Domain(1, DOMAIN.contract), Domain(31337, "0x" + "Bb" * 20)):
        try:
            assert read_ring(data, domain).signer != sponsor.address
        except SignatureInvalid:
            continue


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"wardround-keys/1"}', b"\xff"])
def test_what_is_no_ring(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_ring(data, DOMAIN)


def test_what_is_public() -> None:
    assert is_document(memoryview(canonical_bytes({"round": 1})))
    for data in (b"", b"{", b"{}x", b'{"a": 1}', b"[1]", bytes(1000), b"{" + bytes(98) + b"}"):
        assert not is_document(memoryview(data))
