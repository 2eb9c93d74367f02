"""What is tried in a study that runs to its end: with closed rounds, final rounds and money."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from eth_account import Account

from wardround.chain.court import NO_COORDINATE
from wardround.protocol.evidence import Demand, What
from wardround.protocol.inspection import chunk_leaf
from wardround_simulations.cheated_studies import LaterStudy
from wardround_simulations.misdeeds import Misdeed, Moment, Remedy
from wardround_simulations.outcomes import Role

#: How long the contract lets a commitment wait to be revealed.
REVEAL_SECONDS = 600


def _attests(study: LaterStudy, *signatures: tuple[str, bytes]) -> None:
    contested = study.contested
    where = (study.study, contested.round, contested.closing)
    study.ward.attest_as_listed(study.parties.auditor, *where, sorted(signatures))


def _attests_both(study: LaterStudy) -> None:
    _attests(study, study.signed(study.parties.auditor), study.signed(study.colleague))


def _attests_another_record(study: LaterStudy) -> None:
    contested = study.contested
    other = replace(contested.closing, closed_at=contested.closing.closed_at + 1)
    both = [study.signed(one, other.commitment) for one in (study.parties.auditor, study.colleague)]
    study.ward.attest_as_listed(
        study.parties.auditor, study.study, contested.round, other, sorted(both)
    )


def _signs_another_record(study: LaterStudy) -> None:
    _attests(study, study.signed(study.parties.auditor), study.signed(study.colleague, bytes(32)))


def _claims(study: LaterStudy, site: int, entry_of: int) -> object:
    earning = [study.earning(entry_of)]
    return study.ward.claim(study.parties.auditor, study.study, study.address(site), earning)


def _claims_twice(study: LaterStudy) -> None:
    _claims(study, 0, 0)
    _claims(study, 0, 0)


def _takes_fee(study: LaterStudy) -> object:
    return study.ward.claim_fee(study.parties.first, study.study, 1, study.last)


def _takes_fee_twice(study: LaterStudy) -> None:
    _takes_fee(study)
    _takes_fee(study)


def _takes_refund(study: LaterStudy) -> object:
    return study.ward.refund(study.parties.sponsor, study.study, study.last)


def _takes_earnings(study: LaterStudy) -> None:
    """Take back what no round has earned, and then ask for what the sites have not claimed."""
    _takes_refund(study)
    _takes_refund(study)


def _releases_twice(study: LaterStudy) -> None:
    for _ in range(2):
        study.ward.release_bond(study.parties.first, study.study, study.last)


def _removes_earner(study: LaterStudy) -> Remedy | None:
    """Remove a site once the last round is closed: what it has earned is paid all the same."""
    site = study.address(1)
    study.ward.remove_site(study.parties.sponsor, study.study, site)
    earnings = [study.earning(1, number) for number in range(1, study.rounds + 1)]
    before = study.token.balance_of(site)
    receipt = study.ward.claim(study.parties.auditor, study.study, site, earnings)
    due = sum(one.share(study.params.reward_per_round) for one in earnings)
    paid = study.token.balance_of(site) - before
    return Remedy("claim", receipt) if paid == due else None


def _demands(study: LaterStudy, chunk: int, *, pays: bool = True) -> Demand:
    accuser, demand = study.parties.standby, Demand(What.MODEL, chunk)
    if pays:
        study.court.approve_deposit(accuser, study.study)
    study.court.demand_chunk(accuser, study.contested, demand)
    return demand


def _closes_demand_at_once(study: LaterStudy) -> None:
    contested = study.contested
    identifier = study.court.demand_id(contested, _demands(study, 1))
    study.court.close_demand(study.parties.standby, identifier, contested.closing)


def _answers_itself(study: LaterStudy) -> Remedy:
    contested, manifest = study.contested, study.accused.manifest
    identifier = study.court.demand_id(contested, _demands(study, 2))
    shown = chunk_leaf(study.stage.store.get(manifest.model.cid), 2)
    receipt = study.court.answer_demand(study.parties.standby, identifier, contested.closing, shown)
    return Remedy("answerDemand", receipt)


def _never_reveals(study: LaterStudy) -> Remedy:
    accuser, contested = study.parties.standby, study.contested
    study.court.approve_deposit(accuser, study.study)
    study.court.commit_challenge(accuser, contested, bytes(32))
    study.chain.advance(REVEAL_SECONDS + 1)
    where = (study.study, contested.round, contested.closing, accuser.address, bytes(32))
    return Remedy("closeCommitment", study.court.close_commitment(study.parties.first, *where))


def _extends_tally_of_another(study: LaterStudy) -> None:
    owner, contested = study.parties.auditor, study.contested
    study.court.approve_deposit(owner, study.study)
    study.court.open_tally(owner, contested, None)
    tally = study.court.own_tally(owner.address, contested, NO_COORDINATE)
    assert tally is not None
    study.court.add_to_tally(study.parties.standby, tally, 0, study.accused.entries[0], b"")


def _leaves_tally_open(study: LaterStudy) -> Remedy:
    """Hold a round with a tally that counts nothing, until all windows are over."""
    accuser, contested = study.parties.standby, study.contested
    study.court.approve_deposit(accuser, study.study)
    study.court.open_tally(accuser, contested, None)
    tally = study.court.own_tally(accuser.address, contested, NO_COORDINATE)
    assert tally is not None
    study.end()
    closed = study.court.close_tally(study.parties.first, tally, contested.closing)
    return Remedy("closeTally", closed)


_auditor = partial(Misdeed, Role.AUDITOR)
_challenger = partial(Misdeed, Role.CHALLENGER)
_coordinator = partial(Misdeed, Role.COORDINATOR)
_site = partial(Misdeed, Role.SITE)
_sponsor = partial(Misdeed, Role.SPONSOR)

LATER: tuple[Moment[LaterStudy], ...] = (
    Moment(
        LaterStudy.close,
        (
            _auditor("attests before others can object", "WardRound_TooEarly", _attests_both),
            _site(
                "claims before the round is final",
                "WardRound_NotFinal",
                lambda it: _claims(it, 0, 0),
            ),
            _coordinator("claims its fee too early", "WardRound_NotFinal", _takes_fee),
            _coordinator(
                "takes its bond and goes",
                "WardRound_NotFinal",
                lambda it: it.ward.release_bond(it.parties.first, it.study, it.last),
            ),
            _coordinator(
                "overturns a rival's round itself",
                "WardRound_NotCourt",
                lambda it: it.ward.overturn(it.parties.standby, it.study, 1, it.last),
            ),
            _sponsor(
                "empties the study's escrow",
                "Escrow_NotWard",
                lambda it: it.escrow.pay(it.parties.sponsor, it.token.address),
            ),
            _sponsor("takes its money back too early", "WardRound_NotFinal", _takes_refund),
        ),
    ),
    Moment(
        LaterStudy.wait_for_objections,
        (
            _auditor(
                "attests what was not closed",
                "WardRound_CommitmentDiffers",
                _attests_another_record,
            ),
            _auditor("signs another record", "WardRound_AttestationInvalid", _signs_another_record),
            _auditor(
                "attests without a quorum",
                "WardRound_QuorumMissing",
                lambda it: _attests(it, it.signed(it.parties.auditor)),
            ),
            _auditor(
                "counts for two",
                "WardRound_AuditorsUnsorted",
                lambda it: _attests(it, *2 * [it.signed(it.parties.auditor)]),
            ),
            _auditor(
                "attests, and is none",
                "WardRound_NotAuditor",
                lambda it: _attests(it, *(it.signed(Account.create()) for _ in range(2))),
            ),
        ),
    ),
    Moment(
        LaterStudy.attest,
        (
            _auditor("attests again, for its fee", "WardRound_AlreadyFinal", _attests_both),
            _challenger(
                "accuses a final round",
                "Court_NotChallengeable",
                lambda it: it.court.challenge(it.parties.standby, it.contested, it.accused.entry()),
            ),
            _site(
                "claims another's entry", "WardRound_EntryNotIncluded", lambda it: _claims(it, 0, 1)
            ),
            _site("claims twice", "WardRound_AlreadyPaid", _claims_twice),
            _coordinator("claims its fee twice", "WardRound_NothingDue", _takes_fee_twice),
        ),
    ),
    Moment(
        LaterStudy.close_the_rest,
        (
            _challenger(
                "demands without a deposit",
                "ERC20InsufficientAllowance",
                lambda it: _demands(it, 1, pays=False),
            ),
            _challenger(
                "demands what cannot be there", "Court_TargetUnknown", lambda it: _demands(it, 99)
            ),
            _challenger("closes its demand at once", "Court_TooEarly", _closes_demand_at_once),
            _challenger(
                "demands the same again", "Court_AlreadyDemanded", lambda it: _demands(it, 1)
            ),
            _challenger("answers its own demand", "answerDemand", _answers_itself),
            _challenger("never reveals its challenge", "closeCommitment", _never_reveals),
            _challenger(
                "extends another's tally", "Court_TallyNotYours", _extends_tally_of_another
            ),
            _challenger("leaves a tally open", "closeTally", _leaves_tally_open),
        ),
    ),
    Moment(
        LaterStudy.end,
        (
            _sponsor("takes back what sites earned", "WardRound_NothingDue", _takes_earnings),
            _sponsor("removes a site that has earned", "claim", _removes_earner),
            _coordinator("takes its bond twice", "WardRound_NotBonded", _releases_twice),
        ),
    ),
)
