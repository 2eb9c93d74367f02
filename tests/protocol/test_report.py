from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.report import (
    REPORT_MAX_BYTES,
    Report,
    parse_report,
    rounded_loss,
)

hex32 = st.binary(min_size=32, max_size=32).map(lambda data: "0x" + data.hex())
losses = st.floats(0, allow_infinity=False).map(rounded_loss)
reports = st.builds(
    Report,
    study=hex32,
    round=st.integers(1, 2**32 - 1),
    site=st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex()),
    examples=st.integers(1, 2**53 - 1),
    metrics=st.just({}) | st.fixed_dictionaries({"train_loss": losses}),
    privacy=st.none()
    | st.fixed_dictionaries(
        {
            "epsilon": st.floats(0, 1e6),
            "epsilon_replaced": st.floats(0, 1e6),
            "delta": st.floats(0, 1, exclude_max=True),
        }
    ),
    code=hex32,
    seconds=st.integers(0, 2**24 - 1),
)
GOOD = {
    "study": "0x" + "01" * 32,
    "round": 1,
    "site": "0x" + "02" * 20,
    "examples": 7,
    "metrics": {"train_loss": 0.5},
    "privacy": None,
    "code": "0x" + "03" * 32,
    "seconds": 2,
}


@given(reports)
def test_report_when_written_is_read_back(report: Report) -> None:
    assert parse_report(report.encode()) == report


def test_bytes_when_written_are_these() -> None:
    text = json.dumps(GOOD, sort_keys=True, separators=(",", ":"))
    assert Report.model_validate(GOOD).encode() == text.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"study": "0x" + "01" * 31},
        {"study": "0x" + "AA" * 32},
        {"round": 0},
        {"round": -1},
        {"round": 2**32},
        {"round": True},
        {"round": 1.5},
        {"round": "1"},
        {"site": "0x" + "0A" * 20},
        {"site": None},
        {"examples": 0},
        {"examples": -5},
        {"examples": True},
        {"metrics": {"patient": 1.0}},
        {"metrics": {"": 1.0}},
        {"metrics": {"auc": 0.5}},
        {"metrics": {"train_loss": "high"}},
        {"metrics": {"train_loss": -0.5}},
        {"metrics": {"train_loss": 0.12345}},
        {"metrics": {"train_loss": 2e6}},
        {"metrics": {"train_loss": None}},
        {"metrics": {"train_loss": [1]}},
        {"metrics": []},
        {"privacy": {}},
        {"privacy": {"epsilon": 1.0, "delta": 0.0}},
        {"privacy": {"epsilon": -1.0, "epsilon_replaced": 2.0, "delta": 0.0}},
        {"privacy": {"epsilon": 1.0, "epsilon_replaced": -2.0, "delta": 0.0}},
        {"privacy": {"epsilon": 1.0, "epsilon_replaced": 2.0, "delta": 1.0}},
        {"privacy": {"epsilon": 1.0, "epsilon_replaced": 2.0, "delta": 0.0, "more": 1}},
        {"code": "none"},
        {"seconds": -1},
        {"seconds": 0.5},
        {"seconds": 2**24},
        {"seconds": None},
    ],
    ids=repr,
)
def test_report_when_a_field_is_wrong_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="report is malformed"):
        parse_report(canonical_bytes({**GOOD, **change}))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_report_when_a_field_is_missing_is_refused(name: str) -> None:
    value = {key: inner for key, inner in GOOD.items() if key != name}
    with pytest.raises(Malformed, match=name):
        parse_report(canonical_bytes(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_report_when_a_number_is_not_finite_is_refused(value: float) -> None:
    data = json.dumps({**GOOD, "seconds": value}, sort_keys=True, separators=(",", ":"))
    with pytest.raises(Malformed):
        parse_report(data.encode())
    with pytest.raises(ValueError, match="finite"):
        Report.model_validate({**GOOD, "metrics": {"train_loss": value}})


def test_report_when_too_long_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="exceed"):
        parse_report(b"x" * (REPORT_MAX_BYTES + 1))


@given(st.binary(max_size=300))
def test_bytes_when_hostile_give_one_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_report(data)


@given(st.data())
def test_report_when_a_byte_is_altered_is_another_or_none(data: st.DataObject) -> None:
    altered = bytearray(Report.model_validate(GOOD).encode())
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        report = parse_report(bytes(altered))
    except ProtocolError:
        return
    assert report != Report.model_validate(GOOD)
    assert report.encode() == bytes(altered)
