from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from wardround.chain.artifacts import load_artifact
from wardround.protocol.errors import Malformed
from wardround.protocol.record import (
    ZERO_ADDRESS,
    Closing,
    Record,
    Recording,
    RuleId,
    ScoringId,
    StudyParams,
    genesis_closing,
)

word = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(to_checksum_address)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


all_params = st.builds(
    StudyParams,
    sponsor=addresses, token=addresses, reward_per_round=unsigned(128), bond=unsigned(96),
    deposit=unsigned(96), closing_fee=unsigned(128), attesting_fee=unsigned(128),
    rounds=unsigned(32), challenge_seconds=unsigned(32), objection_seconds=unsigned(32),
    round_seconds=unsigned(32), grace_seconds=unsigned(32),
    registration_seconds=unsigned(32), demand_seconds=unsigned(32),
    lifetime_seconds=unsigned(32),
    min_sites=unsigned(16), auditor_quorum=unsigned(16), recording=st.sampled_from(Recording),
    locked_cohort=st.booleans(),
    rule=st.sampled_from(RuleId), rule_argument=unsigned(16),
    scoring=st.sampled_from(ScoringId), parameter_count=unsigned(32), update_bound=unsigned(32),
    initial_model=word, specification=word, code=word, parties=word,
)  # fmt: skip
records = st.builds(
    Record, contributions=word, model=word, manifest=word, commitments=word, count=unsigned(32),
    total_weight=unsigned(64),
)  # fmt: skip
closings = st.builds(Closing, record=records, coordinator=addresses, closed_at=unsigned(64))


@given(all_params)
def test_params_when_written_are_read_back(params: StudyParams) -> None:
    data = params.encode()
    assert len(data) == 896
    again = StudyParams.decode(data)
    assert again == params
    assert isinstance(again.recording, Recording)
    assert isinstance(again.rule, RuleId)
    assert isinstance(again.scoring, ScoringId)
    assert params.study_id == keccak(data)


@given(closings)
def test_closing_when_written_is_read_back(closing: Closing) -> None:
    data = closing.encode()
    assert len(data) == 256
    assert Closing.decode(data) == closing
    assert closing.commitment == keccak(data)


@given(st.binary(max_size=700))
def test_bytes_when_hostile_give_a_value_or_one_error(data: bytes) -> None:
    for kind in (StudyParams, Closing):
        try:
            value = kind.decode(data)
        except Malformed:
            continue
        assert value.encode() == data


@given(closings, st.data())
def test_closing_when_a_byte_is_altered_is_another_or_none(
    closing: Closing, data: st.DataObject
) -> None:
    altered = bytearray(closing.encode())
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = Closing.decode(bytes(altered))
    except Malformed:
        return
    assert read != closing
    assert read.encode() == bytes(altered)


@given(all_params, st.data())
def test_params_when_a_byte_is_altered_are_another_study_or_none(
    params: StudyParams, data: st.DataObject
) -> None:
    altered = bytearray(params.encode())
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = StudyParams.decode(bytes(altered))
    except Malformed:
        return
    assert read.study_id != params.study_id


@pytest.mark.parametrize(
    "make",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + bytes(32),
        lambda data: b"\x01" + data[1:],
    ],
    ids=["empty", "short", "long", "padded"],
)
def test_encoding_when_not_exact_is_refused(make: Any) -> None:
    closing = genesis_closing(b"\x07" * 32)
    # The address is in the seventh word: its first twelve bytes are padding.
    data = closing.encode()
    altered = data[: 6 * 32] + make(data[6 * 32 :])
    with pytest.raises(Malformed, match="closing"):
        Closing.decode(altered)


def test_genesis_when_of_a_model_commits_to_it_alone() -> None:
    closing = genesis_closing(b"\x07" * 32)
    assert closing.record.model == b"\x07" * 32
    nothing = [getattr(closing.record, field.name) for field in fields(Record)]
    assert nothing == [bytes(32), b"\x07" * 32, bytes(32), bytes(32), 0, 0]
    assert (closing.coordinator, closing.closed_at) == (ZERO_ADDRESS, 0)


def components(type_name: str) -> list[tuple[str, str]]:
    """Find a struct in the contract's own ABI: names and types of its fields."""

    def search(value: Any) -> list[dict[str, Any]] | None:
        if isinstance(value, dict):
            if str(value.get("internalType", "")).endswith(type_name) and "components" in value:
                return list(value["components"])
            value = list(value.values())
        if isinstance(value, list):
            return next((found for found in map(search, value) if found is not None), None)
        return None

    found = search(load_artifact("WardRound").abi)
    assert found is not None
    return [(row["name"], row["type"]) for row in found]


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@pytest.mark.parametrize(("kind", "name"), [(StudyParams, "StudyParams"), (Record, "Record")])
def test_fields_when_compared_with_the_contract_are_in_its_order(kind: Any, name: str) -> None:
    assert [camel(field.name) for field in fields(kind)] == [n for n, _ in components(name)]


def test_encoding_when_made_from_the_contracts_types_is_equal() -> None:
    params = StudyParams(
        "0x" + "11" * 20, "0x" + "22" * 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        15, Recording.ROOT, True, RuleId.TRIMMED_MEAN, 16, ScoringId.EXAMPLES, 17, 18,
        b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32, b"\x0d" * 32,
    )  # fmt: skip
    kinds = ",".join(kind for _, kind in components("StudyParams"))
    assert encode([f"({kinds})"], [params.abi()]) == params.encode()
