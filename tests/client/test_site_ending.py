"""`site run` ends when every study that the site approved has ended on the chain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from tests.integration.networks import prepared, small_scenario
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.home import Home
from wardround_client.service import SiteService
from wardround_client.site_ending import StudyWatch
from wardround_coordinator.server_app import make_server_app
from wardround_simulations.client_app import app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network, Party

ROUNDS = 2


def watch_of(network: Network, party: Party) -> StudyWatch:
    home = network.home(party)
    return StudyWatch(home, home.settings(), SiteAddress(party.account.address))


def finish(network: Network) -> None:
    config = {"network": str(network.folders.root)}
    run_in_process(make_server_app(), app, [{} for _ in network.parties], config)


def test_site_when_its_study_has_ended_reports_what_it_earned_and_how_to_claim(
    tmp_path: Path,
) -> None:
    with prepared(small_scenario(study={"rounds": ROUNDS}), tmp_path / "network") as network:
        party, store = network.parties[0], str(network.folders.store)
        watch = watch_of(network, party)
        assert not watch.all_ended(0.0)
        finish(network)
        assert not watch.all_ended(1.0), "the chain is asked now and then only"
        assert watch.all_ended(10.0), "its guard has released the last measures"
        words = "\n".join(watch.report(store))
        assert f"has ended after round {ROUNDS}; this site has earned" in words
        assert f"round {ROUNDS} may be challenged until" in words
        home = network.home(party).folder
        claim = f"wardround site claim {hex_of(network.study)} {home} --store {store}"
        assert words.endswith(claim)
        assert "--store STORE" in "\n".join(watch.report(None))


def test_site_whose_last_model_is_not_measured_waits_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.site_ending.read_log", lambda path: iter(()))
    with prepared(small_scenario(study={"rounds": 1}), tmp_path / "network") as network:
        finish(network)
        watch = watch_of(network, network.parties[0])
        assert [watch.all_ended(now) for now in (0.0, 50.0, 61.0)] == [False, False, True]


def test_site_when_another_approved_study_runs_stays(tmp_path: Path) -> None:
    with prepared(small_scenario(study={"rounds": 1}), tmp_path / "network") as network:
        party, ward, sponsor = network.parties[0], network.contract, network.keys.sponsor
        spec = small_scenario(study={"rounds": 1, "name": "other"}).specification
        other = replace(network.params, specification=spec.digest)
        parties = ward.created(network.study).parties
        ward.create_study(sponsor, other, parties)
        approval = Approval(
            ward.chain.chain_id, ward.address.lower(), other, parties, spec, 1, 1, None
        )
        approvals = Approvals(network.home(party).approvals, SiteAddress(party.account.address))
        approvals.give(approval, bytes(party.account.key))
        watch = watch_of(network, party)
        finish(network)
        assert not watch.all_ended(10.0)
        ward.end_study(sponsor, other.study_id)
        assert watch.all_ended(20.0)
        assert "without a closed round: nothing was earned" in "\n".join(watch.report(None))


def test_site_without_an_approval_waits_for_one(tmp_path: Path) -> None:
    with prepared(small_scenario(study={"rounds": 1}), tmp_path / "network") as network:
        party = network.parties[0]
        home = network.home(party)
        approvals = Approvals(home.approvals, SiteAddress(party.account.address))
        approvals.revoke(network.study, 1)
        assert not watch_of(network, party).all_ended(0.0)


@pytest.mark.parametrize("keep", [False, True])
def test_service_ends_with_its_studies_unless_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """The loop of the service, without its processes."""
    said: list[str] = []
    stopped = Event()
    service = SiteService(
        Home(tmp_path), "x", said.append, lambda: datetime.now(UTC), stopped, keep
    )

    class Over:
        asked = 0

        def all_ended(self, now: float) -> bool:
            self.asked += 1
            return True

    class Idle:
        def start(self, program: object) -> None: ...

        def look(self) -> None:
            if keep and len(looks) > 3:
                stopped.set()
            looks.append(1)

    looks: list[int] = []
    watch = Over()
    monkeypatch.setattr(service, "_await_guard", lambda supervisor: True)
    monkeypatch.setattr(service, "_show", lambda: None)
    service._keep(Idle(), [], watch)  # type: ignore[arg-type]
    assert (watch.asked, stopped.is_set()) == ((0, True) if keep else (1, False))
