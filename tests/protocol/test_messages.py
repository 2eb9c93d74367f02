from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.rounds import Memory
from tests.protocol.test_record import addresses, all_params, closings
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import Malformed
from wardround.protocol.messages import (
    BINS,
    NOISE_MAX,
    Introduction,
    Measured,
    TrainReply,
    TrainTask,
)
from wardround.protocol.record import genesis_closing
from wardround.protocol.report import REPORT_MAX_BYTES

words = st.binary(min_size=32, max_size=32)
entries = st.builds(
    Entry,
    site=addresses,
    weight=st.integers(0, 2**64 - 1),
    update=words,
    report=words,
    signature=st.binary(min_size=65, max_size=65),
)
KINDS: list[Any] = [TrainTask, TrainReply, Measured, Introduction]


@given(all_params, closings, st.integers(1, 2**32 - 1), st.binary(max_size=100))
def test_assignment_when_sent_is_read(params: Any, previous: Any, number: int, spec: bytes) -> None:
    task = TrainTask(params, previous, number, spec)
    assert TrainTask.parse(task.fields()) == task
    assert TrainTask.parse(task.fields()).study == params.study_id


@given(words, st.integers(0, 2**32), entries, st.binary(max_size=100))
def test_delivery_when_sent_is_read(study: Any, number: int, entry: Entry, report: bytes) -> None:
    delivery = TrainReply(study, number, entry, report)
    assert TrainReply.parse(delivery.fields()) == delivery


@given(addresses, st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True))
def test_introduction_when_sent_is_read(site: Any, name: str) -> None:
    introduction = Introduction(site, name)
    assert Introduction.parse(introduction.fields()) == introduction


@given(st.lists(st.integers(-40, 2**53 - 1), min_size=2 * BINS, max_size=2 * BINS), st.booleans())
def test_measures_when_sent_are_read(counts: list[int], two_classes: bool) -> None:
    measured = Measured(counts=counts, two_classes=two_classes, noise=4.0)
    assert Measured.parse(measured.fields()) == measured


def good(kind: Any) -> dict[str, Any]:
    memory = Memory()
    entry, _, report = memory.contribution(next(iter(memory.keys)))
    message: Any = {
        TrainTask: TrainTask(memory.facts.params, genesis_closing(memory.base.root), 1, b"{}"),
        TrainReply: TrainReply(memory.facts.study, 1, entry, memory.objects[report]),
        Measured: Measured(counts=[1] * 2 * BINS, two_classes=True, noise=4.0),
        Introduction: Introduction(entry.site, "here"),
    }[kind]
    fields: dict[str, Any] = message.fields()
    return fields


@pytest.mark.parametrize("kind", KINDS)
def test_message_when_a_field_is_missing_names_it(kind: Any) -> None:
    for name in good(kind):
        fields = {key: value for key, value in good(kind).items() if key != name}
        with pytest.raises(Malformed, match=f"{name} is missing"):
            kind.parse(fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["more", "Round", "__class__", 7, "x" * 10_000, "\ud800"])
def test_message_when_a_key_is_strange_says_so(kind: Any, key: Any) -> None:
    with pytest.raises(Malformed, match="does not belong there") as refusal:
        kind.parse({**good(kind), key: 1})
    assert len(str(refusal.value)) < 150


STRANGE = [None, True, 1.0, 1, "1", b"1", [1], ["a"], {}, bytearray(32), object()]


@pytest.mark.parametrize("kind", KINDS)
def test_message_when_a_value_has_another_type_says_which(kind: Any) -> None:
    for name, value in good(kind).items():
        for strange in STRANGE:
            # bool is an int to isinstance, and bytearray may change later: not to us.
            if type(strange) is not type(value):
                with pytest.raises(Malformed, match=f"{name} is not"):
                    kind.parse({**good(kind), name: strange})


@pytest.mark.parametrize(
    "change",
    [
        {"study": b"1" * 31},
        {"update": b"1" * 33},
        {"digest": b""},
        {"signature": b"1" * 64},
        {"weight": -1},
        {"weight": 2**64},
        {"report": b"x" * (REPORT_MAX_BYTES + 1)},
        {"site": "0x12"},
        {"site": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_delivery_when_a_value_is_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        TrainReply.parse({**good(TrainReply), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"counts": []},
        {"counts": [1] * (2 * BINS - 1)},
        {"counts": [1] * (2 * BINS + 1)},
        {"counts": [2**53] + [1] * (2 * BINS - 1)},
        {"counts": [-(2**53)] + [1] * (2 * BINS - 1), "noise": NOISE_MAX},
        {"counts": [-41] + [1] * (2 * BINS - 1)},
        {"counts": [-1] + [1] * (2 * BINS - 1), "noise": 0.0},
        {"counts": [1.0] * 2 * BINS},
        {"counts": [True] * 2 * BINS},
        {"counts": [[1]] * 2 * BINS},
        {"noise": -1.0},
        {"noise": 2 * NOISE_MAX},
        {"noise": float("nan")},
        {"noise": float("inf")},
    ],
    ids=str,
)
def test_measures_when_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as refusal:
        Measured.parse({**good(Measured), **change})
    assert len(str(refusal.value)) < 150


@pytest.mark.parametrize(
    "name",
    ["", "x" * 64, "a\nb", "a\n", "a\x1b[31mb", "\u202eevil", "[/]", "[red]x", ":smile:", "-", "A"],
)
def test_introduction_when_the_name_could_do_harm_is_refused(name: str) -> None:
    """Tables and logs show a name: it must not steer a terminal or a table's layout."""
    with pytest.raises(Malformed, match="name is malformed"):
        Introduction.parse({**good(Introduction), "name": name})


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=600)
)  # fmt: skip


@given(st.sampled_from(KINDS), st.data())
def test_message_when_hostile_gives_one_error_or_itself(kind: Any, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(good(kind)))
    fields = good(kind) | data.draw(st.dictionaries(names | st.text(max_size=9), values))
    try:
        message = kind.parse(fields)
    except Malformed:
        return
    assert message.fields() == fields or isinstance(message, Introduction | TrainReply)


@given(st.sampled_from(["params", "previous"]), st.data())
def test_assignment_when_a_byte_is_altered_is_another_or_none(
    name: str, data: st.DataObject
) -> None:
    fields = good(TrainTask)
    altered = bytearray(fields[name])
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        task = TrainTask.parse({**fields, name: bytes(altered)})
    except Malformed:
        return
    assert task.fields()[name] == bytes(altered)


def test_assignment_when_the_specification_is_too_long_is_refused() -> None:
    with pytest.raises(Malformed, match="too long"):
        TrainTask.parse({**good(TrainTask), "specification": bytes(2**20 + 1)})
