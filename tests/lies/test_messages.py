"""Every field of every message, bent: its receiver refuses the message by name.

A lie that passes here would be one in a manifest, where an audit looks (`tests.lies.test_lies`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from tests.lies.documents import CLIPPED, before_the_last
from tests.lies.played import CODE
from tests.protocol.rounds import CAP
from wardround.protocol.checks import Asked
from wardround.protocol.errors import Malformed
from wardround.protocol.messages import (
    BINS,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    Measured,
    TrainReply,
    TrainTask,
)
from wardround_coordinator.errors import ReplyRefused
from wardround_coordinator.verification import RawVector, Reply, verify_reply

Fields = dict[str, Any]


@cache
def reply() -> Reply:
    """The first site's honest reply."""
    played = before_the_last(CLIPPED)
    entry, update, report = played.cohort()[0]
    sent = TrainReply(played.study, played.round, entry, played.objects[report])
    return Reply(sent.fields(), RawVector(VECTOR_DTYPE, VECTOR_FORMAT, played.objects[update]))


def refusal(sent: Reply) -> str:
    """The word under which a coordinator drops a reply; empty where it takes it."""
    played = before_the_last(CLIPPED)
    asked = Asked(played.facts, played.spec, played.round, played.history)
    try:
        verify_reply(sent, next(iter(played.keys)), asked, played.base, set())
    except ReplyRefused as error:
        return error.reason
    return ""


@cache
def others() -> Mapping[str, tuple[Callable[[Fields], object], Fields]]:
    """How each other message is read, and the fields of an honest one."""
    played = before_the_last(CLIPPED)
    counts = Measured(counts=[1] * (2 * BINS), two_classes=True, noise=0.0)
    task = TrainTask(played.facts.params, played.previous, played.round, b"{}")
    site = next(iter(played.keys))
    return {
        "measured": (Measured.parse, counts.fields()),
        "introduction": (Introduction.parse, Introduction(site, "zurich").fields()),
        "task": (TrainTask.parse, task.fields()),
    }


def of_another_type(value: Any) -> Iterator[Any]:
    yield from (None, [], {}, 1.5, 2**300, float("nan"), "x", b"x", not value)
    if not isinstance(value, bool):
        yield from (True, str(value), [value])


def bent(fields: Fields) -> Iterator[tuple[str, Fields]]:
    """Name messages without the form of theirs: a key less, a key more, another type."""
    for key, value in fields.items():
        yield f"{key}: absent", {one: fields[one] for one in fields if one != key}
        yield f"{key}: twice, in capitals", {**fields, key.upper(): value}
        for other in of_another_type(value):
            if type(other) is not type(value):
                yield f"{key}: {other!r:.20}", {**fields, key: other}
    yield "a key more", {**fields, "more": 1}
    yield "nothing", {}


#: What names a well-formed value that is not the one to be sent.
WRONG: tuple[tuple[str, Any, str], ...] = (
    ("study", b"\x07" * 32, "wrong_round"),
    ("study", b"\x07" * 31, "malformed"),
    ("round", 1, "wrong_round"),
    ("round", 3, "wrong_round"),
    ("round", -1, "wrong_round"),
    ("round", 2**300, "wrong_round"),
    ("site", "0x" + "5a" * 20, "impostor"),
    ("site", "0x", "malformed"),
    ("site", "x" * 10_000, "malformed"),
    ("weight", CAP + 1, "weight"),
    ("weight", 0, "weight"),
    ("weight", 11, "signature"),
    ("weight", -1, "malformed"),
    ("weight", 2**64, "malformed"),
    ("update", b"\x07" * 32, "signature"),
    ("update", b"", "malformed"),
    ("digest", b"\x07" * 32, "signature"),
    ("digest", b"\x07" * 33, "malformed"),
    ("signature", bytes(65), "signature"),
    ("signature", bytes(64), "malformed"),
    ("report", CODE, "report"),
    ("report", b"{}" * 10_000, "malformed"),
)


def test_honest_messages_are_taken() -> None:
    assert refusal(reply()) == ""
    for read, fields in others().values():
        read(fields)


def test_reply_without_the_form_of_one_is_malformed() -> None:
    fields = dict(reply().fields)
    found = {how: refusal(Reply(one, reply().vector)) for how, one in bent(fields)}
    assert len(found) > 80
    assert {how: word for how, word in found.items() if word != "malformed"} == {}


@pytest.mark.parametrize(("key", "value", "word"), WRONG)
def test_reply_with_a_wrong_value_is_dropped_by_name(key: str, value: Any, word: str) -> None:
    assert refusal(Reply({**reply().fields, key: value}, reply().vector)) == word


def test_every_field_of_a_reply_has_a_wrong_value() -> None:
    assert {key for key, _, _ in WRONG} == set(reply().fields)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"dtype": "<f4"}, "malformed"),
        ({"dtype": ">i4"}, "malformed"),
        ({"format": "numpy.ndarray"}, "malformed"),
        ({"data": b""}, "length"),
        ({"data": bytes(1204)}, "length"),
        ({"data": bytes(1200)}, "root"),
    ],
)
def test_reply_with_another_vector_is_dropped_by_name(change: Fields, word: str) -> None:
    vector = RawVector(**{**vars(reply().vector), **change})
    assert refusal(Reply(reply().fields, vector)) == word


@pytest.mark.parametrize("kind", ["measured", "introduction", "task"])
def test_other_message_without_the_form_of_one_is_malformed(kind: str) -> None:
    read, fields = others()[kind]
    for how, one in bent(fields):
        with pytest.raises(Malformed):
            pytest.fail(f"{how} was taken: {read(one)}")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("measured", "counts", [1] * (2 * BINS - 1)),
        ("measured", "counts", [1] * (2 * BINS - 1) + [-1]),
        ("measured", "counts", [1] * (2 * BINS - 1) + [2**53]),
        ("measured", "counts", [1] * (2 * BINS - 1) + [1.0]),
        ("measured", "counts", [True] * (2 * BINS)),
        ("measured", "noise", -1.0),
        ("measured", "noise", float("nan")),
        ("measured", "noise", float("inf")),
        ("measured", "noise", 1e7),
        ("introduction", "site", "0x" + "5A" * 19 + "5b"),
        ("introduction", "name", "Zurich"),
        ("introduction", "name", "z\u00fcrich"),
        ("introduction", "name", "z" * 64),
        ("introduction", "name", "\u202ezurich"),
        ("task", "params", bytes(32)),
        ("task", "params", b""),
        ("task", "previous", bytes(255)),
        ("task", "previous", b"\xff" * 256),
        ("task", "specification", bytes(2**20 + 1)),
    ],
)
def test_other_message_with_a_value_out_of_range_is_malformed(
    kind: str, key: str, value: Any
) -> None:
    read, fields = others()[kind]
    with pytest.raises(Malformed):
        read({**fields, key: value})
