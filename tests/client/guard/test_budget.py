"""The privacy account that the guard keeps, over all studies on a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.client.guard.trainers import Altered
from tests.client.sources.tables import SCHEMA
from tests.integration.networks import prepared, small_scenario
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.privacy.accountant import Mechanism, Neighbours, PrivacyAccount
from wardround.protocol.identifiers import Root
from wardround.protocol.report import parse_report
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.budget import Allowance, Budget
from wardround_client.guard.log import GuardLog, create_log
from wardround_client.guard.tables import TableFacts
from wardround_client.settings import HomeSettings
from wardround_simulations.network import Network

PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
KEY = b"\x21" * 32
ROWS = TableFacts(40, 20, "aa" * 32)


def settings_of(policy: dict[str, Any], data: dict[str, Any] | None = None) -> HomeSettings:
    value = {
        "site": {"name": "mercy"},
        "chain": {"endpoints": ["x"], "chain_id": 1, "contract": "0x" + "ab" * 20},
        "data": data or {"name": "t", "train": "a", "test": "b", "range": [-8.0, 8.0]},
        "policy": policy,
    }
    return HomeSettings.model_validate(value)


def study(name: str, privacy: PrivacySpec | None = PRIVACY) -> Approval:
    spec = small_scenario(study={"name": name}).specification
    spec = spec.model_copy(update={"privacy": privacy})
    account = Account.from_key(KEY).address
    params = spec.params(
        sponsor=account, token=account, parameter_count=7,
        initial_model=Root(b"\x01" * 32), code=b"\x02" * 32,  # type: ignore[arg-type]
    )  # fmt: skip
    return Approval(1, "0x" + "ab" * 20, params, spec, 1)


class Desk:
    """A budget with its log in a folder."""

    def __init__(self, folder: Path, policy: dict[str, Any], data: Any = None) -> None:
        self.path = folder / "guard.log"
        if not self.path.exists():
            create_log(self.path, 1)
        self.log = GuardLog(self.path, lambda: 2)
        self.book = Book(self.log.kept)
        self.budget = Budget(self.book, self.log, settings_of(policy, data), KEY)

    def begin(self, approval: Approval, number: int, facts: TableFacts = ROWS) -> Allowance:
        key = RoundKey(approval.study, number, Root(bytes([number]) * 32))
        return self.budget.begin(approval, key, facts)

    def spent(self) -> int:
        return sum(line["kind"] == "spent" for line in self.log.kept)


def each() -> Mechanism:
    return Mechanism(noise_multiplier=1.0, sample_rate=8 / 40, steps=5)


def account(rounds: int) -> PrivacyAccount:
    return PrivacyAccount(mechanisms=[each().model_copy(update={"steps": 5 * rounds})])


def test_account_when_rounds_begin_grows_by_each_once(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}), study("one")
    first, second = desk.begin(one, 1), desk.begin(one, 2)
    assert first.account == PrivacyAccount()
    assert second.account == account(1)
    assert first.secret != second.secret
    # Asked again: the same noise, which tells nothing new, for nothing more.
    assert (desk.begin(one, 1), desk.begin(one, 2)) == (first, second)
    assert desk.spent() == 2
    assert desk.book.account_of_study(one.study) == account(2)


def test_account_when_the_guard_was_restarted_is_the_same(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}), study("one")
    before = [desk.begin(one, number) for number in (1, 2)]
    desk.log.close()
    again = Desk(tmp_path, {})
    assert [again.begin(one, number) for number in (1, 2)] == before
    assert again.spent() == 2


def test_round_when_the_rows_are_others_is_booked_again(tmp_path: Path) -> None:
    """The same noise on two tables that differ by a row would show that row."""
    desk, one = Desk(tmp_path, {}), study("one")
    first = desk.begin(one, 1)
    second = desk.begin(one, 1, replace(ROWS, rows="bb" * 32))
    assert first.secret != second.secret
    assert desk.spent() == 2


def test_secret_when_study_round_rows_or_key_differ_is_another(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    secrets = {
        desk.begin(study(name), number, replace(ROWS, rows=rows)).secret
        for name in ("one", "two")
        for number in (1, 2)
        for rows in ("aa" * 32, "bb" * 32)
    }
    other = Budget(desk.book, desk.log, settings_of({}), b"\x22" * 32)
    one = study("one")
    key = RoundKey(one.study, 1, Root(b"\x01" * 32))
    secrets.add(other.begin(one, key, ROWS).secret)
    assert len(secrets) == 9


def test_study_when_its_epsilon_is_reached_goes_no_further(tmp_path: Path) -> None:
    target = account(2).epsilon(1e-3) + 1e-6
    one = study("one", PRIVACY.model_copy(update={"target_epsilon": target}))
    desk = Desk(tmp_path, {})
    desk.begin(one, 1)
    desk.begin(one, 2)
    with pytest.raises(Refusal, match=f"bring the study to .* the {target:g} it allows"):
        desk.begin(one, 3)
    assert desk.spent() == 2
    # What was begun may still be repeated.
    desk.begin(one, 2)


def test_table_when_studies_share_it_has_one_budget(tmp_path: Path) -> None:
    limit = account(3).epsilon(1e-6) + 1e-6
    desk = Desk(tmp_path, {"max_epsilon": limit, "delta": 1e-6})
    one, two = study("one"), study("two")
    desk.begin(one, 1)
    desk.begin(two, 1)
    desk.begin(one, 2)
    whole = account(4).epsilon(1e-6)
    with pytest.raises(Refusal, match=f"bring table t to epsilon {whole:.4g} "):
        desk.begin(two, 2)
    assert desk.book.account_of_study(two.study) == account(1)


def test_study_without_privacy_when_the_table_has_a_budget_is_refused(tmp_path: Path) -> None:
    open_study = study("open", None)
    with pytest.raises(Refusal, match="max_epsilon"):
        Desk(tmp_path, {"max_epsilon": 5.0}).begin(open_study, 1)


def test_study_without_privacy_when_there_is_no_budget_costs_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    assert desk.begin(study("open", None), 1) == Allowance(None, PrivacyAccount())
    assert desk.spent() == 0


@pytest.mark.parametrize("policy", [{}, {"max_epsilon": 50.0, "delta": 1e-2}])
def test_delta_when_one_whole_row_could_be_published_is_refused(
    tmp_path: Path, policy: dict[str, Any]
) -> None:
    facts = replace(ROWS, examples=1000 if not policy else 100)
    with pytest.raises(Refusal, match="not below 1 /"):
        Desk(tmp_path, policy).begin(study("one"), 1, facts)


def test_rows_when_scaled_by_one_another_are_refused(tmp_path: Path) -> None:
    data = {**SCHEMA, "source": {"type": "csv", "path": "x.csv"}}
    with pytest.raises(Refusal, match="scaling"):
        Desk(tmp_path, {}, data).begin(study("one"), 1)


# ---------------------------------------------------------------- from end to end


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    scenario = small_scenario().model_copy(update={"privacy": PRIVACY})
    with prepared(scenario, tmp_path_factory.mktemp("private") / "network") as made:
        yield made


def test_private_round_when_trained_through_the_guard_is_signed_and_repeats(
    private: Network, tmp_path: Path
) -> None:
    home = make(private, tmp_path / "home")
    approve(private, home)
    deliveries = []
    for _ in range(2):
        with guarded(private, home) as guard:
            ward = Ward(private, home, guard)
            delivery, _ = ward.train()
            deliveries.append(delivery)
    assert deliveries[0] == deliveries[1]
    stated = parse_report(deliveries[0].report)
    assert stated.metrics == {}
    assert stated.privacy is not None
    stated_each = [stated.privacy.epsilon, stated.privacy.epsilon_replaced]
    assert stated_each == [account(1).epsilon(1e-3, which) for which in Neighbours]
    assert [line["kind"] for line in ward.log() if line["kind"] in ("spent", "signed")] == [
        "spent",
        "signed",
    ]


def test_private_round_when_a_loss_is_stated_is_signed_without_it(
    private: Network, tmp_path: Path
) -> None:
    """The loss is made from rows without noise."""
    home = make(private, tmp_path / "home")
    approve(private, home)
    trainer = Altered(lambda job, honest: replace(honest, mean_loss=0.5))
    with guarded(private, home, trainer=trainer) as guard:
        delivery, _ = Ward(private, home, guard).train()
    assert parse_report(delivery.report).metrics == {}


def test_private_round_when_a_row_is_gone_has_other_noise_and_costs_again(
    private: Network, tmp_path: Path
) -> None:
    """Nothing was signed yet: the site trains again over other rows."""
    home, trainer = make(private, tmp_path / "home", policy="max_update_norm = 1e-9"), Altered()
    approve(private, home)
    with guarded(private, home, trainer=trainer) as guard:
        ward = Ward(private, home, guard)
        for _ in range(2):
            with pytest.raises(Refusal, match="update-out-of-range"):
                ward.train()
            table = load_table(home.folder / "train.npz")
            save_table(Table(table.features[1:], table.labels[1:]), home.folder / "train.npz")
    first, second = (job.private for job in trainer.trained)
    assert first is not None
    assert second is not None
    assert first.secret != second.secret
    assert second.account != first.account
