"""What a site sends in a masked study: the vector, the statement and the entry."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.masking import DOMAIN, VECTORS, read
from tests.vectors.trees import tree
from wardround.protocol.contribution import Domain, contributions_root, sort_entries
from wardround.protocol.errors import Malformed, ProtocolError, SignatureInvalid
from wardround.protocol.identifiers import Digest, Root, StudyId, address_of
from wardround.protocol.masking.contribution import (
    MASKED_ENTRY_BYTES,
    MASKED_TYPE,
    MaskedContribution,
    MaskedEntry,
    mask,
    masked_from_bytes,
)
from wardround.protocol.masking.ratchet import stream_key
from wardround.protocol.masking.streams import Segments
from wardround.protocol.masking.unmasking import ring_root

VECTOR = VECTORS["statements"]["MaskedContribution"]
KEY = bytes([9]) * 32


def statement() -> MaskedContribution:
    message = VECTOR["message"]
    return MaskedContribution(
        study=StudyId(read(message["study"])),
        round=message["round"],
        attempt=message["attempt"],
        base_model=Root(read(message["baseModel"])),
        site=address_of(message["site"]),
        masked=Root(read(message["masked"])),
        setup=Digest(read(message["setup"])),
        weight=message["weight"],
        min_cohort=message["minCohort"],
        report=Digest(read(message["report"])),
    )


def entry(site: int = 9) -> MaskedEntry:
    one = statement()
    return MaskedEntry(
        address_of(f"0x{site:040x}"),
        one.weight,
        one.masked,
        one.setup,
        one.min_cohort,
        one.report,
        one.sign(DOMAIN, KEY),
    )


def test_statement_is_that_of_the_vectors() -> None:
    one, signature = statement(), read(VECTOR["signature"])
    assert VECTOR["type"] == MASKED_TYPE
    assert one.signing_digest(DOMAIN) == read(VECTOR["digest"])
    assert one.sign(DOMAIN, KEY) == signature
    one.check_signature(DOMAIN, signature)
    with pytest.raises(SignatureInvalid):
        one.check_signature(Domain(1, DOMAIN.contract), signature)


@pytest.mark.parametrize("name", [field.name for field in fields(MaskedContribution)])
def test_every_field_is_signed(name: str) -> None:
    one = statement()
    value = getattr(one, name)
    other: Any = value + 1 if isinstance(value, int) else bytes(32)
    if name == "site":
        other = address_of("0x" + "11" * 20)
    with pytest.raises(SignatureInvalid):
        replace(one, **{name: other}).check_signature(DOMAIN, one.sign(DOMAIN, KEY))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"weight": 65}, "weight"),
        ({"weight": 0}, "weight"),
        ({"min_cohort": 1}, "min_cohort"),
        ({"min_cohort": 5}, "min_cohort"),
    ],
)
def test_terms_out_of_range_are_refused(change: dict[str, Any], what: str) -> None:
    statement().check_terms(64, 4)
    with pytest.raises(ProtocolError, match=what):
        replace(statement(), **change).check_terms(1000, 4)


def test_weight_beyond_the_site_s_cap_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"1 \.\. 63"):
        statement().check_terms(63, 4)


def test_entry_has_all_but_what_the_round_shares() -> None:
    one = statement()
    packed = replace(entry(), site=one.site).pack()
    assert len(packed) == MASKED_ENTRY_BYTES
    found = MaskedEntry.unpack(packed)
    assert found.pack() == packed
    assert found.contribution(one.study, one.round, one.attempt, one.base_model) == one
    for wrong in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(Malformed, match="entry"):
            MaskedEntry.unpack(wrong)


def test_entries_are_committed_to_as_clear_ones_are() -> None:
    ordered = sort_entries([entry(3), entry(1), entry(2)])
    assert [one.site[-1] for one in ordered] == ["1", "2", "3"]
    assert contributions_root(ordered) == tree([one.pack() for one in ordered])
    with pytest.raises(Malformed, match="twice"):
        sort_entries([entry(1), entry(1)])


@pytest.mark.parametrize("vector", VECTORS["rounds"], ids=lambda v: str(v["parameters"]))
def test_masked_vectors_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    segments, base = Segments(vector["parameters"], vector["rounds"]), read(vector["base_model"])
    for place, update in enumerate(vector["updates"]):
        keys = [
            [stream_key(read(key), Root(base), vector["attempt"]) for key in sites[place]]
            for sites in vector["segment_keys"]
        ]
        masked = mask(np.array(update, np.int32), segments, keys)
        data = read(vector["masked"][place])
        assert masked.tobytes() == data
        assert np.array_equal(masked_from_bytes(data, segments.parameter_count), masked)
        assert ring_root(masked) == read(vector["masked_roots"][place])


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20))
def test_update_is_left_as_it_was(update: list[int]) -> None:
    clear = np.array(update, np.int32)
    masked = mask(clear, Segments(len(update), 1), [[bytes([s]) * 32] for s in range(3)])
    assert clear.tolist() == update
    assert masked.dtype == np.uint64


def test_other_numbers_of_keys_or_bytes_are_refused() -> None:
    segments, update = Segments(4, 1), np.zeros(4, np.int32)
    with pytest.raises(Malformed, match="2 sets of keys"):
        mask(update, segments, [[bytes(32)]] * 2)
    with pytest.raises(Malformed, match="stream keys"):
        mask(update, segments, [[bytes(32)], [], [bytes(32)]])
    with pytest.raises(ProtocolError, match="3 elements"):
        masked_from_bytes(bytes(24), 4)
