"""The privacy accounts that the guard keeps of its patients, over all studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from tests.client.guard.conftest import NAMED, Ward, approve, guarded, make
from tests.client.guard.trainers import Altered
from tests.client.sources.tables import SCHEMA
from tests.integration.networks import prepared, small_scenario
from wardround.learning.datasets.people import digests_of
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.errors import DataError
from wardround.learning.privacy.accountant import (
    Mechanism,
    Neighbours,
    PrivacyAccount,
    mechanism_of,
)
from wardround.protocol.identifiers import Digest, Root, hex_of
from wardround.protocol.record import StudyParties
from wardround.protocol.report import Privacy, parse_report
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import LogError, Refusal
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.budget import Allowance, Budget
from wardround_client.guard.log import GuardLog, create_log, guard_sentence
from wardround_client.guard.measuring import too_few
from wardround_client.guard.noise_secrets import KeptSecrets
from wardround_client.guard.people import PeopleStore
from wardround_client.guard.tables import epsilon_ahead, load_home_data
from wardround_client.settings import HomeSettings, PolicyTable
from wardround_simulations.network import Network

PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
KEY = b"\x21" * 32


def table(people: Sequence[int] | None = None, rows: int = 40, seed: int = 0) -> Table:
    """Make rows, of these people where they are named."""
    random = np.random.default_rng(seed)
    count = rows if people is None else len(people)
    features = random.standard_normal((count, 3)).astype(np.float32)
    groups = None if people is None else digests_of(people)
    return Table(features, random.integers(0, 2, count), groups)


ROWS = table()
PREPARED = {"name": "t", "train": "a", "test": "b", "range": [-8.0, 8.0], "group": "groups"}


def settings_of(policy: dict[str, Any], data: dict[str, Any] | None = None) -> HomeSettings:
    value = {
        "site": {"name": "mercy"},
        "chain": {"endpoints": ["x"], "chain_id": 1, "contract": "0x" + "ab" * 20},
        "data": data or PREPARED,
        "policy": policy,
    }
    return HomeSettings.model_validate(value)


def sourced(**changes: Any) -> dict[str, Any]:
    """Settings of a site with a table of its own."""
    ages = {"name": "age", "type": "numeric", "range": [0, 120]}
    return {
        "name": "t",
        "source": {"type": "csv", "path": "x.csv"},
        "features": [ages],
        "label": {"column": "died", "classes": [["no"], ["yes"]]},
        "scaling": "range",
        "min_rows": 5,
    } | changes


def study(name: str, privacy: PrivacySpec | None = PRIVACY) -> Approval:
    spec = small_scenario(study={"name": name}).specification
    spec = spec.model_copy(update={"privacy": privacy})
    account = Account.from_key(KEY).address
    parties = StudyParties.of([account])
    params = spec.params(
        sponsor=account, token=account, parameter_count=7, initial_model=Root(b"\x01" * 32),
        code=Digest(b"\x02" * 32), parties=parties.digest,
    )  # fmt: skip
    return Approval(1, "0x" + "ab" * 20, params, parties, spec, 1, 40, None)


def key_of(approval: Approval, number: int, base: int | None = None) -> RoundKey:
    return RoundKey(approval.study, number, Root(bytes([number if base is None else base]) * 32))


class Desk:
    """A budget with its log in a folder."""

    def __init__(self, folder: Path, policy: dict[str, Any], data: Any = None) -> None:
        self.path = folder / "guard.log"
        if not self.path.exists():
            create_log(self.path, 1)
        self.log = GuardLog(self.path, lambda: 2)
        self.book = Book(self.log.kept)
        self.secrets, self.people = KeptSecrets(folder / "noise"), PeopleStore(folder / "people")
        settings = settings_of(policy, data)
        self.budget = Budget(self.book, self.log, settings, self.secrets, self.people)

    def begin(
        self, approval: Approval, number: int, rows: Table = ROWS, base: int | None = None
    ) -> Allowance:
        return self.budget.begin(approval, key_of(approval, number, base), rows)

    def spent(self) -> int:
        return sum(line["kind"] == "spent" for line in self.log.kept)


def any_table(table: Table) -> None:
    """Take any number of rows."""


def each(rows: int = 40) -> Mechanism:
    return Mechanism(noise_multiplier=1.0, sample_rate=8 / rows, steps=5)


def account(rounds: int) -> PrivacyAccount:
    return PrivacyAccount(mechanisms=[each().model_copy(update={"steps": 5 * rounds})])


def alike(first: Allowance, second: Allowance) -> bool:
    return (first.secret, first.account, first.cost) == (
        second.secret,
        second.account,
        second.cost,
    ) and np.array_equal(first.part(ROWS).features, second.part(ROWS).features)


def test_account_when_rounds_begin_grows_by_each_once(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}), study("one")
    first, second = desk.begin(one, 1), desk.begin(one, 2)
    assert first.account == PrivacyAccount()
    assert second.account == account(1)
    assert first.secret is not None
    assert first.secret != second.secret
    # Asked again: the same noise, which tells nothing new, for nothing more.
    assert alike(desk.begin(one, 1), first)
    assert alike(desk.begin(one, 2), second)
    assert desk.spent() == 2


def test_account_when_the_guard_was_restarted_is_the_same(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}), study("one")
    before = [desk.begin(one, number) for number in (1, 2)]
    desk.log.close()
    again = Desk(tmp_path, {})
    assert all(alike(again.begin(one, number), before[number - 1]) for number in (1, 2))
    assert again.spent() == 2


def test_round_when_rows_or_model_are_others_is_booked_three_times_at_most(tmp_path: Path) -> None:
    """The same noise on two tables that differ by a row would show that row."""
    desk, one = Desk(tmp_path, {}), study("one")
    secrets = {
        desk.begin(one, 1).secret,
        desk.begin(one, 1, table(seed=1)).secret,
        desk.begin(one, 1, base=9).secret,
    }
    assert len(secrets) == 3
    assert desk.spent() == 3
    with pytest.raises(Refusal, match="attempts-spent: round 1 was trained for 3 times"):
        desk.begin(one, 1, base=10)
    # What was begun may still be repeated, and other rounds begun.
    assert desk.begin(one, 1).secret in secrets
    assert desk.begin(one, 2).account == account(3)


def test_round_when_its_secret_is_lost_is_booked_again(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}), study("one")
    first = desk.begin(one, 1)
    for path in (tmp_path / "noise").iterdir():
        path.unlink()
    again = desk.begin(one, 1)
    assert again.secret != first.secret
    assert again.account == account(1)
    assert desk.spent() == 2


def test_round_when_a_crash_comes_before_it_is_booked_has_a_new_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secret and people are on disk, and no line of the log names them."""
    desk, one = Desk(tmp_path, {}, sourced(group="patient")), study("one")
    rows = table(range(40))

    def crash(*_: object, **__: object) -> None:
        raise LogError(desk.path, "cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr(desk.log, "append", crash)
        with pytest.raises(LogError):
            desk.begin(one, 1, rows)
    desk.log.close()
    (left,) = [path.read_bytes() for path in (tmp_path / "noise").iterdir()]
    desk = Desk(tmp_path, {}, sourced(group="patient"))
    allowed = desk.begin(one, 1, rows)
    assert allowed.secret != left
    assert allowed.account == PrivacyAccount()
    assert alike(desk.begin(one, 1, rows), allowed)
    assert [path.read_bytes() for path in (tmp_path / "noise").iterdir()] == [allowed.secret]
    assert desk.spent() == 1


def test_secrets_when_erased_are_those_of_one_study_up_to_a_round(tmp_path: Path) -> None:
    desk, one, two = Desk(tmp_path, {}), study("one"), study("two")
    for approval, number in ((one, 1), (one, 2), (two, 1)):
        desk.begin(approval, number)
    desk.secrets.erase(hex_of(one.study), 1)
    left = {path.name for path in (tmp_path / "noise").iterdir()}
    assert left == {f"{hex_of(one.study)}-2-1", f"{hex_of(two.study)}-1-1"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "noise").iterdir())


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


def test_site_when_studies_share_it_has_one_budget(tmp_path: Path) -> None:
    limit = account(3).epsilon(1e-6) + 1e-6
    desk = Desk(tmp_path, {"max_epsilon": limit, "delta": 1e-6})
    one, two = study("one"), study("two")
    desk.begin(one, 1)
    desk.begin(two, 1)
    assert desk.begin(one, 2).account == account(1)
    whole = account(4).epsilon(1e-6)
    with pytest.raises(Refusal, match=f"bring this site's patients to epsilon {whole:.4g} "):
        desk.begin(two, 2)


# ---------------------------------------------------------------- whose budget it is


def test_people_when_their_budget_is_spent_are_left_out(tmp_path: Path) -> None:
    limit = account(2).epsilon(1e-6)
    desk = Desk(tmp_path, {"max_epsilon": limit, "delta": 1e-6}, sourced(group="patient"))
    one = study("one")
    old, new = list(range(40)), list(range(40, 80))
    desk.begin(one, 1, table(old))
    desk.begin(one, 2, table(old))
    mixed = table([value for pair in zip(old, new, strict=True) for value in pair])
    allowed = desk.begin(one, 3, mixed)
    assert allowed.rows is not None
    assert allowed.rows.tolist() == list(range(1, 80, 2))
    assert allowed.account == PrivacyAccount()
    assert len(allowed.part(mixed)) == 40
    words = [guard_sentence(line) for line in desk.log.kept]
    assert words[:2] == [None, None]
    assert words[2] == (
        f"round 3 of study {hex_of(one.study)[:10]}…: 40 patients (40 rows) are left out: "
        "their budget is spent"
    )
    with pytest.raises(Refusal, match=r"budget-exhausted: .*this site's patients"):
        desk.begin(one, 4, table(old))
    few = table([*old, 100, 101])
    with pytest.raises(Refusal, match=r"; 2 others are left, and .* min_rows asks for 5"):
        desk.begin(one, 4, few)
    assert desk.spent() == 3


@pytest.mark.parametrize("gone", [False, True])
def test_report_when_people_are_left_out_or_gone_states_theirs_still(
    tmp_path: Path, gone: bool
) -> None:
    limit = account(2).epsilon(1e-6) + 1e-6
    desk = Desk(tmp_path, {"max_epsilon": limit, "delta": 1e-6}, sourced(group="patient"))
    one, old = study("one"), list(range(40))
    desk.begin(one, 1, table(old))
    before = desk.begin(one, 2, table(old)).stated
    rows = table(([] if gone else old) + list(range(40, 80)))
    allowed = desk.begin(one, 3, rows)
    assert allowed.account == PrivacyAccount()
    assert allowed.stated == before
    assert desk.begin(one, 3, rows).stated == before


def test_people_when_they_have_more_rows_spend_more(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}, sourced(group="patient")), study("one")
    rows = table([*range(37), 50, 50, 50])
    allowed = desk.begin(one, 1, rows)
    assert allowed.cost == each().of_person(3)
    assert allowed.stated is not None
    assert allowed.stated.epsilon_replaced > account(1).epsilon(1e-3)


def test_people_when_the_log_is_kept_are_written_once(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}, sourced(group="patient")), study("one")
    for number in (1, 2, 3):
        desk.begin(one, number, table(range(40), seed=number))
    (path,) = (tmp_path / "people").iterdir()
    assert path.stat().st_size == 40 * 36
    assert path.stat().st_mode & 0o777 == 0o600
    assert max(map(len, desk.path.read_text().splitlines())) < 800


@pytest.mark.parametrize("how", ["lost", "altered"])
def test_people_when_their_file_is_gone_stop_the_guard(tmp_path: Path, how: str) -> None:
    desk, one = Desk(tmp_path, {}, sourced(group="patient")), study("one")
    desk.begin(one, 1, table(range(40)))
    desk.log.close()
    (path,) = (tmp_path / "people").iterdir()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(bytes(36))
    with pytest.raises(LogError, match="names people whose budget was spent"):
        Desk(tmp_path, {}, sourced(group="patient")).begin(one, 2, table(range(40)))


def test_account_when_a_line_is_of_an_earlier_version_counts_for_everybody(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {}, sourced(group="patient")), study("one")
    line = desk.log.append(
        "spent", **key_of(one, 1).fields(), table="t", rows="aa" * 32,
        mechanism={"noise_multiplier": 1.0, "sample_rate": 8 / 40, "steps": 5},
    )  # fmt: skip
    desk.book.take(line)
    assert desk.begin(one, 2, table(range(40))).account == account(1)


def test_measurement_when_booked_counts_for_the_people_measured(tmp_path: Path) -> None:
    desk, one = Desk(tmp_path, {"max_epsilon": 50.0}, sourced(group="patient")), study("one")
    allowed = desk.budget.measure(key_of(one, 1), table(range(100, 120)), 4.0, any_table)
    assert allowed.secret is None
    counts = Mechanism(kind="discrete", noise_multiplier=4.0, sample_rate=1.0, steps=1)
    assert allowed.cost == counts
    # A measured patient who moves to the training rows brings the account along.
    both = desk.begin(one, 2, table(range(90, 130)))
    assert both.account == PrivacyAccount(mechanisms=[counts])
    # And it is no attempt at a round.
    assert not desk.book.attempts(one.study, 1)


def test_measurement_when_too_few_are_left_is_not_booked(tmp_path: Path) -> None:
    """Minima hold for the rows that are counted, not for those of spent patients beside them."""
    each = Mechanism(kind="discrete", noise_multiplier=4.0, sample_rate=1.0, steps=1)
    limit = PrivacyAccount(mechanisms=[each]).epsilon(1e-6) + 0.01
    desk = Desk(tmp_path, {"max_epsilon": limit, "delta": 1e-6}, sourced(group="patient"))
    one, policy = study("one"), PolicyTable(measure_noise=0.5)
    desk.budget.measure(key_of(one, 1), table(range(100, 130)), 4.0, any_table)
    left: list[int] = []

    def check(rows: Table) -> None:
        left.append(len(rows))
        assert too_few(table(range(100, 138)), policy) is None
        reason = too_few(rows, policy)
        assert reason is not None
        raise Refusal("too-few-test-rows", reason)

    with pytest.raises(Refusal, match="too-few-test-rows"):
        desk.budget.measure(key_of(one, 2), table(range(100, 138)), 4.0, check)
    assert left == [8]
    assert desk.spent() == 1


# ---------------------------------------------------------------- a patient as one

BY_PATIENT = PRIVACY.model_copy(update={"unit": "patient"})
#: 20 patients: one of 21 rows, and 19 of one.
VISITS = table([7] * 21 + [*range(100, 119)])
#: A pass over them in batches of 8.
ONCE = Mechanism(unit="patient", noise_multiplier=1.0, sample_rate=8 / 20, steps=3)


def test_patients_when_they_are_the_unit_are_charged_once_each(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {}, sourced(group="patient"))
    one = study("one", BY_PATIENT)
    allowed = desk.begin(one, 1, VISITS)
    assert allowed.cost == ONCE
    assert allowed.stated is not None
    like_rows = ONCE.model_copy(update={"unit": "row"})
    epsilon = PrivacyAccount(mechanisms=[like_rows]).epsilon(1e-3)
    assert allowed.stated.epsilon_replaced == epsilon
    assert alike(desk.begin(one, 1, VISITS), allowed)
    assert desk.begin(one, 2, VISITS).account == PrivacyAccount(mechanisms=[ONCE])
    # A study of single rows charges the patient of 21 for each of them.
    by_row = desk.begin(study("two"), 1, VISITS)
    assert by_row.cost == each().of_person(21)


def test_patients_when_they_are_the_unit_spend_a_budget_together(tmp_path: Path) -> None:
    limit = PrivacyAccount(mechanisms=[ONCE]).epsilon(1e-6) + 1e-6
    policy = {"max_epsilon": limit, "delta": 1e-6}
    desk = Desk(tmp_path, policy, sourced(group="patient"))
    with_all = desk.begin(study("one", BY_PATIENT), 1, VISITS)
    assert with_all.part(VISITS).person_count == 20
    with pytest.raises(Refusal, match="budget-exhausted"):
        desk.begin(study("one", BY_PATIENT), 2, VISITS)


def test_patients_when_none_are_named_are_rows(tmp_path: Path) -> None:
    allowed = Desk(tmp_path, {}).begin(study("one", BY_PATIENT), 1)
    assert allowed.cost == each().model_copy(update={"unit": "patient"})


def test_delta_when_a_whole_patient_could_be_published_is_refused(tmp_path: Path) -> None:
    """Of 600 rows, which delta allows, and of 300 patients, which it does not."""
    privacy = BY_PATIENT.model_copy(update={"delta": 1 / 300})
    desk = Desk(tmp_path, {}, sourced(group="patient"))
    with pytest.raises(Refusal, match="not below 1 / 300, one over this site's patients"):
        desk.begin(study("one", privacy), 1, table([*range(300)] * 2))
    assert desk.begin(study("one", privacy), 1, table([*range(299)] * 2)).secret is not None


# ---------------------------------------------------------------- what is refused at once


def test_study_without_privacy_when_the_site_has_a_budget_is_refused(tmp_path: Path) -> None:
    open_study = study("open", None)
    with pytest.raises(Refusal, match="max_epsilon"):
        Desk(tmp_path, {"max_epsilon": 5.0}).begin(open_study, 1)


def test_study_without_privacy_when_there_is_no_budget_costs_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    allowed = desk.begin(study("open", None), 1)
    assert (allowed.secret, allowed.cost) == (None, None)
    assert allowed.part(ROWS) is ROWS
    assert desk.spent() == 0


@pytest.mark.parametrize("policy", [{}, {"max_epsilon": 50.0, "delta": 1e-2}])
def test_delta_when_one_whole_row_could_be_published_is_refused(
    tmp_path: Path, policy: dict[str, Any]
) -> None:
    rows = table(rows=1000 if not policy else 100)
    with pytest.raises(Refusal, match="not below 1 /"):
        Desk(tmp_path, policy).begin(study("one"), 1, rows)


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
    updates = []
    for _ in range(2):
        with guarded(private, home) as guard:
            ward = Ward(private, home, guard)
            reply, update = ward.train()
            updates.append((reply.entry, update.tobytes()))
        for path in home.answers.iterdir():
            path.unlink()
    assert updates[0] == updates[1]
    stated = parse_report(reply.report)
    assert stated.metrics == {}
    more, replaced = (account(1).epsilon(1e-3, which) for which in Neighbours)
    assert stated.privacy == Privacy(epsilon=more, epsilon_replaced=replaced, delta=1e-3)
    assert [line["kind"] for line in ward.log() if line["kind"] in ("spent", "signed")] == [
        "spent",
        "signed",
    ]


def test_private_round_when_trained_on_named_people_books_them(
    private: Network, tmp_path: Path
) -> None:
    home = make(private, tmp_path / "home", data=NAMED)
    approve(private, home)
    for name, first in (("train.npz", 0), ("test.npz", 1000)):
        found = load_table(home.folder / name)
        groups = digests_of(range(first, first + len(found)))
        save_table(Table(found.features, found.labels, groups), home.folder / name)
    with guarded(private, home) as guard:
        ward = Ward(private, home, guard)
        ward.train()
    (line,) = (line for line in ward.log() if line["kind"] == "spent")
    assert line["group"] == "groups"
    assert (home.people / line["people"]).stat().st_size == 40 * 36


def test_private_round_when_a_patient_is_one_tells_the_trainer_which_rows_belong_together(
    tmp_path: Path,
) -> None:
    """By numbers in order of appearance: neither the table's own nor digests of them."""
    scenario = small_scenario().model_copy(update={"privacy": BY_PATIENT})
    with prepared(scenario, tmp_path / "network") as network:
        home, trainer = make(network, tmp_path / "home", data=NAMED), Altered()
        approve(network, home)
        whose = [901, 901, 17, 901, *range(200, 236)]
        for name, groups in (("train.npz", whose), ("test.npz", range(1000, 1020))):
            found = load_table(home.folder / name)
            save_table(Table(found.features, found.labels, digests_of(groups)), home.folder / name)
        with guarded(network, home, trainer=trainer) as guard:
            reply, _ = Ward(network, home, guard).train()
    (job,) = trainer.trained
    assert job.private is not None
    assert job.private.persons is not None
    assert job.private.persons.tolist() == [0, 0, 1, 0, *range(2, 38)]
    stated = parse_report(reply.report)
    like_rows = PrivacyAccount(mechanisms=[each(rows=38)])
    assert stated.privacy is not None
    assert stated.privacy.epsilon_replaced == like_rows.epsilon(1e-3)
    assert stated.examples == 40


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
            with pytest.raises(Refusal, match="trainer-failed"):
                ward.train()
            found = load_table(home.folder / "train.npz")
            save_table(Table(found.features[1:], found.labels[1:]), home.folder / "train.npz")
    first, second = (job.private for job in trainer.trained)
    assert first is not None
    assert second is not None
    assert first.secret != second.secret
    assert second.account != first.account


def test_epsilon_ahead_is_of_all_rounds_and_of_the_patient_with_most_rows() -> None:
    """It grows with a patient's rows; what was booked counts, up to where the guard stops."""
    spec, policy = study("one").spec, PolicyTable()
    one_round = mechanism_of(spec.training, PRIVACY, 40)

    def whole(rows_each: int) -> float:
        steps = one_round.steps * spec.study.rounds
        all_rounds = one_round.model_copy(update={"steps": steps, "rows_each": rows_each})
        return PrivacyAccount(mechanisms=[all_rounds]).epsilon(PRIVACY.delta)

    four_each = table([row // 4 for row in range(40)])
    assert epsilon_ahead(spec, ROWS, policy) == whole(1)
    assert epsilon_ahead(spec, four_each, policy) == whole(4) > whole(1)
    assert epsilon_ahead(spec, ROWS, policy, booked=1e3) == 1e3
    assert epsilon_ahead(spec, ROWS, PolicyTable(max_epsilon=0.5), booked=1e3) == 0.5
    targeted = PRIVACY.model_copy(update={"target_epsilon": 0.25})
    assert epsilon_ahead(study("one", targeted).spec, ROWS, policy, booked=1e3) == 0.25
    assert epsilon_ahead(study("one", None).spec, ROWS, policy) is None


def test_prepared_tables_when_they_do_not_name_people_as_declared_are_refused(
    private: Network, tmp_path: Path
) -> None:
    home = make(private, tmp_path / "home", data=NAMED)
    with pytest.raises(DataError, match=r"train.npz.*no array groups, and \[data\] group"):
        load_home_data(home.folder, home.settings(), {})


def test_column_of_prepared_tables_counts_once_it_is_signed(
    private: Network, tmp_path: Path
) -> None:
    home = make(private, tmp_path / "home")
    settings = home.settings()
    data = settings.data.model_copy(update={"group": "visit"})
    changed = settings.model_copy(update={"data": data})
    assert changed.terms != settings.terms
    assert changed.under(settings.terms).data.group is None
