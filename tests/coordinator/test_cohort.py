"""Rounds whose cohort is locked on chain before one coordinator, or another, closes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.chain.events import CohortLocked
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import cid_of
from wardround.protocol.contribution import Entry, contributions_root, pack_entries, total_weight
from wardround.protocol.evidence import Demand, What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.inspection import entry_leaf
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply
from wardround.store import FolderStore
from wardround.store.replicated import ReplicatedStore
from wardround.transport.ports import free_port
from wardround_coordinator import service as module
from wardround_coordinator.cohort import find_cohort, keep_cohort
from wardround_coordinator.errors import StoodDown
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.registrations import CLOCK_MARGIN_SECONDS
from wardround_coordinator.round import Accepted
from wardround_coordinator.service import Service
from wardround_coordinator.session import Session, StudyPosition

ROUND_SECONDS, GRACE_SECONDS = 60, 12


class Died(Exception):
    """The coordinator's process, between two durable steps."""


@pytest.fixture(params=["full", "root"])
def locking(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hospitals]:
    """Three hospitals and a standby, in a study that locks its cohorts."""
    chain = {"recording": request.param, "locked_cohort": True}
    chain |= {"round_seconds": ROUND_SECONDS, "grace_seconds": GRACE_SECONDS}
    chain["registration_seconds"] = 12
    with prepared(small_scenario(chain=chain), tmp_path / "network", 1) as network:
        yield Hospitals(network)


def session_of(hospitals: Hospitals, signer: LocalAccount) -> Session:
    network = hospitals.network
    facts = network.contract.facts(network.study)
    return Session(network.contract, signer, FolderStore(network.folders.store), facts)


def coordinators(hospitals: Hospitals) -> list[LocalAccount]:
    return hospitals.network.keys.coordinators


def audited(hospitals: Hospitals) -> list[int]:
    network = hospitals.network
    audit = StudyAudit(network.contract, network.study, FolderStore(network.folders.store))
    return [one.closed.round for one in audit.rounds()]


def die_behind(
    monkeypatch: pytest.MonkeyPatch, session: Session, position: StudyPosition, answers: Any
) -> None:
    """Run a round up to its lock; nothing that follows is done."""

    def died(*_: object) -> Any:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(session, "_settle", died)
        with pytest.raises(Died):
            session.run_round(position, dict(enumerate(session.facts.members)), answers)


def test_study_with_locked_cohorts_runs_to_its_end_and_holds(locking: Hospitals) -> None:
    contract, study = locking.network.contract, locking.network.study
    session = locking.session()
    position = session.position()
    for number in (1, 2, 3):
        closed = session.run_round(position, locking.asked, locking.replies(position))
        assert closed.gas < 150_000
        (event,) = locked_in(locking, number)
        record = closed.closing.record
        assert (event.contributions, event.count, event.total_weight) == (
            record.contributions,
            record.count,
            record.total_weight,
        )
        # The entries are in the lock's calldata, or in no transaction.
        entries = contract.closed(study, number).entries
        full = session.spec.chain.recording == "full"
        assert entries == (pack_entries(closed.state.entries) if full else None)
        position = closed.position
    assert audited(locking) == [1, 2, 3]


def locked_in(hospitals: Hospitals, number: int) -> list[CohortLocked]:
    network = hospitals.network
    events = network.contract.events(network.study)
    return [one for one in events if isinstance(one, CohortLocked) and one.round == number]


@pytest.mark.parametrize("place", [0, 1])
def test_round_is_closed_with_what_was_locked_before_its_coordinator_died(
    locking: Hospitals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: int
) -> None:
    """By the same coordinator, started again, or by a standby; the sites are not asked again."""
    first, other = coordinators(locking)[0], coordinators(locking)[place]
    session = session_of(locking, first)
    position = session.position()
    die_behind(monkeypatch, session, position, locking.replies(position)[:2])
    (locked,) = locked_in(locking, 1)

    if place == 1:
        locking.network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
        locking.network.contract.take_over(other, locking.network.study)
    # A replica of its own that had nothing: it answers demands about what it closes.
    again, own = session_of(locking, other), FolderStore(tmp_path / "own")
    again.store = ReplicatedStore([again.store, own])
    assert again.is_locked(position)
    closed = again.run_round(position, locking.asked, silent())
    record, shown = closed.closing.record, {vector_root(own.map(cid)) for cid in own.cids()}
    wanted = {record.model, position.base.root, *(one.update for one in closed.state.entries)}
    assert wanted <= shown
    assert own.has(cid_of(pack_entries(closed.state.entries)))
    assert closed.closing.coordinator == other.address
    assert closed.closing.record.contributions == locked.contributions
    (left_out,) = closed.settlement.manifest.dropped
    assert (left_out.site, left_out.reason) == (locking.sites[2].lower(), "not_locked")
    assert locked_in(locking, 1) == [locked]
    assert audited(locking) == [1]


def silent() -> Iterator[Any]:
    """Answers that no coordinator may wait for."""
    raise AssertionError("a site was asked")
    yield


def test_round_whose_coordinator_died_before_the_lock_takes_other_answers(
    locking: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = locking.session()
    position = session.position()

    def died(*_: object) -> Any:
        raise Died

    monkeypatch.setattr(session, "_lock", died)
    with pytest.raises(Died):
        session.run_round(position, locking.asked, locking.replies(position))
    closed = locking.session().run_round(position, locking.asked, locking.replies(position)[:2])
    assert closed.closing.record.count == 2


def test_cohort_that_is_not_in_the_store_is_waited_for_by_name(
    locking: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = locking.session()
    position = session.position()
    die_behind(monkeypatch, session, position, locking.replies(position))
    folder = Path(locking.network.folders.store)
    (locked,) = locked_in(locking, 1)
    entries = stored_entries(locking, locked)
    removed = session.store.map(stored_update(session, entries[1]))
    path = next(one for one in folder.rglob(cid_of(bytes(removed))))
    path.unlink()
    (said,) = waited_for(locking, position)
    assert f"update of {entries[1].site}" in said
    assert "not in the store" in said
    packed = next(folder.rglob(cid_of(pack_entries(entries))))
    packed.unlink()
    (said,) = waited_for(locking, position)
    assert "locked cohort of round 1" in said


def waited_for(hospitals: Hospitals, position: StudyPosition) -> list[str]:
    """What a coordinator says that waits, here for a moment, for a lock to be overturned."""

    def wait(_: float) -> None:
        raise Died

    network, said = hospitals.network, list[str]()
    facts, store = network.contract.facts(network.study), FolderStore(network.folders.store)
    session = Session(
        network.contract, network.keys.coordinator, store, facts, wait=wait, say=said.append
    )
    with pytest.raises(Died):
        session.run_round(position, hospitals.asked, silent())
    return said


def stored_entries(hospitals: Hospitals, locked: CohortLocked) -> list[Entry]:
    store = FolderStore(hospitals.network.folders.store)
    session = hospitals.session()
    return [one.entry for one in find_cohort(store, session.facts, locked, session.position().base)]


def stored_update(session: Session, entry: Entry) -> str:
    locked = session.contract.locked_cohort(session.facts.study, 1)
    assert locked is not None
    found: list[Accepted] = find_cohort(
        session.store, session.facts, locked, session.position().base
    )
    return next(one.update_cid for one in found if one.entry == entry)


@pytest.mark.parametrize("locking", ["root"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("weight", "not in 1"),
        ("signature", "signature"),
        ("order", "another order"),
        ("range", "the update exceeds"),
    ],
)
def test_standby_closes_with_no_cohort_that_breaks_a_rule(
    locking: Hospitals, wrong: str, words: str
) -> None:
    """With root recording the contract looks at no entry, and who closes answers for all."""
    session = locking.session()
    position = session.position()
    replies = [locking.reply(node, position) for node in locking.asked]
    if wrong == "range":
        limit = session.spec.update_limit
        update = np.full(locking.network.params.parameter_count, limit + 1, np.int32)
        replies[0] = locking.reply(0, position, update)
    entries = [entry_of(one) for one in replies]
    entries = sorted(entries, key=lambda one: one.site.lower())
    for one in replies:
        session.store.put(one.vector.data)
    if wrong == "order":
        entries = entries[::-1]
    elif wrong != "range":
        most = session.facts.members[entries[0].site].max_weight
        entries[0] = broken(entries[0], wrong, most)
    keep_cohort(session.store, entries)
    network = locking.network
    network.contract.chain.advance(12)
    network.contract.lock_cohort(
        network.keys.coordinator, session.facts, 1, position.previous, entries
    )
    (said,) = waited_for(locking, position)
    assert words in said


@pytest.mark.parametrize("shown", [True, False])
def test_standby_closes_with_no_cohort_that_leaves_out_a_registered_site(
    locking: Hospitals, shown: bool
) -> None:
    """But with one that has not shown what was demanded of it before."""
    network, session = locking.network, locking.session()
    position = session.position()
    replies = [locking.reply(node, position) for node in locking.asked]
    entries = sorted((entry_of(one) for one in replies), key=lambda one: one.site.lower())
    for one in replies:
        session.store.put(one.vector.data)
    left = entries.pop()
    contract, court = network.contract, Court(network.contract)
    contract.contribute(network.keys.sponsor, network.study, 1, position.previous, left)
    if not shown:
        where = (network.study, 1, position.previous.commitment, left.site)
        court.approve_deposit(network.keys.coordinator, network.study)
        court.demand_contribution(network.keys.coordinator, *where, (0, 1))
    contract.chain.advance(network.params.demand_seconds + CLOCK_MARGIN_SECONDS + 1)
    keep_cohort(session.store, entries)
    contract.lock_cohort(network.keys.coordinator, session.facts, 1, position.previous, entries)
    if shown:
        (said,) = waited_for(locking, position)
        assert f"a registration of {left.site}" in said
        return
    closer = Session(
        contract,
        network.keys.coordinator,
        session.store,
        session.facts,
        clock=lambda: float(contract.chain.timestamp()),
    )
    closed = closer.run_round(position, locking.asked, silent())
    (dropped,) = closed.settlement.manifest.dropped
    assert (dropped.site, dropped.reason) == (left.site.lower(), "not_shown")


def entry_of(reply: Any) -> Entry:
    return TrainReply.parse(reply.fields).entry


def broken(entry: Entry, how: str, most: int) -> Entry:
    if how == "weight":
        return replace(entry, weight=most + 1)
    return replace(entry, signature=entry.signature[:40] + bytes(25))


def test_lock_is_sent_once(locking: Hospitals, monkeypatch: pytest.MonkeyPatch) -> None:
    session = locking.session()
    position = session.position()
    die_behind(monkeypatch, session, position, locking.replies(position))
    (locked,) = locked_in(locking, 1)
    entries = stored_entries(locking, locked)
    assert (locked.contributions, locked.count, locked.total_weight, locked.attempt) == (
        contributions_root(entries),
        3,
        total_weight(entries),
        0,
    )
    network = locking.network
    key = network.keys.coordinator
    assert locked.coordinator == key.address
    assert network.contract.commitment(network.study, 1) == locked.closing.commitment
    assert network.contract.lock_cohort(key, session.facts, 1, position.previous, entries) is None
    assert locked_in(locking, 1) == [locked]


@pytest.mark.parametrize("closed_before", [0, 1])
def test_overtaken_coordinator_answers_until_what_it_closed_and_locked_is_final_or_gone(
    locking: Hospitals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    closed_before: int,
) -> None:
    """Also right after it was started again; the standby demands what it had locked."""
    network, contract = locking.network, locking.network.contract
    study, court = network.study, Court(contract)
    first, other = coordinators(locking)[:2]
    session = session_of(locking, first)
    position = session.position()
    if closed_before:
        position = session.run_round(position, locking.asked, locking.replies(position)).position
    number = position.round
    die_behind(monkeypatch, session, position, locking.replies(position))
    (locked,) = locked_in(locking, number)
    contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    contract.take_over(other, study)
    contested = Contested(study, number, locked.closing, position.previous)
    packed = [one.pack() for one in stored_entries(locking, locked)]
    demand = Demand(What.UPDATE, 0, entry_leaf(packed, 0))
    court.approve_deposit(other, study)
    court.demand_chunk(other, contested, demand)

    looks = 0

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal looks
            looks += 1
            assert looks < 20
            if looks == 3:
                standby = session_of(locking, other)
                standby.run_round(standby.position(), locking.asked, silent())
            elif looks > 3:
                contract.chain.advance(network.params.challenge_seconds // 2)
            return False

    def service(stays: bool) -> Service:
        home = CoordinatorHome(network.folders.coordinator)
        return Service(
            home,
            print,
            lambda: datetime.fromtimestamp(contract.chain.timestamp(), UTC),
            Waits(),
            stays=stays,
        )

    with (network.folders.coordinator / "coordinator.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[server]\nhost = "127.0.0.1"\nport = {free_port()}\nnames = ["127.0.0.1"]\n')
    monkeypatch.setattr(module, "check_time", lambda *_: None)
    monkeypatch.setattr(module, "configure", lambda *_: logging.getLogger("wardround.test"))

    with caplog.at_level("INFO", "wardround.test"), pytest.raises(StoodDown):
        service(stays=False).run()
    assert looks == 0
    assert "answering" not in caplog.text
    with caplog.at_level("INFO", "wardround.test"), pytest.raises(StoodDown):
        service(stays=True).run()
    assert looks >= 3 + closed_before
    assert court.demand_of(court.demand_id(contested, demand)).status is DemandStatus.ANSWERED
    assert caplog.text.count("answering demands until") == 1
    assert contract.seat(study, first.address).bonded
    assert not contract.seat(study, first.address).barred
    closings = dict(contract.closings(study))
    assert closings[number].coordinator == other.address
    if closed_before:
        assert contract.is_final(study, 1, closings[1])


def test_cohort_with_a_site_that_was_admitted_in_blocks_to_be_confirmed_is_closed_after_them(
    locking: Hospitals,
) -> None:
    """Started again, the coordinator finds its lock at the newest block, where members are too."""
    network, contract, session = locking.network, locking.network.contract, locking.session()
    position, chain = session.position(), locking.network.contract.chain
    for _ in range(8):
        chain.advance(12)
    new = Account.create()
    contract.admit_site(network.keys.sponsor, network.study, new.address, new.address, 10)
    replies = [locking.reply(node, position) for node in locking.asked]
    update, report = np.zeros(network.params.parameter_count, np.int32), b"{}"
    entry = Entry(
        SiteAddress(new.address),
        1,
        vector_root(vector_bytes(update)),
        sha256_digest(report),
        bytes(65),
    )
    statement = entry.contribution(network.study, 1, position.previous.record.model)
    entry = replace(entry, signature=statement.sign(contract.domain, bytes(new.key)))
    for data in (*(one.vector.data for one in replies), vector_bytes(update), report):
        session.store.put(data)
    entries = sorted([entry, *map(entry_of, replies)], key=lambda one: one.site.lower())
    keep_cohort(session.store, entries)
    facts = contract.facts(network.study)
    contract.lock_cohort(network.keys.coordinator, facts, 1, position.previous, entries)

    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        assert waits < 4
        for _ in range(8):
            chain.advance(12)
        # No block follows the closing, which would be waited for.
        chain.confirmations = 0

    chain.confirmations = 6
    again = Session(
        contract,
        network.keys.coordinator,
        session.store,
        contract.facts(network.study),
        wait=wait,
    )
    assert new.address not in again.facts.members
    closed = again.run_round(position, locking.asked, silent())
    assert closed.closing.record.count == 4
    assert waits > 0
