"""Whose turn it is, and what a coordinator does about it, on a real chain."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.chain.errors import ChainUnreachable, ContractReverted
from wardround.chain.study_state import Seat, StudyState
from wardround.protocol.errors import RoundFailed
from wardround.protocol.record import ZERO_ADDRESS, Recording, RuleId, ScoringId
from wardround.store import FolderStore
from wardround_coordinator.errors import CoordinatorError, PositionMoved, StoodDown
from wardround_coordinator.session import RoundOutcome, Session
from wardround_coordinator.standby import Stance, Tenure, turn_of
from wardround_simulations.network import Network

A, B, C = ("0x" + letter * 40 for letter in "abc")
ROUND_SECONDS, GRACE_SECONDS = 60, 12


def state(**changes: Any) -> StudyState:
    values = StudyState(
        sponsor=A,
        token=A,
        coordinator=A,
        head=2,
        opened_at=1000,
        final_through=0,
        rounds=3,
        site_count=3,
        min_sites=2,
        auditor_quorum=0,
        recording=Recording.FULL,
        locked_cohort=False,
        attempt=0,
        locked_by=ZERO_ADDRESS,
        rule=RuleId.MEAN,
        rule_argument=0,
        scoring=ScoringId.EXAMPLES,
        parameter_count=7,
        update_bound=2**24,
        challenge_seconds=0,
        objection_seconds=0,
        round_seconds=ROUND_SECONDS,
        grace_seconds=GRACE_SECONDS,
        demand_seconds=0,
        hold_round=0,
        hold_until=0,
        deadline=0,
        bond=5,
        deposit=1,
        closing_fee=0,
        attesting_fee=0,
        reward_per_round=0,
        funded=0,
        paid=0,
        refunded=0,
        coordinators=(A, B, C),
    )
    return replace(values, **changes)


def seat(place: int, bonded: bool = True, barred: bool = False) -> Seat:
    return Seat(5, place, bonded, barred)


@pytest.mark.parametrize(
    ("active", "who", "place", "due"),
    [(A, B, 2, 1072), (A, C, 3, 1084), (B, C, 3, 1072), (B, A, 1, 1084), (C, A, 1, 1072)],
)
def test_turn_goes_round_the_ring(active: str, who: str, place: int, due: int) -> None:
    standing = state(coordinator=active)
    assert turn_of(standing, seat(place), who, due - 0.5).stance is Stance.WAIT
    turn = turn_of(standing, seat(place), who, due)
    assert (turn.stance, turn.due) == (Stance.TAKE_OVER, due)


def test_turn_of_the_active_is_to_work_however_late_it_is() -> None:
    assert turn_of(state(), seat(1), A, 10**9).stance is Stance.WORK


def test_turn_when_nobody_is_active_has_come() -> None:
    nobody = state(coordinator="0x" + 40 * "0")
    assert turn_of(nobody, seat(3), C, 0).stance is Stance.TAKE_OVER


def test_turn_when_the_study_is_over_or_not_open() -> None:
    assert turn_of(state(head=4), seat(2), B, 10**9).stance is Stance.OVER
    assert turn_of(state(head=0), seat(2), B, 10**9).stance is Stance.WAIT


@pytest.mark.parametrize(
    ("seated", "reason"),
    [
        (Seat(0, 0, False), "not listed"),
        (seat(2, bonded=False, barred=True), "slashed"),
        (seat(2, bonded=False), "bond"),
    ],
)
def test_turn_of_who_may_never_act_is_refused_by_name(seated: Seat, reason: str) -> None:
    with pytest.raises(CoordinatorError, match=reason):
        turn_of(state(), seated, B, 10**9)


# ---------------------------------------------------------------- on a chain


class Bench:
    """Coordinators over one study; time passes only when one of them waits."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.hospitals = Hospitals(network)
        self.said: list[str] = []
        self.waited = 0.0

    def session(self, signer: LocalAccount) -> Session:
        contract = self.network.contract
        facts = contract.facts(self.network.study)
        return Session(contract, signer, FolderStore(self.network.folders.store), facts)

    def close_rounds(self, signer: LocalAccount, count: int = 99) -> Callable[[], None]:
        def work() -> None:
            session = self.session(signer)
            position = session.position()
            last = min(self.network.params.rounds, position.round + count - 1)
            while position.round <= last:
                session.check_standing(position)
                position = self.close(session).position

        return work

    def close(self, session: Session) -> RoundOutcome:
        position = session.position()
        return session.run_round(position, self.hospitals.asked, self.hospitals.replies(position))

    def tenure(self, signer: LocalAccount, standby: bool = True, **options: Any) -> Tenure:
        chain = self.network.contract.chain

        def wait(seconds: float) -> None:
            self.waited += seconds
            chain.advance(ceil(seconds))

        return Tenure(
            self.network.contract,
            signer,
            self.network.study,
            standby,
            clock=chain.timestamp,
            wait=wait,
            say=self.said.append,
            **options,
        )

    @property
    def coordinators(self) -> list[LocalAccount]:
        return self.network.keys.coordinators

    @property
    def active(self) -> str:
        return self.network.contract.study(self.network.study).coordinator

    @property
    def head(self) -> int:
        return self.network.contract.study(self.network.study).head


@contextmanager
def bench_in(folder: Path, standbys: int = 2) -> Iterator[Bench]:
    times = {"round_seconds": ROUND_SECONDS, "grace_seconds": GRACE_SECONDS, "bond": "50"}
    with prepared(small_scenario(chain=times), folder / "network", standbys) as network:
        yield Bench(network)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as made:
        yield made


def test_standby_when_the_active_is_silent_takes_over_in_its_turn_and_finishes(
    bench: Bench,
) -> None:
    first, second, _ = bench.coordinators
    bench.close_rounds(first, 1)()
    bench.tenure(second).serve(bench.close_rounds(second))
    assert bench.head == 4
    assert bench.active == second.address
    assert ROUND_SECONDS + GRACE_SECONDS <= bench.waited <= ROUND_SECONDS + GRACE_SECONDS + 15
    assert bench.said == [
        f"standing by for coordinator {first.address}",
        f"took over round 2 from coordinator {first.address}",
        "going on with round 2 of 3",
    ]


def test_second_standby_waits_a_grace_period_longer(bench: Bench) -> None:
    third = bench.coordinators[2]
    bench.tenure(third).serve(bench.close_rounds(third))
    assert bench.waited >= ROUND_SECONDS + 2 * GRACE_SECONDS
    assert bench.active == third.address


def test_standby_while_the_active_works_waits(bench: Bench) -> None:
    first, second, _ = bench.coordinators
    tenure = bench.tenure(second)
    inner = tenure.wait

    def wait(seconds: float) -> None:
        inner(seconds)
        if bench.head < 4:
            bench.close(bench.session(first))

    tenure.wait = wait
    tenure.serve(lambda: pytest.fail("it was never its turn"))
    assert bench.active == first.address


def test_active_that_returns_stands_down_without_a_word_from_the_contract(bench: Bench) -> None:
    first, second, _ = bench.coordinators

    def work() -> None:
        session = bench.session(first)
        position = session.position()
        replies = bench.hospitals.replies(position)
        # While it slept, the standby's time came.
        bench.network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
        bench.network.contract.take_over(second, bench.network.study)
        session.run_round(position, bench.hospitals.asked, replies)

    bench.tenure(first, standby=False).serve(work)
    assert bench.head == 1
    assert bench.said[-1] == f"coordinator {second.address} is active: standing down"


def test_active_that_lost_its_turn_waits_for_the_next_when_it_is_a_standby(bench: Bench) -> None:
    first, second, _ = bench.coordinators
    bench.network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    bench.network.contract.take_over(second, bench.network.study)
    bench.tenure(first).serve(bench.close_rounds(first))
    # Two steps round the ring: from the second over the third to the first.
    assert bench.waited >= ROUND_SECONDS + 2 * GRACE_SECONDS
    assert (bench.active, bench.head) == (first.address, 4)


def test_coordinator_when_another_is_active_and_it_is_no_standby_is_refused(bench: Bench) -> None:
    second = bench.coordinators[1]
    with pytest.raises(StoodDown, match="--standby"):
        bench.tenure(second, standby=False).serve(lambda: pytest.fail("not its turn"))


def test_standby_without_its_bond_is_refused(tmp_path: Path) -> None:
    with bench_in(tmp_path) as bench:
        stranger = bench.network.keys.sponsor
        with pytest.raises(CoordinatorError, match="not listed"):
            bench.tenure(stranger).serve(lambda: None)


def test_take_over_when_another_was_faster_goes_on_waiting(bench: Bench) -> None:
    _, second, third = bench.coordinators
    tenure = bench.tenure(third)
    contract, study = bench.network.contract, bench.network.study
    # Its own look was a moment ago; since then the second has taken over.
    before = contract.study(study)
    bench.network.contract.chain.advance(ROUND_SECONDS + 2 * GRACE_SECONDS)
    contract.take_over(second, study)
    tenure._take_over(before)
    assert bench.active == second.address
    tenure.serve(bench.close_rounds(third))
    assert (bench.active, bench.head) == (third.address, 4)


def test_trouble_that_may_pass_is_waited_for(bench: Bench) -> None:
    first = bench.coordinators[0]
    troubles: list[Exception] = [
        ChainUnreachable("http://there", "timeout"),
        ChainUnreachable("http://there", "timeout"),
        PositionMoved(2, 1),
        OSError(errno.ENOSPC, "No space left on device"),
    ]

    def work() -> None:
        if troubles:
            raise troubles.pop(0)
        bench.close_rounds(first)()

    bench.tenure(first, standby=False).serve(work)
    assert bench.head == 4
    # Reported once each, however often it happens.
    assert len(bench.said) == 4
    assert "No space left" in bench.said[3]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file"),
        RoundFailed(1, 1, 2, []),
        ContractReverted("close round 1", "WardRound_SignatureInvalid", {}, "0x"),
    ],
)
def test_trouble_that_will_not_pass_ends_it(bench: Bench, error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        bench.tenure(bench.coordinators[0]).serve(work)


def test_trouble_that_does_not_pass_ends_it_after_a_while(bench: Bench) -> None:
    def work() -> None:
        raise ChainUnreachable("http://there", "timeout")

    with pytest.raises(ChainUnreachable):
        bench.tenure(bench.coordinators[0], patience_seconds=20.0).serve(work)
    assert 20 <= bench.waited <= 25


def test_position_when_the_chain_went_on_is_noticed_before_any_site_is_asked(bench: Bench) -> None:
    first = bench.coordinators[0]
    session = bench.session(first)
    position = session.position()
    bench.close(bench.session(first))
    with pytest.raises(PositionMoved):
        session.check_standing(position)


def test_round_when_it_was_closed_meanwhile_is_not_closed_twice(bench: Bench) -> None:
    first = bench.coordinators[0]
    session = bench.session(first)
    position = session.position()
    bench.close(bench.session(first))
    other = bench.hospitals.replies(position)[:2]
    with pytest.raises(PositionMoved):
        session.run_round(position, bench.hospitals.asked, other)
    assert bench.head == 2


def test_position_when_the_study_is_over_is_noticed(bench: Bench) -> None:
    first = bench.coordinators[0]
    session = bench.session(first)
    position = session.position()
    bench.close_rounds(first)()
    with pytest.raises(PositionMoved) as caught:
        session.check_standing(position)
    assert caught.value.open_round == 4
