"""Rounds on a real chain and a real store, from replies good and bad."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.coordinator.conftest import Hospitals
from wardround.audit.audit import StudyAudit
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import RoundFailed, StudyMismatch, WardroundError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.manifest import Dropped
from wardround.protocol.messages import VECTOR_FORMAT
from wardround.protocol.record import genesis_closing
from wardround.protocol.settlement import Settlement
from wardround.store import FolderStore
from wardround.store.errors import ObjectAltered, ObjectMissing
from wardround_coordinator.session import RoundOutcome, Session, StudyPosition
from wardround_coordinator.verification import RawVector, Reply


def audit(hospitals: Hospitals) -> list[int]:
    """Replay what was closed from chain and store alone."""
    network = hospitals.network
    store = FolderStore(network.folders.store)
    audited = StudyAudit(network.contract, network.study, store).rounds()
    return [one.closed.round for one in audited]


def reasons(closed: RoundOutcome) -> dict[str, str]:
    return {row.site: row.reason for row in closed.settlement.manifest.dropped}


def test_position_when_nothing_was_closed_is_round_one(hospitals: Hospitals) -> None:
    position = hospitals.session().position()
    params = hospitals.network.params
    assert position.round == 1
    assert position.previous == genesis_closing(params.initial_model)
    assert position.base.root == params.initial_model
    assert position.history.updates == {}


def test_rounds_when_all_reply_are_closed_and_hold(hospitals: Hospitals) -> None:
    session = hospitals.session()
    position = session.position()
    for number in (1, 2, 3):
        closed = session.run_round(position, hospitals.asked, hospitals.replies(position))
        assert closed.settlement.manifest.round == number
        assert closed.gas > 0
        position = closed.position
        assert position.round == number + 1
    assert audit(hospitals) == [1, 2, 3]
    assert len(position.history.updates) == 9


@pytest.mark.parametrize("is_late", [False, True])
def test_round_with_every_site_is_closed_at_once_but_not_in_the_last_minutes(
    hospitals: Hospitals, is_late: bool
) -> None:
    """What is sent then may be mined after the cut-off, without what was registered meanwhile."""
    network, contract, waits = hospitals.network, hospitals.network.contract, list[float]()
    seconds = network.params.registration_seconds
    cut_off = contract.open_round(network.study).opened_at + seconds
    last = min(300, seconds // 4)

    def wait(left: float) -> None:
        waits.append(left)
        contract.chain.advance(math.ceil(left))

    session = session_that(hospitals, wait)
    position, replies = session.position(), hospitals.replies(session.position())
    left = last - 1 if is_late else last + 20
    contract.chain.advance(cut_off - left - contract.chain.timestamp())
    closed = session.run_round(position, hospitals.asked, replies)
    assert bool(waits) is is_late
    assert (closed.closing.closed_at >= cut_off) is is_late


def test_round_that_is_settled_until_the_last_minutes_is_not_closed_in_them(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, contract = hospitals.network, hospitals.network.contract
    seconds = network.params.registration_seconds
    cut_off = contract.open_round(network.study).opened_at + seconds
    last = min(300, seconds // 4)
    settle = Session._settle

    def slow(*arguments: Any) -> Settlement:
        contract.chain.advance(20)
        return settle(*arguments)

    session = session_that(hospitals, lambda left: contract.chain.advance(math.ceil(left)))
    position, replies = session.position(), hospitals.replies(session.position())
    monkeypatch.setattr(Session, "_settle", slow)
    contract.chain.advance(cut_off - last - 15 - contract.chain.timestamp())
    closed = session.run_round(position, hospitals.asked, replies)
    assert closed.closing.closed_at >= cut_off


def session_that(hospitals: Hospitals, wait: Callable[[float], None]) -> Session:
    network = hospitals.network
    facts, store = network.contract.facts(network.study), FolderStore(network.folders.store)
    return Session(network.contract, network.keys.coordinator, store, facts, wait=wait)


def test_model_when_replies_come_in_another_order_is_equal(hospitals: Hospitals) -> None:
    session = hospitals.session()
    position = session.position()
    replies = hospitals.replies(position)
    closed = session.run_round(position, hospitals.asked, replies[::-1])
    expected = expected_model(hospitals, position, [0, 1, 2])
    assert closed.settlement.model.values.tolist() == expected


def test_coordinator_when_started_again_goes_on_where_it_stopped(hospitals: Hospitals) -> None:
    first = hospitals.session()
    closed = first.run_round(first.position(), hospitals.asked, hospitals.replies(first.position()))
    second = hospitals.session()
    position = second.position()
    assert position.round == 2
    assert position.base.root == closed.settlement.model.root
    assert position.history == closed.position.history
    second.run_round(position, hospitals.asked, hospitals.replies(position))
    assert audit(hospitals) == [1, 2]


def test_round_when_closed_before_its_coordinator_died_is_not_closed_twice(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    position = session.position()
    replies = hospitals.replies(position)
    once = session.run_round(position, hospitals.asked, replies)
    # The same coordinator, which has forgotten that it closed the round.
    again = hospitals.session().run_round(position, hospitals.asked, replies)
    assert again.closing == once.closing
    assert audit(hospitals) == [1]


BAD: dict[str, str] = {
    "key": "malformed",
    "floats": "malformed",
    "short": "length",
    "heavy": "weight",
    "old": "wrong_round",
    "forged": "signature",
    "altered": "root",
    "copied": "copied_update",
    "crash": "site_error",
}


def bad_answer(hospitals: Hospitals, how: str, position: StudyPosition) -> Reply | Dropped:
    good = hospitals.reply(0, position)
    count = hospitals.network.params.parameter_count
    data = good.vector.data
    if how == "key":
        return Reply({**good.fields, "num-examples": 10**9}, good.vector)
    if how == "floats":
        nan = np.full(count, np.nan, np.float32).tobytes()
        return Reply(good.fields, RawVector("<f4", VECTOR_FORMAT, nan))
    if how == "short":
        return Reply(good.fields, replace(good.vector, data=data[:-4]))
    if how == "heavy":
        return hospitals.reply(0, position, weight=10**6 + 1)
    if how == "old":
        return Reply({**good.fields, "round": position.round - 1}, good.vector)
    if how == "forged":
        return Reply({**good.fields, "signature": b"\x01" * 65}, good.vector)
    if how == "altered":
        return Reply(good.fields, replace(good.vector, data=bytes([data[0] ^ 1]) + data[1:]))
    if how == "copied":
        other = vector_from_bytes(hospitals.reply(1, position).vector.data, count)
        return hospitals.reply(0, position, other)
    site = hospitals.sites[0].lower()
    return Dropped(site=site, reason="site_error", evidence="it crashed")


@pytest.mark.parametrize("how", BAD)
def test_round_when_one_site_is_bad_is_closed_without_it(hospitals: Hospitals, how: str) -> None:
    session = hospitals.session()
    position = session.position()
    # The honest ones first, so that there is something to copy.
    answers = hospitals.replies(position)[1:]
    answers.append((0, bad_answer(hospitals, how, position)))
    closed = session.run_round(position, hospitals.asked, answers)
    bad = hospitals.sites[0]
    assert reasons(closed) == {bad.lower(): BAD[how]}
    assert closed.state.accepted.keys() == set(hospitals.sites[1:])
    assert bad not in closed.settlement.shares
    # What was dropped has left no trace in the sum.
    assert closed.settlement.model.values.tolist() == expected_model(hospitals, position, [1, 2])
    assert audit(hospitals) == [1]


def expected_model(hospitals: Hospitals, position: StudyPosition, nodes: list[int]) -> list[int]:
    weights = [len(hospitals.network.parties[node].data.train) for node in nodes]
    total = sum(
        w * np.frombuffer(hospitals.reply(node, position).vector.data, "<i4").astype(object)
        for w, node in zip(weights, nodes, strict=True)
    )
    return [
        int(b) + int(t) // sum(weights)
        for b, t in zip(position.base.values.tolist(), total, strict=True)
    ]


def test_round_when_a_site_is_silent_is_closed_without_it(hospitals: Hospitals) -> None:
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position)[:2])
    assert reasons(closed) == {hospitals.sites[2].lower(): "no_reply"}
    assert audit(hospitals) == [1]


def test_round_when_a_site_speaks_twice_takes_its_first_word(hospitals: Hospitals) -> None:
    session = hospitals.session()
    position = session.position()
    second = hospitals.reply(0, position, np.full(position.base.values.shape, 5, np.int32))
    answers = [*hospitals.replies(position)[:2], (0, second), *hospitals.replies(position)[2:]]
    closed = session.run_round(position, hospitals.asked, answers)
    assert reasons(closed) == {}
    assert closed.settlement.model.values.tolist() == expected_model(hospitals, position, [0, 1, 2])
    assert audit(hospitals) == [1]


def test_round_when_a_stranger_claims_a_site_waits_for_the_site_itself(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    position = session.position()
    asked = {**hospitals.asked, 7: hospitals.sites[0], 8: hospitals.sites[0]}
    forged = bad_answer(hospitals, "forged", position)
    answers = [(7, forged), *hospitals.replies(position), (8, forged)]
    closed = session.run_round(position, asked, answers)
    assert reasons(closed) == {}
    assert closed.state.accepted.keys() == set(hospitals.sites)
    position = closed.position
    forged = bad_answer(hospitals, "forged", position)
    closed = session.run_round(position, asked, [*hospitals.replies(position)[1:], (7, forged)])
    assert reasons(closed) == {hospitals.sites[0].lower(): "no_reply"}, "its own node was silent"
    position = closed.position
    forged = bad_answer(hospitals, "forged", position)
    answers = [*hospitals.replies(position)[1:], *((node, forged) for node in (0, 7, 8))]
    assert reasons(session.run_round(position, asked, answers)) == {
        hospitals.sites[0].lower(): "signature"
    }
    assert audit(hospitals) == [1, 2, 3]


def test_round_when_below_the_minimum_fails_by_name_and_can_be_tried_again(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    position = session.position()
    bad = Reply({}, hospitals.reply(0, position).vector)
    with pytest.raises(RoundFailed) as failure:
        session.run_round(position, hospitals.asked, [(0, bad), (1, hospitals.reply(1, position))])
    assert (failure.value.round_number, failure.value.accepted, failure.value.needed) == (1, 1, 2)
    first, third = (hospitals.sites[place] for place in (0, 2))
    assert failure.value.dropped == [
        f"{first}: message is malformed: study is missing. [malformed]",
        f"{third}: no answer in time [no_reply]",
    ]
    assert hospitals.network.contract.study(hospitals.network.study).head == 1
    assert audit(hospitals) == []
    now = hospitals.session().position()
    assert (now.round, now.previous, now.base.root) == (1, position.previous, position.base.root)
    session.run_round(position, hospitals.asked, hospitals.replies(position))
    assert audit(hospitals) == [1]


def test_round_when_nobody_answers_fails_by_name(hospitals: Hospitals) -> None:
    session = hospitals.session()
    with pytest.raises(RoundFailed, match="0 good contributions, 2 needed"):
        session.run_round(session.position(), hospitals.asked, [])
    with pytest.raises(RoundFailed):
        session.run_round(session.position(), {}, [])


def test_round_when_all_weights_together_reach_the_limit_drops_the_last(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_coordinator.session.WEIGHT_LIMIT", 100)
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position))
    assert reasons(closed) == {hospitals.sites[2].lower(): "weight"}
    assert audit(hospitals) == [1]


def test_update_when_copied_from_an_earlier_round_is_dropped(hospitals: Hospitals) -> None:
    session = hospitals.session()
    first = session.position()
    session.run_round(first, hospitals.asked, hospitals.replies(first))
    position = hospitals.session().position()  # a coordinator that has to read what was before
    count = hospitals.network.params.parameter_count
    stolen = vector_from_bytes(hospitals.reply(2, first).vector.data, count)
    answers = [(0, hospitals.reply(0, position, stolen)), *hospitals.replies(position)[1:]]
    closed = hospitals.session().run_round(position, hospitals.asked, answers)
    (row,) = closed.settlement.manifest.dropped
    assert (row.site, row.reason) == (hospitals.sites[0].lower(), "copied_update")
    assert row.evidence == f"{hospitals.sites[2].lower()} sent it in round 1"
    assert audit(hospitals) == [1, 2]


def test_site_when_removed_by_the_sponsor_is_dropped_from_the_next_round(
    hospitals: Hospitals,
) -> None:
    network = hospitals.network
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position))
    network.contract.remove_site(network.keys.sponsor, network.study, hospitals.sites[0])
    closed = session.run_round(closed.position, hospitals.asked, hospitals.replies(closed.position))
    assert reasons(closed) == {}, "a removal takes effect in the round after the open one"
    closed = session.run_round(closed.position, hospitals.asked, hospitals.replies(closed.position))
    assert reasons(closed) == {hospitals.sites[0].lower(): "not_member"}
    assert audit(hospitals) == [1, 2, 3]


def test_site_when_admitted_after_the_coordinator_started_is_known(hospitals: Hospitals) -> None:
    network, session = hospitals.network, hospitals.session()
    late, stranger = SiteAddress("0x" + "31" * 20), SiteAddress("0x" + "32" * 20)
    assert not session.admits(late)
    network.contract.admit_site(network.keys.sponsor, network.study, late, late, 10)
    assert session.admits(late)
    assert not session.admits(stranger)


def test_trimmed_mean_when_recorded_by_its_root_holds(five: Hospitals) -> None:
    session = five.session()
    position = session.position()
    for _ in range(2):
        answers = five.replies(position)[1:]
        answers.insert(2, (0, Reply({}, five.reply(0, position).vector)))
        closed = session.run_round(position, five.asked, answers)
        assert reasons(closed) == {five.sites[0].lower(): "malformed"}
        columns = np.sort(
            [np.frombuffer(five.reply(n, position).vector.data, "<i4") for n in (1, 2, 3, 4)],
            axis=0,
        )
        expected = position.base.values + (columns[1].astype(int) + columns[2]) // 2
        np.testing.assert_array_equal(closed.settlement.model.values, expected)
        position = closed.position
    assert audit(five) == [1, 2]


@pytest.mark.parametrize("kind", ["model", "manifest", "specification"])
@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_coordinator_when_an_object_is_damaged_names_it(
    hospitals: Hospitals, kind: str, damage: str
) -> None:
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position))
    cid = {
        "model": closed.settlement.model.cid,
        "manifest": cid_from_sha256(closed.settlement.record.manifest),
        "specification": cid_from_sha256(hospitals.network.params.specification),
    }[kind]
    path = hospitals.network.folders.store / cid
    if damage == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises((ObjectMissing, ObjectAltered)) as failure:
        hospitals.session().position()
    assert failure.value.cid == cid


def test_coordinator_when_another_closed_the_round_otherwise_says_so(
    hospitals: Hospitals,
) -> None:
    """Two processes with one key: the second finds a record that is not its own."""
    session = hospitals.session()
    position = session.position()
    session.run_round(position, hospitals.asked, hospitals.replies(position))
    with pytest.raises(WardroundError):
        hospitals.session().run_round(position, hospitals.asked, hospitals.replies(position)[:2])
    assert audit(hospitals) == [1]


def test_coordinator_when_the_study_is_unknown_says_so(hospitals: Hospitals) -> None:
    with pytest.raises(StudyMismatch, match="study"):
        hospitals.network.contract.facts(b"\x07" * 32)  # type: ignore[arg-type]


def test_coordinator_when_the_specification_is_of_another_study_says_so(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    params = replace(session.facts.params, min_sites=1)
    facts = StudyFacts(session.facts.domain, params, session.facts.members)
    with pytest.raises(WardroundError, match="does not give the parameters on chain"):
        type(session)(session.contract, session.signer, session.store, facts)
