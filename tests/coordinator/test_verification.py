"""Every reply that must not be summed, and the word under which it is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.rounds import CAP, PARAMETERS, Memory, random_update
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.checks import Asked, History
from wardround.protocol.contribution import Entry
from wardround.protocol.facts import Member
from wardround.protocol.fixed_point import IntVector, vector_bytes
from wardround.protocol.identifiers import Root, SiteAddress
from wardround.protocol.manifest import Dropped
from wardround.protocol.messages import VECTOR_DTYPE, VECTOR_FORMAT, TrainReply
from wardround.protocol.report import Privacy
from wardround.protocol.settlement import Vector
from wardround.protocol.study import PrivacySpec
from wardround_coordinator.verification import (
    RawVector,
    Reply,
    ReplyRefused,
    verify_reply,
)

SPENT = {"epsilon": 1.0, "epsilon_replaced": 2.0, "delta": 1e-5}
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True)
class Case:
    """A study in its first round, and the good reply of one of its sites."""

    memory: Memory
    site: SiteAddress
    asked: Asked
    entry: Entry
    report: bytes
    data: bytes

    @property
    def delivery(self) -> TrainReply:
        return TrainReply(self.memory.facts.study, 1, self.entry, self.report)

    def reply(
        self, delivery: TrainReply | None = None, data: bytes | None = None, **fields: object
    ) -> Reply:
        vector = RawVector(VECTOR_DTYPE, VECTOR_FORMAT, self.data if data is None else data)
        return Reply({**(delivery or self.delivery).fields(), **fields}, vector)

    def resigned(self, **changes: Any) -> TrainReply:
        """A delivery whose owner vouches for every change in it."""
        entry = self.memory.signed(replace(self.entry, **changes))
        return replace(self.delivery, entry=entry)

    def reporting(self, report: bytes) -> TrainReply:
        return replace(self.resigned(report=sha256_digest(report)), report=report)

    def verify(
        self,
        reply: Reply,
        asked: Asked | None = None,
        base: Vector | None = None,
        this_round: Collection[Root] = (),
    ) -> tuple[TrainReply, IntVector]:
        asked, base = asked or self.asked, base or self.memory.base
        return verify_reply(reply, self.site, asked, base, set(this_round))

    def among(self, **facts: Any) -> Asked:
        return replace(self.asked, facts=replace(self.asked.facts, **facts))

    def refusal(
        self, reply: Reply, asked: Asked | None = None, base: Vector | None = None
    ) -> ReplyRefused:
        with pytest.raises(ReplyRefused) as refused:
            self.verify(reply, asked, base)
        error = refused.value
        # Whatever was seen, it has a place in the manifest.
        Dropped(site=self.site.lower(), reason=error.reason, evidence=error.evidence)
        return error


@cache
def case() -> Case:
    memory = Memory()
    site = next(iter(memory.keys))
    entry, update, report = memory.contribution(site)
    asked = Asked(memory.facts, memory.spec, 1, History())
    return Case(memory, site, asked, entry, memory.objects[report], memory.objects[update])


def test_reply_when_good_is_taken_as_it_is() -> None:
    one = case()
    delivery, update = one.verify(one.reply())
    assert delivery == one.delivery
    assert vector_bytes(update) == one.data
    assert not update.flags.writeable


def fields_without(name: str) -> Mapping[str, object]:
    return {key: value for key, value in case().delivery.fields().items() if key != name}


@pytest.mark.parametrize(
    "name", ["study", "round", "site", "weight", "update", "digest", "signature", "report"]
)
def test_reply_when_a_key_is_missing_is_malformed(name: str) -> None:
    reply = Reply(fields_without(name), case().reply().vector)
    error = case().refusal(reply)
    assert (error.reason, f"{name} is missing" in error.evidence) == ("malformed", True)


@pytest.mark.parametrize("key", ["more", "num-examples", "", "x" * 10_000])
def test_reply_when_there_is_a_key_too_many_is_malformed(key: str) -> None:
    assert case().refusal(case().reply(**{key: 1})).reason == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", True),
        ("weight", 10.0),
        ("weight", "10"),
        ("weight", [10]),
        ("weight", -1),
        ("weight", -(2**63)),
        ("weight", 2**64),
        ("round", True),
        ("round", 1.0),
        ("round", None),
        ("site", b"\x00" * 20),
        ("site", "0x12"),
        ("site", 7),
        ("study", "0x" + "00" * 32),
        ("study", bytes(31)),
        ("update", bytes(33)),
        ("digest", ""),
        ("signature", bytes(64)),
        ("signature", bytearray(65)),
        ("report", "text"),
        ("report", bytes(20_000)),
    ],
)
def test_reply_when_a_value_has_another_form_is_malformed(name: str, value: object) -> None:
    assert case().refusal(case().reply(**{name: value})).reason == "malformed"


@pytest.mark.parametrize(
    "dtype", ["<f4", "<f8", ">i4", "<i8", "<u4", "int32", "float32", "", "x" * 999]
)
def test_vector_when_of_another_type_is_malformed(dtype: str) -> None:
    floats = np.full(PARAMETERS, np.nan, np.float32).tobytes()
    reply = Reply(case().delivery.fields(), RawVector(dtype, VECTOR_FORMAT, floats))
    assert case().refusal(reply).reason == "malformed"


def test_vector_when_in_another_format_is_malformed_and_not_unpickled() -> None:
    reply = Reply(case().delivery.fields(), RawVector(VECTOR_DTYPE, "numpy.ndarray", case().data))
    assert case().refusal(reply).reason == "malformed"


@pytest.mark.parametrize("change", [-1, 1, -4, 4, -4 * PARAMETERS, 4 * PARAMETERS])
def test_vector_when_of_another_length_is_dropped(change: int) -> None:
    data = (case().data * 2)[: len(case().data) + change]
    assert case().refusal(case().reply(data=data)).reason == "length"


@pytest.mark.parametrize("weight", [0, CAP + 1, 2**31, 2**63])
def test_weight_when_zero_or_above_the_cap_is_dropped(weight: int) -> None:
    error = case().refusal(case().reply(case().resigned(weight=weight)))
    assert (error.reason, error.evidence) == ("weight", f"{weight} is not in 1 .. {CAP}")


def test_weight_when_above_the_examples_is_dropped() -> None:
    one = case()
    report = one.memory.report(one.site, examples=one.entry.weight - 1)
    error = one.refusal(one.reply(one.reporting(report)))
    assert (error.reason, str(one.entry.weight - 1) in error.evidence) == ("examples", True)


@pytest.mark.parametrize("changes", [{"study": bytes(32)}, {"round": 2}, {"round": -1}])
def test_reply_when_of_another_study_or_round_is_dropped(changes: dict[str, Any]) -> None:
    assert case().refusal(case().reply(**changes)).reason == "wrong_round"


def test_reply_when_it_speaks_for_another_site_is_an_impostors() -> None:
    one = case()
    other = list(one.memory.keys)[1]
    error = one.refusal(one.reply(site=other))
    assert (error.reason, other in error.evidence) == ("impostor", True)


def test_reply_when_it_is_another_sites_own_is_an_impostors_all_the_same() -> None:
    """A good reply of one site, sent again from the node of another."""
    one = case()
    entry, update, report = one.memory.contribution(list(one.memory.keys)[1])
    delivery = TrainReply(one.memory.facts.study, 1, entry, one.memory.objects[report])
    reply = one.reply(delivery, data=one.memory.objects[update])
    assert one.refusal(reply).reason == "impostor"


@pytest.mark.parametrize(
    "member", [None, Member(CAP, 2, 2**32 - 1), Member(CAP, 1, 1)], ids=["never", "later", "before"]
)
def test_reply_when_of_no_member_of_the_round_is_dropped(member: Member | None) -> None:
    one = case()
    members = {site: row for site, row in one.asked.facts.members.items() if site != one.site}
    members |= {} if member is None else {one.site: member}
    assert one.refusal(one.reply(), one.among(members=members)).reason == "not_member"


def high_s(signature: bytes) -> bytes:
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    "alter",
    [
        lambda signature: bytes(65),
        lambda signature: b"\xff" * 65,
        lambda signature: signature[:64] + bytes([signature[64] - 27]),
        lambda signature: signature[:64] + bytes([55 - signature[64]]),
        lambda signature: bytes([signature[0] ^ 1]) + signature[1:],
        high_s,
    ],
    ids=["zero", "ones", "v of 0", "other v", "a bit", "high s"],
)
def test_signature_when_it_is_none_is_dropped(alter: Callable[[bytes], bytes]) -> None:
    signature = alter(case().entry.signature)
    assert case().refusal(case().reply(signature=signature)).reason == "signature"


def test_signature_when_of_another_key_is_dropped() -> None:
    one = case()
    entry = one.memory.signed(one.entry, b"\x09" * 32)
    assert one.refusal(one.reply(replace(one.delivery, entry=entry))).reason == "signature"


def test_signature_when_on_another_base_model_is_dropped() -> None:
    one = case()
    base = replace(one.memory.base, root=Root(b"\x01" * 32))
    assert one.refusal(one.reply(), base=base).reason == "signature"


def test_signature_when_for_another_chain_or_contract_is_dropped() -> None:
    one = case()
    for domain in (
        replace(one.asked.facts.domain, chain_id=1),
        replace(one.asked.facts.domain, contract="0x" + "CD" * 20),
    ):
        assert one.refusal(one.reply(), one.among(domain=domain)).reason == "signature"


@pytest.mark.parametrize("name", ["weight", "update", "digest"])
def test_statement_when_changed_after_signing_is_dropped(name: str) -> None:
    changed: object = b"\x03" * 32 if name != "weight" else case().entry.weight + 1
    assert case().refusal(case().reply(**{name: changed})).reason == "signature"


def test_update_when_a_coordinate_is_out_of_range_is_dropped() -> None:
    one = case()
    limit = one.memory.spec.update_limit
    for value in (limit + 1, -limit - 1, 2**31 - 1, -(2**31)):
        update = np.zeros(PARAMETERS, np.int32)
        update[3] = value
        entry, cid, report = one.memory.contribution(one.site, update)
        delivery = TrainReply(one.memory.facts.study, 1, entry, one.memory.objects[report])
        reply = one.reply(delivery, data=one.memory.objects[cid])
        assert one.refusal(reply).reason == "range"
    update[3] = -limit
    entry, cid, report = one.memory.contribution(one.site, update)
    delivery = TrainReply(one.memory.facts.study, 1, entry, one.memory.objects[report])
    one.verify(one.reply(delivery, data=one.memory.objects[cid]))


def test_update_when_its_bytes_are_not_the_signed_ones_is_dropped() -> None:
    altered = bytearray(case().data)
    altered[-4] ^= 1
    assert case().refusal(case().reply(data=bytes(altered))).reason == "root"


def test_report_when_its_bytes_are_not_the_signed_ones_is_dropped() -> None:
    report = case().report.replace(b'"seconds":2', b'"seconds":3')
    assert report != case().report
    assert case().refusal(case().reply(report=report)).reason == "report"


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 16_000,
        b'{"\\ud800":1}',
        b'{"a":NaN}',
        b"1" * 16_000,
        b"{}",
    ],
    ids=lambda report: repr(report[:12]),
)
def test_report_when_it_is_none_is_dropped(report: bytes) -> None:
    assert case().refusal(case().reply(case().reporting(report))).reason == "report"


def test_report_when_not_canonical_is_dropped() -> None:
    loose = json.dumps(json.loads(case().report), indent=1).encode()
    assert case().refusal(case().reply(case().reporting(loose))).reason == "report"


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"patient_17": 1.0}},
        {"site": "0x" + "5a" * 20},
        {"round": 2},
        {"study": "0x" + "00" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_report_when_of_something_else_is_dropped(change: dict[str, Any]) -> None:
    report = case().memory.report(case().site, **change)
    assert case().refusal(case().reply(case().reporting(report))).reason == "report"


def test_report_when_other_code_ran_is_dropped() -> None:
    report = case().memory.report(case().site, code="0x" + "99" * 32)
    error = case().refusal(case().reply(case().reporting(report)))
    assert (error.reason, "99" * 32 in error.evidence) == ("code", True)


PRIVATE = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5, target_epsilon=8.0)


@pytest.mark.parametrize(
    ("change", "before", "word"),
    [
        ({"privacy": None}, None, "privacy"),
        ({"privacy": {**SPENT, "delta": 1e-9}}, None, "privacy"),
        ({"privacy": {**SPENT, "epsilon_replaced": 8.001}}, None, "privacy"),
        ({"privacy": {**SPENT, "epsilon": 2.001}}, None, "privacy"),
        ({"privacy": {**SPENT, "epsilon": 0.5}}, 2.0, "privacy"),
        ({}, 2.001, "privacy"),
        ({"metrics": {"train_loss": 0.5}}, None, "loss"),
        ({}, 2.0, None),
        ({}, None, None),
    ],
    ids=[
        *("none", "delta", "beyond the target", "above that of replaced rows"),
        *("less than before", "less than before of replaced rows", "a loss", "the same", "first"),
    ],
)
def test_report_when_the_study_has_privacy_states_what_was_spent(
    change: dict[str, Any], before: float | None, word: str | None
) -> None:
    one = case()
    report = one.memory.report(one.site, **{"privacy": SPENT, "metrics": {}, **change})
    spent = {} if before is None else {one.site: Privacy(**{**SPENT, "epsilon_replaced": before})}
    spec = one.asked.spec.model_copy(update={"privacy": PRIVATE})
    asked = replace(one.asked, spec=spec, history=History(privacy=spent))
    reply = one.reply(one.reporting(report))
    if word is None:
        one.verify(reply, asked)
    else:
        assert one.refusal(reply, asked).reason == word


def test_update_when_copied_in_this_round_is_dropped() -> None:
    one = case()
    with pytest.raises(ReplyRefused) as refused:
        one.verify(one.reply(), this_round=[one.entry.update])
    assert refused.value.reason == "copied_update"


def test_update_when_copied_from_an_earlier_round_is_dropped_with_its_source() -> None:
    source = "0xabc sent it in round 4"
    one = case()
    history = History({one.entry.update: source})
    error = one.refusal(one.reply(), replace(one.asked, history=history))
    assert (error.reason, error.evidence) == ("copied_update", source)


def test_update_when_nothing_changed_may_be_the_same_for_two_sites() -> None:
    one = case()
    entry, cid, report = one.memory.contribution(one.site, np.zeros(PARAMETERS, np.int32))
    delivery = TrainReply(one.memory.facts.study, 1, entry, one.memory.objects[report])
    reply = one.reply(delivery, data=one.memory.objects[cid])
    asked = replace(one.asked, history=History({entry.update: "a site"}))
    assert one.verify(reply, asked, this_round=[entry.update])[0] == delivery


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_reply_when_hostile_is_refused_and_nothing_else(data: st.DataObject) -> None:
    one = case()
    names = st.sampled_from(sorted(one.delivery.fields()))
    changes = data.draw(st.dictionaries(names | st.text(max_size=5), values, min_size=1))
    vector = one.reply().vector
    if data.draw(st.booleans()):
        vector = RawVector(
            data.draw(st.sampled_from([VECTOR_DTYPE, "<f4"]) | st.text()),
            data.draw(st.sampled_from([VECTOR_FORMAT]) | st.text()),
            data.draw(st.binary(max_size=64)),
        )
    fields = {**one.delivery.fields(), **changes}
    if fields != one.delivery.fields():
        one.refusal(Reply(fields, vector))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_reply_when_any_byte_is_altered_is_refused(data: st.DataObject) -> None:
    one = case()
    name = data.draw(st.sampled_from(["study", "update", "digest", "signature", "report", "data"]))
    value = one.data if name == "data" else one.delivery.fields()[name]
    altered = bytearray(value)
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    if name == "data":
        reply = one.reply(data=bytes(altered))
    else:
        reply = one.reply(**{name: bytes(altered)})
    one.refusal(reply)


def test_reasons_when_listed_name_each_fault_with_a_word_of_its_own() -> None:
    """Each fault has one word in the manifest, and no two faults share one."""
    one = case()
    far = np.full(PARAMETERS, 2**30, np.int32)
    entry, cid, report = one.memory.contribution(one.site, far)
    too_far = TrainReply(one.memory.facts.study, 1, entry, one.memory.objects[report])
    replies = {
        "malformed": one.reply(more=1),
        "length": one.reply(data=b""),
        "weight": one.reply(one.resigned(weight=CAP + 1)),
        "wrong_round": one.reply(round=9),
        "impostor": one.reply(site="0x" + "5A" * 20),
        "signature": one.reply(signature=bytes(65)),
        "range": one.reply(too_far, data=one.memory.objects[cid]),
        "root": one.reply(data=vector_bytes(random_update(5))),
        "report": one.reply(report=b"{}"),
        "code": one.reply(one.reporting(one.memory.report(one.site, code="0x" + "99" * 32))),
        "examples": one.reply(one.reporting(one.memory.report(one.site, examples=1))),
        "privacy": one.reply(one.reporting(one.memory.report(one.site, privacy=SPENT))),
    }
    assert {word: one.refusal(reply).reason for word, reply in replies.items()} == {
        word: word for word in replies
    }
