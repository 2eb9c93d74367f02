"""A site's rows get a new label, and private training on them goes on as if they were others.

The budget belongs to the patients. What a table is called, how its rows are sorted, and that one of
them is gone, changes nothing of what training has revealed of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.learning.datasets.people import digests_of
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.privacy.accountant import PrivacyAccount, mechanism_of
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import Refusal
from wardround_client.home import Home
from wardround_simulations.network import Network

PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
DELTA = 1e-6


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Network]:
    """A study that asks for private training."""
    scenario = small_scenario().model_copy(update={"privacy": PRIVACY})
    with prepared(scenario, tmp_path / "network") as made:
        yield made


def limit_of_one_round(network: Network) -> float:
    """An epsilon that one round keeps to, on a row less too, and two rounds exceed."""
    spec = network.scenario.specification
    mechanism = mechanism_of(spec.training, PRIVACY, len(network.parties[0].data.train))
    once, twice = (
        PrivacyAccount(mechanisms=[mechanism] * times).epsilon(DELTA) for times in (1, 2)
    )
    assert once < 0.95 * twice
    return (once + twice) / 2


def begin(network: Network, home: Home, number: int) -> str:
    """Ask the guard to train in the open round; the name of its refusal, or ``begun``."""
    position = Hospitals(network).session().position()
    spec = canonical_bytes(network.scenario.specification.document())
    task = TrainTask(network.params, position.previous, number, spec)
    with guarded(network, home) as guard:
        try:
            Ward(network, home, guard).client.train(task, position.base.values)
        except Refusal as refusal:
            return refusal.name
    return "begun"


def close(network: Network) -> None:
    hospitals = Hospitals(network)
    coordinator = hospitals.session()
    position = coordinator.position()
    coordinator.run_round(position, hospitals.asked, hospitals.replies(position))


def renamed(home: Home) -> None:
    text = home.settings_file.read_text(encoding="utf-8")
    assert text.count('"patients"') == 1
    home.settings_file.write_text(text.replace('"patients"', '"patients-2"'), encoding="utf-8")


def resorted(home: Home) -> None:
    table = load_table(home.folder / "train.npz")
    order = np.argsort(table.features[:, 0])
    save_table(Table(table.features[order], table.labels[order]), home.folder / "train.npz")
    renamed(home)


def shortened(home: Home) -> None:
    table = load_table(home.folder / "train.npz")
    save_table(Table(table.features[1:], table.labels[1:]), home.folder / "train.npz")
    renamed(home)


def named(home: Home) -> None:
    """Name people where none were named."""
    for name, first in (("train.npz", 0), ("test.npz", 1000)):
        table = load_table(home.folder / name)
        groups = digests_of(range(first, first + len(table)))
        save_table(Table(table.features, table.labels, groups), home.folder / name)
    renamed(home)


def renumbered(home: Home) -> None:
    """Number visits where patients were."""
    for name, first in (("train.npz", 5000), ("test.npz", 9000)):
        table = load_table(home.folder / name)
        groups = digests_of(range(first, first + len(table)))
        save_table(Table(table.features, table.labels, groups), home.folder / name)


def unchanged(home: Home) -> None:
    """Leave rows and label as they are."""


@pytest.mark.parametrize(
    "change",
    [
        unchanged,
        renamed,
        resorted,
        shortened,
        named,
    ],
)
def test_budget_when_the_same_patients_have_a_new_label_is_still_spent(
    private: Network, tmp_path: Path, change: Callable[[Home], None]
) -> None:
    policy = f"max_epsilon = {limit_of_one_round(private)}\ndelta = {DELTA}"
    home = make(private, tmp_path / "home", policy=policy)
    approve(private, home)
    assert begin(private, home, 1) == "begun", "the first round is within the budget"
    close(private)
    change(home)
    assert begin(private, home, 2) == "budget-exhausted"


def test_budget_when_no_column_is_signed_is_the_site_s_whatever_groups_the_tables_hold(
    private: Network, tmp_path: Path
) -> None:
    """An array has no name: who may write it would choose whose account is charged."""
    policy = f"max_epsilon = {limit_of_one_round(private)}\ndelta = {DELTA}"
    home = make(private, tmp_path / "home", policy=policy)
    named(home)
    approve(private, home)
    assert begin(private, home, 1) == "begun"
    close(private)
    renumbered(home)
    assert begin(private, home, 2) == "budget-exhausted"
