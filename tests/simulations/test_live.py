"""A network's list of processes, and its commands where there is no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.integration.networks import prepared, small_scenario
from wardround.devchain.errors import AnvilMissing
from wardround.protocol.errors import ScenarioError
from wardround.transport.processes import ProcessMark, mark_of, running
from wardround_client.home import Home
from wardround_client.supernode import coordinators_of
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import load_coordinator_settings
from wardround_simulations.live.commands import app
from wardround_simulations.live.layout import check_live, make_parties
from wardround_simulations.live.record import (
    PROCESSES_FILE,
    SUPERVISOR,
    forget_processes,
    read_processes,
    write_processes,
)
from wardround_simulations.scenario import load_scenario, with_changes

OTHER = ProcessMark(os.getpid(), 0.0)


def test_processes_are_written_down_and_read(tmp_path: Path) -> None:
    assert read_processes(tmp_path) == {}
    write_processes(tmp_path, {"chain": OTHER})
    assert read_processes(tmp_path) == {"chain": OTHER}
    forget_processes(tmp_path)
    forget_processes(tmp_path)
    assert read_processes(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": {"x": {"pid": "1"}}}'])
def test_damaged_list_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / PROCESSES_FILE).write_text(text)
    with pytest.raises(ScenarioError, match="damaged"):
        read_processes(tmp_path)


def test_up_without_anvil_says_what_to_do_and_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_ANVIL", str(tmp_path / "missing"))
    done = CliRunner().invoke(app, ["up", str(tmp_path / "network")])
    assert isinstance(done.exception, AnvilMissing)
    assert "make setup" in str(done.exception)
    assert not (tmp_path / "network").exists()


def test_down_ends_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    """A process number that was reused belongs to another program: here, to this test."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as ours, subprocess.Popen(sleep) as foreign:
        mark = mark_of(ours.pid)
        assert mark is not None
        old = ProcessMark(foreign.pid, OTHER.started)
        write_processes(tmp_path, {SUPERVISOR: OTHER, "site": mark, "chain": old})
        done = CliRunner().invoke(app, ["down", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "3 processes have ended" in done.output
        ours.wait(10)
        assert foreign.poll() is None
        assert running([mark]) == []
        foreign.kill()
    assert not (tmp_path / PROCESSES_FILE).exists()


def test_status_tells_who_runs(tmp_path: Path) -> None:
    mine = mark_of(os.getpid())
    assert mine is not None
    write_processes(tmp_path, {SUPERVISOR: mine, "chain": OTHER})
    done = CliRunner().invoke(app, ["status", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["processes"] == {
        SUPERVISOR: {"pid": mine.pid, "running": True},
        "chain": {"pid": OTHER.pid, "running": False},
    }
    assert found["study"] is None
    assert "NOT running" in CliRunner().invoke(app, ["status", str(tmp_path)]).output


@pytest.mark.parametrize("command", ["down", "status"])
def test_folder_of_no_network_is_refused(tmp_path: Path, command: str) -> None:
    done = CliRunner().invoke(app, [command, str(tmp_path)])
    assert isinstance(done.exception, ScenarioError)
    assert "not the folder of a network" in str(done.exception)


def test_number_of_sites_is_changed_where_the_data_allows() -> None:
    changed = with_changes(small_scenario(), sites=2, rounds=9, seed=4)
    assert changed.data.arguments["sites"] == 2
    assert (changed.study.rounds, changed.study.seed) == (9, 4)
    assert changed.aggregation.min_sites == 2
    assert with_changes(small_scenario(), sites=None, rounds=None, seed=None) == small_scenario()
    four, _ = load_scenario("four-hospitals")
    with pytest.raises(ScenarioError, match="drop --sites"):
        with_changes(four, sites=2, rounds=None, seed=None)


def test_attackers_are_refused() -> None:
    attackers, _ = load_scenario("attackers")
    with pytest.raises(ScenarioError, match="wardround simulate"):
        check_live(attackers)
    check_live(small_scenario())


def test_sites_know_every_coordinator_and_each_knows_every_site(tmp_path: Path) -> None:
    scenario = small_scenario(chain={"bond": "50"})
    with prepared(scenario, tmp_path / "network", standbys=2) as network:
        seats = make_parties(network, datetime.now(UTC))
        state = network.contract.study(network.study)
        assert list(state.coordinators) == [seat.key for seat in seats]
        assert all(network.contract.seat(network.study, seat.key).bonded for seat in seats)
    assert [seat.folder.name for seat in seats] == ["coordinator", "standby-1", "standby-2"]
    for party in network.parties:
        home = Home(network.folders.sites / party.name)
        found = coordinators_of(home, home.settings())
        assert [address for address, _ in found] == [seat.address for seat in seats]
        for seat, (_, certificate) in zip(seats, found, strict=True):
            assert certificate.read_bytes() == CoordinatorHome(seat.folder).authority.read_bytes()
    members = {party.account.address.lower() for party in network.parties}
    files = set()
    for seat in seats:
        assert set(CoordinatorHome(seat.folder).enrolments()) == members
        settings = load_coordinator_settings(seat.folder)
        server = settings.require_server()
        assert (server.host, server.port) == (seat.address.host, seat.address.port)
        files.add((seat.folder / settings.coordinator.rounds_file).resolve())
        assert (seat.folder / settings.coordinator.store).resolve() == network.folders.store
    assert files == {network.folders.rounds, *(seat.folder / "rounds.jsonl" for seat in seats[1:])}
