"""Which node keys a running coordinator lets in."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.coordinator.conftest import Hospitals
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.host.log import EventLog, configure
from wardround.protocol.errors import SpecificationError, StudyMismatch
from wardround.protocol.evidence import Demand, What
from wardround.protocol.record import genesis_closing
from wardround.transport.enrolment import ENROLMENT, enrol
from wardround_coordinator import service as module
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.service import Service
from wardround_coordinator.settings import load_coordinator_settings


class Registered:
    """A SuperLink that only remembers whom it was asked to let in."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def register(self, public_pem: bytes, name: str) -> None:
        self.names.append(name)


def test_site_that_is_admitted_after_it_has_enrolled_is_let_in(
    hospitals: Hospitals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_CHAIN_PAUSE_SECONDS", 0.0)
    network = hospitals.network
    home = CoordinatorHome(network.folders.coordinator)
    home.sites.mkdir(exist_ok=True)
    (tmp_path / "late").mkdir()
    late = enrol(tmp_path / "late", "late", bytes.fromhex("31" * 32))
    (home.sites / "late.json").write_bytes((tmp_path / "late" / ENROLMENT).read_bytes())

    service = Service(home, print, lambda: datetime.now(UTC), threading.Event())
    service._log = logging.getLogger("wardround.test")
    link: Any = Registered()
    settings = load_coordinator_settings(home.folder)
    with caplog.at_level("INFO", "wardround.test"):
        service._register(link, settings)
        service._register(link, settings)
    assert link.names == []
    assert caplog.text.count("has not admitted it yet") == 1

    network.contract.admit_site(network.keys.sponsor, network.study, late.address, late.address, 10)
    service._register(link, settings)
    service._register(link, settings)
    assert link.names == ["late"]


def test_reply_seconds_below_registration_seconds_are_refused_by_name(
    hospitals: Hospitals,
) -> None:
    network = hospitals.network
    settings = load_coordinator_settings(network.folders.coordinator)
    facts = network.contract.facts(network.study)
    least = facts.params.registration_seconds
    for given in (least, least - 1):
        changed = settings.coordinator.model_copy(update={"reply_seconds": float(given)})
        wanted = settings.model_copy(update={"coordinator": changed})
        if given == least:
            module._check_patience(wanted, facts)
            continue
        with pytest.raises(SpecificationError, match=r"reply_seconds.*registration_seconds"):
            module._check_patience(wanted, facts)


def test_chain_that_moves_between_two_requests_ends_no_answering(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that is closed or overturned meanwhile, or an endpoint that lags."""
    network = hospitals.network
    session = hospitals.session()
    session.run_round(session.position(), hospitals.asked, hospitals.replies(session.position()))
    home = CoordinatorHome(network.folders.coordinator)
    service = Service(home, print, lambda: datetime.now(UTC), threading.Event())
    service._address = network.keys.coordinator.address
    contract = network.contract
    assert service._answers_for(contract, network.study)
    network.contract.chain.advance(network.params.challenge_seconds + 1)
    assert not service._answers_for(contract, network.study)

    def lagging(*_: object) -> None:
        raise StudyMismatch("closing of round 1", "another", "this")

    monkeypatch.setattr(contract, "closings", lagging)
    assert service._answers_for(contract, network.study)


def test_coordinator_answers_demands_until_every_round_is_final(hospitals: Hospitals) -> None:
    network = hospitals.network
    session = hospitals.session()
    position = session.position()
    for _ in range(network.params.rounds):
        outcome = session.run_round(position, hospitals.asked, hospitals.replies(position))
        position = outcome.position
    court, asker = Court(network.contract), network.keys.sponsor
    closings = network.contract.closings(network.study)
    previous = dict(closings).get(len(closings) - 1, genesis_closing(network.params.initial_model))
    contested = Contested(network.study, len(closings), closings[-1][1], previous)
    court.approve_deposit(asker, network.study)
    court.demand_chunk(asker, contested, Demand(What.MODEL, 0))

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            network.contract.chain.advance(network.params.challenge_seconds // 2)
            return False

    said: list[str] = []
    home = CoordinatorHome(network.folders.coordinator)
    service = Service(home, said.append, lambda: datetime.now(UTC), Waits())
    service._events = EventLog(home.folder)
    service._log = configure(home.folder, "test")
    settings = load_coordinator_settings(home.folder)
    assert service._answer_until_final(settings)
    state = court.demand_of(court.demand_id(contested, Demand(What.MODEL, 0)))
    assert state.status is DemandStatus.ANSWERED
    assert network.contract.is_final(network.study, *closings[-1])
    assert "answering demands until" in said[0]
    assert said[-1] == f"all {network.params.rounds} rounds are final: nothing is left to do"
    # A coordinator that is started again prints how it ends too.
    said.clear()
    assert service._answer_until_final(settings)
    assert said == [f"all {network.params.rounds} rounds are final: nothing is left to do"]
