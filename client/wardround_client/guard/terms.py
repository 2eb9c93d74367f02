"""The terms that a site's policy accepts: who runs a study, by which clocks, for which money."""

from __future__ import annotations

from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import StudyParams, StudyParties
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.settings import PolicyTable

#: Keys of the policy for the least of a parameter: that parameter, and what is wrong below it.
_LEAST = {
    "min_auditor_quorum": ("auditor_quorum", "{:,} attestations make its rounds final"),
    "min_challenge_seconds": ("challenge_seconds", "its rounds can be challenged for {:,} s only"),
    "min_objection_seconds": ("objection_seconds", "attestations count {:,} s after a closing"),
    "min_round_seconds": ("round_seconds", "a coordinator has {:,} s to close a round"),
    "min_grace_seconds": ("grace_seconds", "standbys take over {:,} s after one another"),
    "min_registration_seconds": (
        "registration_seconds",
        "a site can register its contribution for {:,} s",
    ),
    "min_demand_seconds": ("demand_seconds", "demanded data must be shown within {:,} s"),
    "min_bond": ("bond", "a coordinator's bond is {:,} of the token's smallest unit"),
    "min_reward_per_round": (
        "reward_per_round",
        "a round pays {:,} of the token's smallest unit",
    ),
    "min_attesting_fee": (
        "attesting_fee",
        "the auditors of a round are paid {:,} of the token's smallest unit",
    ),
}
#: The same for the most of a parameter.
_MOST = {
    "max_challenge_seconds": (
        "challenge_seconds",
        "without auditors its rounds are final after {:,} s",
    ),
    "max_round_seconds": ("round_seconds", "a coordinator may take {:,} s to close a round"),
    "max_grace_seconds": ("grace_seconds", "a standby waits {:,} s longer than the one before"),
    "max_demand_seconds": ("demand_seconds", "demanded data may be shown {:,} s later"),
    "max_lifetime_seconds": ("lifetime_seconds", "it may run for {:,} s"),
    "max_deposit": ("deposit", "a challenge takes {:,} of the token's smallest unit"),
    "max_closing_fee": (
        "closing_fee",
        "the coordinator of a round is paid {:,} of the token's smallest unit",
    ),
}


def check_terms(
    params: StudyParams, parties: StudyParties, spec: StudySpec, policy: PolicyTable
) -> None:
    """Compare a study's terms with those that a site's policy accepts.

    Args:
        parties: of which ``params.parties`` is the digest.
        spec: of which ``params.specification`` is the digest.
    Raises:
        Refusal: ``terms-refused``; names the study, the term and the key of the policy.
    """

    def refuse(what: str, key: str) -> Refusal:
        study = hex_of(params.study_id)
        words = f"study {study} is refused: {what}, which [policy] {key} does not accept."
        return Refusal("terms-refused", words)

    for key, role, addresses in (
        ("coordinators", "a coordinator", parties.coordinators),
        ("auditors", "an auditor", parties.auditors),
        ("tokens", "the token", (params.token,)),
    ):
        accepted = getattr(policy, key)
        for address in addresses:
            if accepted and address.lower() not in accepted:
                raise refuse(f"{address} is {role} of it", key)
    for key, role, value in (
        ("recording", "recording", params.recording),
        ("rules", "rule", params.rule),
        ("scorings", "scoring", params.scoring),
    ):
        accepted, name = getattr(policy, key), value.name.lower()
        if accepted and name not in accepted:
            raise refuse(f"its {role} is {name}", key)
    for key, (name, words) in _LEAST.items():
        value = getattr(params, name)
        if value < int(getattr(policy, key)):
            raise refuse(words.format(value), key)
    for key, (name, words) in _MOST.items():
        value, most = getattr(params, name), getattr(policy, key)
        if most is not None and value > int(most):
            raise refuse(words.format(value), key)
    bound = update_bound(params, spec)
    if policy.max_update_bound is not None and bound > policy.max_update_bound:
        raise refuse(f"coordinates of updates may be up to {bound:g}", "max_update_bound")


def update_bound(params: StudyParams, spec: StudySpec) -> float:
    """Largest magnitude of an update's coordinate, in real units."""
    return params.update_bound / float(2**spec.aggregation.scale_bits)
