from __future__ import annotations

import json
import math
import sys
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.canonical import (
    NESTING_MAX,
    canonical_bytes,
    canonical_digest,
    parse_canonical,
    sha256_digest,
)
from wardround.protocol.errors import Malformed

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

# RFC 8785, section 3.2.2, and appendix B for numbers.
PUBLISHED = (
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
)


def test_bytes_when_the_rfcs_own_example_are_the_published_ones() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_bytes(value).decode() == PUBLISHED


@given(json_values)
def test_value_when_written_is_read_back(value: Any) -> None:
    try:
        data = canonical_bytes(value)
    except Malformed:
        return
    assert parse_canonical(data, "x") == value
    assert canonical_digest(value) == sha256(data).digest() == sha256_digest(data)


@given(json_values)
def test_bytes_when_keys_come_in_another_order_are_equal(value: Any) -> None:
    def turned(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: turned(inner[key]) for key in reversed(list(inner))}
        return [turned(one) for one in inner] if isinstance(inner, list) else inner

    try:
        assert canonical_bytes(turned(value)) == canonical_bytes(value)
    except Malformed:
        assert has_surrogate(value)


def has_surrogate(value: Any) -> bool:
    return "\\ud" in json.dumps(value)


@given(json_values)
def test_bytes_when_written_otherwise_are_refused(value: Any) -> None:
    try:
        true_form = canonical_bytes(value)
    except Malformed:
        return
    for text in (json.dumps(value, indent=1), " " + json.dumps(value), json.dumps(value)):
        if text.encode() != true_form:
            with pytest.raises(Malformed):
                parse_canonical(text.encode(), "x")


@given(st.binary(max_size=200))
def test_bytes_when_hostile_give_a_value_or_one_error(data: bytes) -> None:
    try:
        value = parse_canonical(data, "x")
    except Malformed:
        return
    assert canonical_bytes(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nul",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[1,]",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b"1.0",
        b"1e2",
        b"-0",
        b"01",
        b"9007199254740993",
        b"1" + b"0" * 10_000,
        b'"\\u0041"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'{"\\ud800":1}',
        b"\xff\xfe[\x00]\x00",
        b"\xef\xbb\xbf[]",
        b"[" * 100_000,
        b"[" * 300 + b"]" * 301,
        b"[]\n",
        "\"é\"".encode("latin-1"),
    ],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
def test_json_when_not_in_its_one_form_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_canonical(data, "document")
    assert str(refusal.value).startswith("document is malformed: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":[', b"]}")])
def test_json_when_nested_deeper_than_the_stack_is_refused(opening: bytes, closing: bytes) -> None:
    """Other libraries raise the recursion limit: without one of our own, Python would crash."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        for depth in (NESTING_MAX + 1, 500_000):
            for data in (opening * depth, opening * depth + closing * depth):
                with pytest.raises(Malformed, match="nested deeper"):
                    parse_canonical(data, "x")
    finally:
        sys.setrecursionlimit(before)


def test_json_when_brackets_stand_in_strings_is_not_nested() -> None:
    value = {'"\\[': ["[" * 1000 + '\\"' + "{" * 1000], "n": [[]] * 1000}
    assert parse_canonical(canonical_bytes(value), "x") == value
    deep: Any = 1
    for _ in range(NESTING_MAX):
        deep = [deep]
    assert parse_canonical(canonical_bytes(deep), "x") == deep


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        2**53,
        -(2**53),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        b"bytes",
        {1, 2},
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_when_json_cannot_hold_it_is_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        canonical_bytes(value)
