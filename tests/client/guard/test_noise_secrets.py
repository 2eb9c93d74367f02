"""Secrets of noise on a chain: they go once their round is final, and no sooner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.test_budget import PRIVACY, close
from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.integration.networks import prepared, small_scenario
from wardround.protocol.identifiers import hex_of
from wardround_client.home import Home
from wardround_client.site_standing import open_site, standing
from wardround_simulations.network import Network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A private study whose rounds are final by time alone, as they are by default."""
    scenario = small_scenario(study={"rounds": 5}).model_copy(update={"privacy": PRIVACY})
    with prepared(scenario, tmp_path_factory.mktemp("noise") / "network") as made:
        assert made.contract.study(made.study).auditor_quorum == 0
        yield made


@pytest.fixture
def home(network: Network, tmp_path: Path) -> Home:
    made = make(network, tmp_path / "home")
    approve(network, made)
    return made


def train(network: Network, home: Home) -> int:
    """Train in the open round; its number."""
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        ward.train()
        return ward.task.round


def let_rounds_be_final(network: Network) -> None:
    network.contract.chain.advance(network.params.challenge_seconds)


def rounds(network: Network, home: Home) -> list[int]:
    """Rounds whose secret is there."""
    start = f"{hex_of(network.study)}-"
    return sorted(int(path.name.split("-")[1]) for path in home.noise.glob(f"{start}*"))


def test_secrets_when_time_makes_their_round_final_are_erased(network: Network, home: Home) -> None:
    first = train(network, home)
    close(network)
    with guarded(network, home) as guard:
        guard.check_chain()
        assert rounds(network, home) == [first], "it may still be challenged"
        let_rounds_be_final(network)
        guard.check_chain()
        assert rounds(network, home) == []
    second = train(network, home)
    close(network)
    let_rounds_be_final(network)
    assert rounds(network, home) == [second]
    third = train(network, home)
    assert rounds(network, home) == [third]


def test_secrets_when_no_guard_runs_any_more_are_erased_by_status(
    network: Network, home: Home
) -> None:
    number = train(network, home)
    close(network)
    standing(open_site(home.folder))
    assert rounds(network, home) == [number]
    let_rounds_be_final(network)
    standing(open_site(home.folder))
    assert rounds(network, home) == []


def test_secret_of_another_contract_stays_and_stops_nothing(network: Network, home: Home) -> None:
    home.noise.mkdir()
    other = home.noise / f"0x{'ab' * 32}-1-1"
    other.write_bytes(bytes(32))
    with guarded(network, home) as guard:
        guard.check_chain()
        ward = Ward(network, home, guard)
        ward.train()
        (line,) = [line for line in ward.log() if line["kind"] == "secrets kept"]
    assert line["study"] == f"0x{'ab' * 32}"
    assert "StudyUnknown" in line["reason"]
    assert other.exists()
    standing(open_site(home.folder))
