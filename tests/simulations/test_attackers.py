"""Each attack on its own: it sends what its name means, validly signed where it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.networks import prepared, small_scenario
from wardround.audit.audit import AuditedRound, StudyAudit
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.store import FolderStore
from wardround_coordinator.server_app import make_server_app
from wardround_simulations.attackers import ATTACKS
from wardround_simulations.client_app import app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network
from wardround_simulations.scenario import Attack

BAD = "site-1"
ROUNDS = 2


def rounds_of(folder: Path, **behaviour: Any) -> tuple[Network, list[AuditedRound]]:
    """Run two rounds in which one site misbehaves; recompute them from chain and store."""
    rows = [{"site": BAD, **behaviour}] if behaviour else []
    scenario = small_scenario(study={"rounds": ROUNDS}, behaviour=rows)
    with prepared(scenario, folder / "network") as network:
        run_in_process(
            make_server_app(),
            app,
            [{} for _ in network.parties],
            {"network": str(network.folders.root)},
        )
        store = FolderStore(network.folders.store)
        return network, list(StudyAudit(network.contract, network.study, store).rounds())


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The bad site's update of round 1, had it been honest."""
    network, rounds = rounds_of(tmp_path_factory.mktemp("honest"))
    return updates_of(network, rounds[0])


def updates_of(network: Network, audited: AuditedRound) -> list[np.ndarray]:
    """Updates in the order of the parties; those that were dropped are left out."""
    store = FolderStore(network.folders.store)
    count = network.params.parameter_count
    found = {
        row.site: vector_from_bytes(store.get(row.update.cid), count)
        for row in audited.manifest.contributions
    }
    order = [party.account.address.lower() for party in network.parties]
    return [found[site] for site in order if site in found]


def reason(network: Network, audited: AuditedRound) -> str | None:
    bad = network.parties[0].account.address.lower()
    rows = [row.reason for row in audited.manifest.dropped if row.site == bad]
    return rows[0] if rows else None


@pytest.mark.parametrize(
    ("attack", "factor", "reasons"),
    [
        ("nan", 1, ["malformed", "malformed"]),
        ("forged_signature", 1, ["signature", "signature"]),
        ("inflated_weight", 2, ["examples", "examples"]),
        ("scaled", 10**6, ["range", "range"]),
        ("copied_update", 1, [None, "copied_update"]),
        ("label_flip", 1, [None, None]),
        ("sign_flip", 1, [None, None]),
    ],
)
def test_attacker_when_it_can_be_told_from_honest_sites_is_dropped(
    tmp_path: Path, attack: str, factor: int, reasons: list[str | None]
) -> None:
    network, rounds = rounds_of(tmp_path, attack=attack, factor=factor)
    assert [reason(network, audited) for audited in rounds] == reasons


def test_sign_flip_when_it_is_summed_is_the_honest_update_turned(
    tmp_path: Path, honest: list[np.ndarray]
) -> None:
    network, rounds = rounds_of(tmp_path, attack="sign_flip", factor=1)
    updates = updates_of(network, rounds[0])
    np.testing.assert_array_equal(updates[0], -honest[0])
    np.testing.assert_array_equal(updates[1:], honest[1:])


def test_scaled_when_it_is_summed_is_a_multiple(tmp_path: Path, honest: list[np.ndarray]) -> None:
    network, rounds = rounds_of(tmp_path, attack="scaled", factor=3)
    np.testing.assert_array_equal(updates_of(network, rounds[0])[0], 3 * honest[0])


def test_label_flip_when_it_trains_has_other_rows(tmp_path: Path, honest: list[np.ndarray]) -> None:
    network, rounds = rounds_of(tmp_path, attack="label_flip")
    updates = updates_of(network, rounds[0])
    assert not np.array_equal(updates[0], honest[0])
    np.testing.assert_array_equal(updates[1:], honest[1:])


def test_site_when_it_is_absent_in_a_round_is_named_there(tmp_path: Path) -> None:
    network, rounds = rounds_of(tmp_path, absent=[2])
    assert [reason(network, audited) for audited in rounds] == [None, "unavailable"]


def test_attacks_when_listed_are_those_that_scenarios_may_name() -> None:
    named = set(Attack.__args__)  # type: ignore[attr-defined]
    assert named == set(ATTACKS) | {"nan", "label_flip"}
