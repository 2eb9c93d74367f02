"""Sums of masks, and what two answers of helpers prove."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.protocol.masking import DOMAIN, VECTORS, read
from tests.vectors import masking as slow
from wardround.protocol.errors import ProtocolError, SignatureInvalid
from wardround.protocol.identifiers import Root, StudyId, address_of
from wardround.protocol.masking.ratchet import stream_key
from wardround.protocol.masking.streams import Segments
from wardround.protocol.masking.unmasking import UNMASKING_TYPE, Unmasking, mask_sum, ring_root

VECTOR = VECTORS["statements"]["Unmasking"]
OTHER = address_of("0x" + "22" * 20)


def answer() -> Unmasking:
    message = VECTOR["message"]
    return Unmasking(
        study=StudyId(read(message["study"])),
        round=message["round"],
        attempt=message["attempt"],
        lock=read(message["lock"]),
        block_hash=read(message["blockHash"]),
        set_number=message["set"],
        helper=address_of(message["helper"]),
        sum=Root(read(message["sum"])),
    )


def test_statement_is_that_of_the_vectors() -> None:
    one = answer()
    assert VECTOR["type"] == UNMASKING_TYPE
    assert one.signing_digest(DOMAIN) == read(VECTOR["digest"])
    mine = replace(one, helper=address_of(VECTOR["signer"]))
    mine.check_signature(DOMAIN, mine.sign(DOMAIN, bytes([9]) * 32))
    with pytest.raises(SignatureInvalid):
        one.check_signature(DOMAIN, read(VECTOR["signature"]))


CHANGES: dict[str, Any] = {
    "study": StudyId(bytes(32)),
    "round": 8,
    "attempt": 3,
    "lock": bytes(32),
    "block_hash": bytes(32),
    "set_number": 1,
    "helper": OTHER,
    "sum": Root(bytes(32)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_is_signed(name: str) -> None:
    assert set(CHANGES) == {field.name for field in fields(Unmasking)}
    other = replace(answer(), **{name: CHANGES[name]})
    assert other.signing_digest(DOMAIN) != answer().signing_digest(DOMAIN)


@pytest.mark.parametrize("name", CHANGES)
def test_equivocation_is_two_answers_of_one_helper_in_one_attempt(name: str) -> None:
    one, other = answer(), replace(answer(), **{name: CHANGES[name]})
    assert (
        one.equivocates(other) == other.equivocates(one) == (name in {"lock", "block_hash", "sum"})
    )
    assert not one.equivocates(one)


def test_two_locks_are_equivocation_in_different_sets_too() -> None:
    assert answer().equivocates(replace(answer(), set_number=1, lock=bytes(32)))


@pytest.mark.parametrize("name", CHANGES)
def test_dispute_is_two_sums_of_both_holders_for_one_lock(name: str) -> None:
    one = answer()
    other = replace(one, helper=OTHER, sum=Root(bytes(32)))
    assert one.is_disputed(other)
    assert other.is_disputed(one)
    assert not one.is_disputed(replace(one, helper=OTHER))
    assert not one.is_disputed(replace(one, sum=Root(bytes(32))))
    if name not in {"helper", "sum"}:
        assert not one.is_disputed(replace(other, **{name: CHANGES[name]}))


@pytest.mark.parametrize("vector", VECTORS["rounds"], ids=lambda v: str(v["parameters"]))
def test_sums_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    segments, base = (
        Segments(vector["parameters"], vector["rounds"]),
        Root(read(vector["base_model"])),
    )
    for number, sites in enumerate(vector["segment_keys"]):
        keys = [[stream_key(read(key), base, vector["attempt"]) for key in one] for one in sites]
        found = mask_sum(segments, zip(vector["weights"], keys, strict=True))
        assert found.tobytes() == read(vector["mask_sums"][number])
        assert ring_root(found) == read(vector["mask_sum_roots"][number])


@settings(deadline=None, max_examples=30, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(1, 300), st.lists(st.integers(1, 64), max_size=3))
def test_sum_is_the_slow_one(parameters: int, weights: list[int]) -> None:
    segments = Segments(parameters, 4)
    keys = [[bytes([site, s]) * 16 for s in range(segments.count)] for site in range(len(weights))]
    streams = [slow.stream(one, parameters, 4) for one in keys]
    found = mask_sum(segments, zip(weights, keys, strict=True))
    expected = slow.mask_sum(weights, streams) if weights else [0] * parameters
    assert found.tolist() == expected


@pytest.mark.parametrize("weight", [0, 65])
def test_weights_out_of_range_are_refused(weight: int) -> None:
    with pytest.raises(ProtocolError, match="weight"):
        mask_sum(Segments(1, 1), [(weight, [bytes(32)])])


def test_root_is_of_little_endian_bytes() -> None:
    vector = np.arange(5, dtype=np.uint64)
    assert ring_root(vector.astype(">u8")) == ring_root(vector)
