"""What is foretold of a study is what the guard then does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client.guard.test_budget import Desk, account, settings_of, sourced, study, table
from wardround.learning.datasets.table import Table
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approval
from wardround_client.guard.outlook import Outlook, outlook

#: Ten patients of two rows, and twenty of one.
VISITS = table([*range(10), *range(30)])
NAMED = sourced(group="patient")


def foretold(
    desk: Desk, approval: Approval, policy: dict[str, Any], rows: Table = VISITS, data: Any = NAMED
) -> Outlook | None:
    settings = settings_of(policy, data)
    return outlook(approval.spec, approval.study, rows, settings, desk.book.spent, desk.people)


def taken(desk: Desk, approval: Approval, rows: Table = VISITS) -> int:
    """Go through the study; in how many of its rounds the guard trains."""
    count = 0
    for number in range(1, approval.spec.study.rounds + 1):
        try:
            desk.begin(approval, number, rows)
        except Refusal:
            break
        count += 1
    return count


@pytest.mark.parametrize("rounds", [1.5, 2.0, 99.0])
def test_rounds_when_a_budget_ends_are_those_that_the_guard_takes(
    tmp_path: Path, rounds: float
) -> None:
    """Who has two rows is left out first, and the others go on."""
    policy = {"max_epsilon": rounds * account(1).epsilon(1e-6), "delta": 1e-6}
    one = study("one")
    desk = Desk(tmp_path, policy, NAMED)
    found = foretold(desk, one, policy)
    assert found is not None
    assert found.rounds == taken(desk, one)
    stated = desk.begin(one, found.rounds, VISITS).stated
    assert stated is not None
    assert found.worst.study.epsilon(1e-3) == stated.epsilon_replaced


def test_rounds_when_studies_before_spent_the_budget_are_none(tmp_path: Path) -> None:
    policy = {"max_epsilon": account(2).epsilon(1e-6) + 1e-6, "delta": 1e-6}
    desk, rows = Desk(tmp_path, policy), table()
    other = study("other")
    assert foretold(desk, other, policy, rows, None) is not None
    desk.begin(study("one"), 1, rows)
    desk.begin(study("one"), 2, rows)
    with pytest.raises(Refusal, match="privacy-refused: nothing is approved: you could take part"):
        foretold(desk, other, policy, rows, None)


def test_rounds_when_delta_could_publish_a_row_are_none(tmp_path: Path) -> None:
    rows = table(rows=1000)
    with pytest.raises(Refusal, match=r"0 of 3 rounds: .*not below 1 / 1000"):
        foretold(Desk(tmp_path, {}), study("one"), {}, rows, None)


def test_study_when_it_asks_for_no_privacy_has_no_outlook(tmp_path: Path) -> None:
    assert foretold(Desk(tmp_path, {}), study("open", None), {}) is None
