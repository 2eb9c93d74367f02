"""Every term of a study that a policy can refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.client.guard.test_approvals import ACCOUNT, OTHER, approval
from wardround.protocol.record import Recording
from wardround_client.errors import Refusal
from wardround_client.guard.terms import check_terms
from wardround_client.settings import PolicyTable

STRANGER = "0x" + "33" * 20
APPROVAL = approval()
PARAMS = replace(
    APPROVAL.params, auditor_quorum=1, bond=12, deposit=9, closing_fee=7, attesting_fee=5
)
#: For each key the strictest value that accepts the study, and the mildest that does not.
TERMS: dict[str, tuple[Any, Any]] = {
    "coordinators": ([ACCOUNT.address, OTHER.address], [ACCOUNT.address]),
    "auditors": ([OTHER.address], [STRANGER]),
    "tokens": ([OTHER.address, STRANGER], [STRANGER]),
    "recording": (["full"], ["root"]),
    "rules": (["median", "mean"], ["median"]),
    "scorings": (["examples"], ["projection"]),
    "min_auditor_quorum": (1, 2),
    "min_challenge_seconds": (86_400, 86_401),
    "min_objection_seconds": (3_600, 3_601),
    "min_round_seconds": (28_800, 28_801),
    "min_grace_seconds": (600, 601),
    "min_registration_seconds": (600, 601),
    "min_demand_seconds": (21_600, 21_601),
    "max_challenge_seconds": (86_400, 86_399),
    "max_round_seconds": (28_800, 28_799),
    "max_grace_seconds": (600, 599),
    "max_demand_seconds": (21_600, 21_599),
    "max_lifetime_seconds": (31_536_000, 31_535_999),
    "min_bond": ("12", "13"),
    "min_reward_per_round": (str(PARAMS.reward_per_round), str(PARAMS.reward_per_round + 1)),
    "min_attesting_fee": ("5", "6"),
    "max_closing_fee": ("7", "6"),
    "max_deposit": ("9", "8"),
    "max_update_bound": (16.0, 15.999),
}


def check(**policy: Any) -> None:
    table = PolicyTable.model_validate(policy)
    check_terms(PARAMS, APPROVAL.parties, APPROVAL.spec, table)


def test_policy_when_it_names_no_terms_accepts_any() -> None:
    check()


@pytest.mark.parametrize("key", TERMS)
def test_term_when_the_policy_accepts_it_just_so_passes(key: str) -> None:
    check(**{key: TERMS[key][0]})


@pytest.mark.parametrize("key", TERMS)
def test_term_when_the_policy_does_not_accept_it_is_refused(key: str) -> None:
    with pytest.raises(Refusal, match=rf"which \[policy\] {key} does not accept") as refusal:
        check(**{key: TERMS[key][1]})
    assert refusal.value.name == "terms-refused"


def test_terms_when_listed_here_are_all_that_a_policy_has() -> None:
    assert PARAMS.recording is Recording.FULL
    own = {"coordinators", "auditors", "tokens", "recording", "rules", "scorings"}
    # These are about the site's own table, not about a study's terms.
    table = {"max_update_norm", "max_epsilon"}
    bounds = {key for key in PolicyTable.model_fields if key.startswith(("min_", "max_"))}
    assert own | bounds - table == set(TERMS)
