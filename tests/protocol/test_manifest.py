from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.rounds import Memory
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.manifest import (
    MANIFEST_MAX_BYTES,
    Dropped,
    Manifest,
    ManifestEntry,
    parse_manifest,
)


@cache
def honest() -> Manifest:
    memory = Memory(sites=4)
    left_out = list(memory.keys)[3]
    made = [row for row in memory.contributions() if row[0].site != left_out]
    dropped = [Dropped(site=left_out.lower(), reason="no_reply", evidence="no answer in time")]
    return memory.settle(made, dropped)[0].manifest


def document() -> Any:
    return json.loads(honest().encode())


def test_manifest_when_written_is_read_back() -> None:
    data = honest().encode()
    assert parse_manifest(data) == honest()
    assert parse_manifest(memoryview(data)) == honest()


def test_fields_when_written_are_those_of_the_protocol() -> None:
    value = document()
    assert set(value) == {
        "protocol", "chainId", "contract", "study", "round", "coordinator", "parameters",
        "scaleBits", "rule", "base", "model", "contributions", "dropped", "scoring",
        "commitments",
    }  # fmt: skip
    assert value["protocol"] == "wardround/2"
    assert set(value["contributions"][0]) == {"site", "weight", "update", "report", "signature"}
    assert set(value["contributions"][0]["report"]) == {"sha256", "cid"}
    assert set(value["dropped"][0]) == {"site", "reason", "evidence"}
    assert value["commitments"] == {}
    assert json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == honest().encode()


def test_cid_when_derived_from_the_digest_on_chain_is_the_stores() -> None:
    data = honest().encode()
    assert cid_from_sha256(sha256_digest(data)) == cid_of(data)
    assert MANIFEST_MAX_BYTES <= 1 << 20, "one chunk, or the digest would not lead to it"


def test_entry_when_written_down_is_read_back() -> None:
    memory = Memory()
    for entry, update, report in memory.contributions():
        assert ManifestEntry.of(entry, update, report).entry() == entry


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"protocol": "wardround/3"},
        {"protocol": "2"},
        {"protocol": 2},
        {"chain_id": 31337},
        {"chainId": 0},
        {"chainId": True},
        {"round": 0},
        {"round": 2**32},
        {"parameters": 0},
        {"scaleBits": 31},
        {"contributions": []},
        {"contributions": None},
        {"dropped": [{"site": "0x" + "00" * 20, "reason": "Loud", "evidence": ""}]},
        {"dropped": [{"site": "0x" + "00" * 20, "reason": "range", "evidence": "x" * 301}]},
        {"commitments": {"scores": "0x" + "00" * 32}},
        {"commitments": {"scores": {"root": "0x" + "00" * 32}}},
        {"commitments": []},
        {"contract": "0x" + "AB" * 20},
        {"study": "0x"},
        {"model": {"root": "0x" + "00" * 32}},
        {"model": {"root": "0x" + "00" * 32, "cid": "../../etc/passwd"}},
        {"scores": []},
    ],
    ids=repr,
)
def test_manifest_when_a_field_is_wrong_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_manifest(canonical_bytes({**document(), **change}))


def test_manifest_when_spelt_as_in_python_is_refused() -> None:
    """One value has one spelling, or a manifest would have two digests."""
    value = document()
    value["chain_id"] = value.pop("chainId")
    with pytest.raises(Malformed):
        parse_manifest(canonical_bytes(value))


def test_manifest_when_of_another_protocol_is_refused_by_its_name() -> None:
    former = {**document(), "protocol": "wardround/1", "scores": [], "rewards": {}}
    del former["commitments"]
    with pytest.raises(ProtocolError, match="made by protocol wardround/1, which this version"):
        parse_manifest(canonical_bytes(former))


def test_manifest_when_too_long_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="exceed"):
        parse_manifest(b"x" * (MANIFEST_MAX_BYTES + 1))


def test_manifest_when_too_long_is_never_written() -> None:
    row = honest().contributions[0]
    huge = honest().model_copy(update={"contributions": [row] * 3000})
    with pytest.raises(Malformed, match="too many sites"):
        huge.encode()


@given(st.binary(max_size=300))
def test_bytes_when_hostile_give_one_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_manifest(data)


@given(st.data())
@settings(max_examples=200)
def test_manifest_when_a_byte_is_altered_is_another_or_none(data: st.DataObject) -> None:
    altered = bytearray(honest().encode())
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        manifest = parse_manifest(bytes(altered))
    except ProtocolError:
        return
    assert manifest != honest()
    assert manifest.encode() == bytes(altered)
