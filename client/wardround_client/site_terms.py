"""The terms of a study that its sponsor chose, as an administrator reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from wardround.chain.amounts import tokens_of
from wardround.chain.study_state import StudyState
from wardround.chain.study_token import StudyToken
from wardround.host.screen import visible
from wardround.protocol.record import StudyParams, StudyParties
from wardround.protocol.study import StudySpec
from wardround.protocol.whole_evidence import PROVABLE_SITES, unprovable_words
from wardround_client.guard.terms import update_bound

_DAY_SECONDS = 86_400
_SYMBOL_MAX = 32


def describe_terms(
    params: StudyParams,
    parties: StudyParties,
    spec: StudySpec,
    state: StudyState,
    token: StudyToken,
) -> Iterator[str]:
    """Write a study's terms for people, a line at a time; amounts by its token's decimals."""
    decimals = token.decimals()
    yield (
        f"  rule         {spec.aggregation.rule} of at least {params.min_sites} sites, "
        f"coordinates of an update up to {update_bound(params, spec):g}"
    )
    if params.rule in PROVABLE_SITES:
        yield (
            f"               {state.site_count} admitted; in a round of more than "
            f"{PROVABLE_SITES[params.rule]:,} it cannot be proven that "
            f"{unprovable_words(params.rule)} is wrong"
        )
    yield (
        f"  rewards      {tokens_of(params.reward_per_round, decimals)} tokens a round by "
        f"{spec.rewards.scoring}, {tokens_of(state.funded, decimals)} paid in"
    )
    yield f"  token        {params.token}, {_token(token)}"
    yield f"  sponsor      {params.sponsor}"
    active = "none before the study is opened" if state.head == 0 else state.coordinator
    yield f"  active       {active}"
    for place, address in enumerate(parties.coordinators):
        role = f"standby {place}" if place else "first"
        yield f"  {'' if place else 'coordinators':12} {address}, {role}"
    yield f"               each with a bond of {tokens_of(params.bond, decimals)} tokens"
    if params.closing_fee:
        fee = tokens_of(params.closing_fee, decimals)
        yield f"               paid {fee} tokens for each final round"
    for place, address in enumerate(parties.auditors or ["none"]):
        yield f"  {'' if place else 'auditors':12} {address}"
    if params.attesting_fee:
        fee = tokens_of(params.attesting_fee, decimals)
        yield f"               paid {fee} tokens for each round made final"
    deposit = tokens_of(params.deposit, decimals)
    yield f"  deposit      {deposit} tokens to challenge, count, demand or register a contribution"
    yield f"  recording    {params.recording.name.lower()}"
    locking = "locked on chain before the round is closed" if params.locked_cohort else "not locked"
    yield f"  cohort       {locking}"
    yield f"  final        {_finality(params)}"
    yield (
        f"  turns        {_lasting(params.round_seconds)} to close a round, "
        f"{_lasting(params.grace_seconds)} until the next standby takes over, "
        f"{_lasting(params.registration_seconds)} for sites to register, "
        f"{_lasting(params.demand_seconds)} to show demanded data"
    )
    yield (
        f"  deadline     {_deadline(params, state)} any account may end the study; what final "
        "rounds have earned stays payable"
    )


def _token(token: StudyToken) -> str:
    symbol, decimals = token.symbol(), token.decimals()
    # Its own word: any token can call itself like another.
    named = "without a symbol" if symbol is None else f"calls itself {_quoted(symbol)}"
    return f"{named}, {decimals} decimals"


def _quoted(symbol: str) -> str:
    shown = visible(symbol[:_SYMBOL_MAX]).encode("ascii", "backslashreplace").decode("ascii")
    return f'"{shown}"' if len(symbol) <= _SYMBOL_MAX else f'"{shown}"...'


def _finality(params: StudyParams) -> str:
    by_time = f"a closed round is final after {_lasting(params.challenge_seconds)}"
    if not params.auditor_quorum:
        return f"{by_time}; attestations do not count"
    quorum = params.auditor_quorum
    attested = "1 auditor has" if quorum == 1 else f"{quorum} auditors have"
    return f"{by_time}, or after {_lasting(params.objection_seconds)} once {attested} attested it"


def _deadline(params: StudyParams, state: StudyState) -> str:
    if state.deadline:
        return f"from {datetime.fromtimestamp(state.deadline, UTC):%Y-%m-%d %H:%M} UTC on"
    return f"{_lasting(params.lifetime_seconds)} after the study opens"


def _lasting(seconds: int) -> str:
    days = f" ({seconds / _DAY_SECONDS:,.4g} days)" if seconds > _DAY_SECONDS else ""
    return f"{seconds:,} s{days}"
