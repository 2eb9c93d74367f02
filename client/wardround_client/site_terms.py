"""The terms of a study that its sponsor chose: who runs it, by which clocks, for which money."""

from __future__ import annotations

from collections.abc import Iterator

from wardround.chain.events import StudyCreated
from wardround.chain.options import tokens_of
from wardround.protocol.record import StudyParams
from wardround_client.errors import Refusal
from wardround_client.settings import PolicyTable


def check_terms(created: StudyCreated, policy: PolicyTable) -> None:
    """Compare a study's terms with those that the site's policy accepts.

    Raises:
        Refusal: ``terms-refused``; names the term and the key of the policy.
    """
    params = created.params
    for address in created.coordinators:
        if policy.coordinators and address.lower() not in policy.coordinators:
            raise _refused(f"{address} is a coordinator of it", "coordinators")
    if policy.tokens and params.token.lower() not in policy.tokens:
        raise _refused(f"it pays in the token {params.token}", "tokens")
    if params.challenge_seconds < policy.min_challenge_seconds:
        window = f"its rounds can be challenged for {params.challenge_seconds:,} s only"
        raise _refused(window, "min_challenge_seconds")


def describe_terms(created: StudyCreated) -> Iterator[str]:
    """Write a study's terms for people, a line at a time."""
    params = created.params
    yield f"  coordinators {', '.join(created.coordinators)}"
    yield f"               each with a bond of {tokens_of(params.bond)}"
    yield f"  auditors     {', '.join(created.auditors) or 'none'}"
    yield f"  recording    {params.recording.name.lower()}"
    yield f"  final        {_finality(params)}"
    yield (
        f"  turns        {params.round_seconds:,} s to close a round, {params.grace_seconds:,} s "
        f"until the next standby takes over, {params.demand_seconds:,} s to show demanded data"
    )
    yield (
        f"  deadline     {params.lifetime_seconds:,} s after the study opens any account may end "
        "it; what final rounds have earned stays payable"
    )


def _finality(params: StudyParams) -> str:
    by_time = f"a closed round is final after {params.challenge_seconds:,} s"
    if not params.auditor_quorum:
        return by_time
    return (
        f"{by_time}, or after {params.objection_seconds:,} s once {params.auditor_quorum} auditors "
        "have attested it"
    )


def _refused(what: str, key: str) -> Refusal:
    words = f"the study is not approved: {what}, which [policy] {key} does not accept."
    return Refusal("terms-refused", words)
