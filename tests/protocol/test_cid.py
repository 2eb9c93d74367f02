"""CIDs against vectors of another implementation, and refusal of anything that is not one."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.cid import (
    CHUNK_BYTES,
    cid_from_sha256,
    cid_of,
    cid_of_chunks,
    sha256_of_cid,
)
from wardround.protocol.errors import Malformed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cids.json").read_text())["vectors"]

# Made with npm ipfs-unixfs-importer 17.1.1: n - 1 chunks of zeros, then five zero bytes.
ZERO_TREES = {
    174: "bafybeicmhdnrtwoyahgsrr5p6hv22g7uy3jgvrs5g6s3wglcbgmvw4oizu",
    175: "bafybeicsyla3o422wrheupto6atst6o2i4lvsoxycge5o52k2ssqb5xswq",
    349: "bafybeifjhisuq5v53befeq42evt5zxkrn26impyloy6kjm2mwm5otm7mpm",
}


def content(size: int, seed: int) -> bytes:
    # The rule of the vectors repeats after 65,536 bytes.
    period = bytes((31 * i + 7 * (i >> 8) + seed) & 255 for i in range(1 << 16))
    return (period * (size // len(period) + 1))[:size]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["bytes"]))
def test_cid_of_vector_content(vector: dict) -> None:
    data = content(vector["bytes"], vector["seed"])
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert cid_of(data) == cid_of(memoryview(data)) == vector["cid"]
    if len(data) <= CHUNK_BYTES:
        assert cid_from_sha256(bytes.fromhex(vector["sha256"])) == vector["cid"]
        assert sha256_of_cid(vector["cid"]).hex() == vector["sha256"]


@pytest.mark.parametrize("chunks", ZERO_TREES)
def test_cid_when_the_tree_gets_a_second_level(chunks: int) -> None:
    zeros = (hashlib.sha256(bytes(CHUNK_BYTES)).digest(), CHUNK_BYTES)
    last = (hashlib.sha256(bytes(5)).digest(), 5)
    assert cid_of_chunks([zeros] * (chunks - 1) + [last]) == ZERO_TREES[chunks]


@given(st.binary(max_size=64))
def test_cid_of_memoryview_of_any_item_size(data: bytes) -> None:
    padded = data + bytes(-len(data) % 4)
    assert cid_of(memoryview(padded).cast("i")) == cid_of(padded)


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_cid_from_sha256_of_wrong_length(digest: bytes) -> None:
    with pytest.raises(Malformed):
        cid_from_sha256(digest)


GOOD = cid_of(b"wardround")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "../../etc/passwd",
        GOOD.upper(),
        GOOD[:-1],
        GOOD + "a",
        GOOD + "=",
        "Q" + GOOD[1:],
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        GOOD[:-1] + "7",
        "bé" + GOOD[2:],
        "\N{LATIN SMALL LETTER LONG S}" + GOOD[1:],
    ],
)
def test_sha256_of_what_is_no_cid(text: str) -> None:
    with pytest.raises(Malformed):
        sha256_of_cid(text)


@given(st.text(max_size=70))
def test_sha256_of_any_text_is_refused_or_exact(text: str) -> None:
    try:
        digest = sha256_of_cid(text)
    except Malformed:
        return
    assert cid_from_sha256(digest) == text
