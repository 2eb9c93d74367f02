"""What an administrator is told of the privacy that patients have spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.client.guard.test_budget import (
    KEY,
    PRIVACY,
    Desk,
    any_table,
    each,
    key_of,
    sourced,
    study,
    table,
)
from wardround.learning.privacy.accountant import Neighbours, account_of
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import SiteAddress
from wardround_client.errors import LogError
from wardround_client.guard.log import create_log
from wardround_client.guard.policy import approve_policy
from wardround_client.home import Home
from wardround_client.settings import PolicyTable, SiteTerms
from wardround_client.site_account import SiteAccount

SITE = SiteAddress(Account.from_key(KEY).address)
ONE, OTHER = study("one"), study("other")
OLD, NEW = range(40), range(40, 80)


def account_in(folder: Path, policy: dict[str, Any]) -> SiteAccount:
    home = Home(folder)
    terms = SiteTerms(policy=PolicyTable.model_validate(policy), group=None)
    approve_policy(home.policy, terms, SITE, KEY)
    if not home.log.exists():
        create_log(home.log, 1)
    return SiteAccount(home, SITE)


def figures(rounds: int, delta: float) -> tuple[str, str]:
    account = account_of([each()] * rounds)
    more, replaced = (f"{account.epsilon(delta, which):.3g}" for which in Neighbours)
    return replaced, more


def limit(rounds: int) -> float:
    return account_of([each()] * rounds).epsilon(1e-6)


def test_account_when_nothing_is_booked_says_so(tmp_path: Path) -> None:
    found = account_in(tmp_path, {"max_epsilon": 8.0})
    assert found.of_site() == "epsilon 0 of 8 at delta 1e-06"
    assert found.of_study(ONE.study, ONE.spec) == "epsilon 0 at delta 0.001; 0 of 5 models measured"
    assert found.studies == []


def test_account_when_patients_are_booked_tells_of_the_one_who_spent_most(tmp_path: Path) -> None:
    policy = {"max_epsilon": limit(2)}
    desk = Desk(tmp_path, policy, sourced(group="patient"))
    for number, approval in enumerate((ONE, OTHER), start=1):
        desk.begin(approval, number, table(OLD))
    assert desk.begin(ONE, 3, table([*OLD, *NEW])).rows is not None
    found = account_in(tmp_path, policy)
    replaced, more = figures(2, 1e-6)
    assert found.of_site() == (
        f"80 patients, epsilon at most {replaced} of {limit(2):g} at delta 1e-06 "
        f"({more} for one more or less); 40 have spent it"
    )
    replaced, more = figures(1, 1e-3)
    assert found.of_study(ONE.study, ONE.spec) == (
        f"epsilon at most {replaced} at delta 0.001 ({more} for one more or less); "
        "0 of 5 models measured"
    )
    assert found.studies == sorted([ONE.study, OTHER.study])


def test_account_when_the_guard_goes_on_is_its_own(tmp_path: Path) -> None:
    """Whom the account calls spent, the guard leaves out of the next round."""
    once = account_of([each().of_person(4)]).epsilon(1e-6)
    policy = {"max_epsilon": once + 1e-6}
    desk = Desk(tmp_path, policy, sourced(group="patient"))
    often = [*range(36), 50, 50, 50, 50]
    assert desk.begin(ONE, 1, table(often)).cost == each().of_person(4)
    assert account_in(tmp_path, policy).of_site().endswith("; 1 have spent it")
    rows = desk.begin(ONE, 2, table(often)).rows
    assert rows is not None
    assert rows.tolist() == list(range(36))


def test_account_when_no_column_names_patients_is_one(tmp_path: Path) -> None:
    policy = {"max_epsilon": limit(1)}
    desk = Desk(tmp_path, policy)
    desk.begin(ONE, 1)
    said = account_in(tmp_path, policy).of_site()
    assert said.startswith("one account for all rows, epsilon at most ")
    assert said.endswith("; it is spent")
    assert not account_in(tmp_path, {"max_epsilon": limit(2) + 1e-6}).of_site().endswith("spent")


def test_account_when_no_policy_limits_it_says_so(tmp_path: Path) -> None:
    Desk(tmp_path, {}, sourced(group="patient")).begin(ONE, 1, table(OLD))
    said = account_in(tmp_path, {}).of_site()
    replaced, more = figures(1, 1e-6)
    assert said == (
        f"40 patients, epsilon at most {replaced} at delta 1e-06 ({more} for one more or "
        "less); the policy in force has no max_epsilon"
    )


def test_account_when_a_study_has_a_limit_or_is_measured_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {}, sourced(group="patient"))
    limited = study("limited", PRIVACY.model_copy(update={"target_epsilon": 9.5}))
    desk.begin(limited, 1, table(OLD))
    model = key_of(limited, 1).fields()["base"]
    fields = {"study": key_of(limited, 1).fields()["study"], "model": model}
    desk.log.append("released", round=1, measures={"counts": [1] * 40, "noise": 4.0}, **fields)
    desk.budget.measure(key_of(limited, 1), table(NEW), 4.0, any_table)
    said = account_in(tmp_path, {"measured_models": 3}).of_study(limited.study, limited.spec)
    assert " of 9.5 at delta 0.001 (" in said
    assert said.endswith("; 1 of 3 models measured")
    off = account_in(tmp_path, {"evaluate": False}).of_study(limited.study, None)
    assert "measured" not in off
    assert " at delta 1e-06 (" in off
    assert account_in(tmp_path, {}).of_site().startswith("80 patients, ")


@pytest.mark.parametrize("how", ["log missing", "log damaged", "log strange", "people", "policy"])
def test_account_when_a_file_is_lost_names_it(tmp_path: Path, how: str) -> None:
    desk = Desk(tmp_path, {}, sourced(group="patient"))
    desk.begin(ONE, 1, table(OLD))
    account_in(tmp_path, {})
    home = Home(tmp_path)
    if how == "log missing":
        home.log.unlink()
    elif how == "log damaged":
        home.log.write_bytes(home.log.read_bytes().replace(b'"attempt":1', b'"attempt":2') + b"x\n")
    elif how == "log strange":
        desk.log.append("spent", mechanism={})
    elif how == "people":
        next(home.people.iterdir()).unlink()
    else:
        home.policy.write_text("{}")
    errors = {"people": (LogError, "names people"), "policy": (SpecificationError, "policy.json")}
    expected, words = errors.get(how, (LogError, "guard.log"))
    with pytest.raises(expected, match=words):
        SiteAccount(home, SITE).of_site()
