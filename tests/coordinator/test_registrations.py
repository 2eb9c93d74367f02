"""Sites that put their contribution on chain themselves, and a coordinator that must take it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.coordinator.conftest import Hospitals
from wardround.audit.audit import StudyAudit
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.protocol.contribution import Entry
from wardround.protocol.evidence import Demand, What
from wardround.protocol.inspection import chunks_from, entry_leaf
from wardround.protocol.manifest import Dropped
from wardround.protocol.merkle import CHUNK_BYTES
from wardround.protocol.messages import TrainReply
from wardround.protocol.record import StudyParams
from wardround.store import FolderStore
from wardround_coordinator.registrations import most_demanded
from wardround_coordinator.session import Session, StudyPosition
from wardround_coordinator.verification import Reply


def session(hospitals: Hospitals, wait: Callable[[float], None]) -> Session:
    network = hospitals.network
    chain = network.contract.chain
    return Session(
        network.contract,
        network.keys.coordinator,
        FolderStore(network.folders.store),
        network.contract.facts(network.study),
        clock=lambda: float(chain.timestamp()),
        wait=wait,
    )


def register(hospitals: Hospitals, node: int, position: StudyPosition) -> tuple[Entry, bytes]:
    """Send a contribution to the chain alone; its report is nowhere."""
    reply = hospitals.reply(node, position)
    network = hospitals.network
    entry = TrainReply.parse(reply.fields).entry
    network.contract.contribute(
        network.keys.sponsor, network.study, position.round, position.previous, entry
    )
    return entry, reply.vector.data


def chunks_of(params: StudyParams) -> int:
    return -(-params.vector_size // CHUNK_BYTES)


def silent_first(
    hospitals: Hospitals, position: StudyPosition
) -> list[tuple[int, Reply | Dropped]]:
    answers = list(hospitals.replies(position))
    site = hospitals.sites[0].lower()
    answers[0] = (0, Dropped(site=site, reason="no_reply", evidence="silent"))
    return answers


def audit(hospitals: Hospitals) -> list[int]:
    network = hospitals.network
    store = FolderStore(network.folders.store)
    audited = StudyAudit(network.contract, network.study, store).rounds()
    return [one.closed.round for one in audited]


def test_registered_update_when_shown_on_demand_is_in_the_round(hospitals: Hospitals) -> None:
    network = hospitals.network
    court = Court(network.contract)

    def answer(_: float) -> None:
        where = (1, position.previous.commitment, entry.site)
        state = court.standing(network.study, *where)
        if state.unanswered:
            chunks = chunks_from(data, state.shown, state.unanswered)
            before = (network.study, 1, position.previous.commitment, entry.pack())
            court.answer_contribution(network.keys.sponsor, *before, chunks)

    coordinator = session(hospitals, answer)
    position = coordinator.position()
    entry, data = register(hospitals, 0, position)
    closed = coordinator.run_round(position, hospitals.asked, silent_first(hospitals, position))
    assert entry in closed.state.entries
    assert not closed.settlement.manifest.dropped
    # Its report was never published, and the round is valid all the same.
    assert audit(hospitals) == [1]


def test_registered_update_when_not_shown_in_time_is_left_out(hospitals: Hospitals) -> None:
    network = hospitals.network
    chain = network.contract.chain
    waited: list[float] = []

    def pass_time(seconds: float) -> None:
        waited.append(seconds)
        chain.advance(network.params.demand_seconds)

    coordinator = session(hospitals, pass_time)
    position = coordinator.position()
    entry, _ = register(hospitals, 0, position)
    closed = coordinator.run_round(position, hospitals.asked, silent_first(hospitals, position))
    assert waited
    assert entry.site not in closed.state.accepted
    assert [row.reason for row in closed.settlement.manifest.dropped] == ["not_shown"]
    where = (network.study, 1, position.previous.commitment, entry.site)
    state = Court(network.contract).standing(*where)
    assert state.unanswered == 1
    assert state.deadline < closed.closing.closed_at
    # What hid its bytes has lost its deposit to the coordinator that had to wait.
    owed = network.contract.owed(network.study, network.keys.coordinator.address)
    assert owed == network.params.deposit + network.params.deposit // chunks_of(network.params)
    assert audit(hospitals) == [1]


def test_registered_site_when_it_also_replied_costs_nothing(hospitals: Hospitals) -> None:
    def never(_: float) -> None:
        pytest.fail("nobody had to wait")

    coordinator = session(hospitals, never)
    position = coordinator.position()
    register(hospitals, 0, position)
    closed = coordinator.run_round(position, hospitals.asked, hospitals.replies(position))
    assert len(closed.state.entries) == len(hospitals.sites)


def test_site_that_shows_little_is_asked_for_little() -> None:
    chunks, shown, demanded = 3_907, 0, []
    while shown < chunks:
        demanded.append(min(chunks - shown, most_demanded(shown)))
        shown += demanded[-1]
    # Of a million parameters.
    assert demanded == [1, 51, 2_601, 1_254]
    assert all(most_demanded(shown) <= 1 + 50 * shown for shown in range(4_000))


@pytest.mark.parametrize("by", ["coordinator", "successor"])
def test_demand_about_a_closed_round_is_answered_while_the_next_one_runs(
    hospitals: Hospitals, by: str
) -> None:
    network = hospitals.network
    court, asker = Court(network.contract), network.keys.sponsor
    first = hospitals.session()
    position = first.position()
    closed = first.run_round(position, hospitals.asked, hospitals.replies(position))
    contested = Contested(network.study, 1, closed.closing, position.previous)
    entry = entry_leaf([one.pack() for one in closed.state.entries], 1)
    demands = [Demand(What.MODEL, 0), Demand(What.BASE, 0), Demand(What.UPDATE, 0, entry)]
    for demand in demands:
        court.approve_deposit(asker, network.study)
        court.demand_chunk(asker, contested, demand)
    # Another coordinator that has the data answers too: the key is only who pays.
    active = first if by == "coordinator" else hospitals.session()
    active.run_round(closed.position, hospitals.asked, hospitals.replies(closed.position))
    states = [court.demand_of(court.demand_id(contested, demand)) for demand in demands]
    assert [state.status for state in states] == [DemandStatus.ANSWERED] * 3


def test_demand_of_what_the_store_has_not_got_ends_no_round(hospitals: Hospitals) -> None:
    network = hospitals.network
    court, asker = Court(network.contract), network.keys.sponsor
    first = hospitals.session()
    position = first.position()
    closed = first.run_round(position, hospitals.asked, hospitals.replies(position))
    contested = Contested(network.study, 1, closed.closing, position.previous)
    entry = entry_leaf([one.pack() for one in closed.state.entries], 1)
    court.approve_deposit(asker, network.study)
    demand = Demand(What.UPDATE, 0, entry)
    court.demand_chunk(asker, contested, demand)
    for cid, _ in closed.state.objects:
        (network.folders.store / cid).unlink()
    first.run_round(closed.position, hospitals.asked, hospitals.replies(closed.position))
    state = court.demand_of(court.demand_id(contested, demand))
    assert state.status is DemandStatus.OPEN
