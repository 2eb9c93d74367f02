"""What is tried in a study on chain alone: before it is open, and while its first round is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from eth_account import Account

from wardround.chain.blocks import Receipt
from wardround.protocol.inspection import chunk_leaf
from wardround.protocol.merkle import entries_root
from wardround.protocol.record import StudyParams, StudyParties
from wardround_simulations.cheated_studies import BOUND, EarlyStudy
from wardround_simulations.misdeeds import Misdeed, Moment, Remedy
from wardround_simulations.outcomes import Role
from wardround_simulations.stage import ROWS


def _creates_another(study: EarlyStudy, params: StudyParams) -> object:
    return study.ward.create_study(study.parties.sponsor, params, study.lists)


def _names_others(study: EarlyStudy) -> object:
    """Create one whose id names other coordinators than those that it shall have."""
    others = StudyParties.of([study.parties.standby.address], study.lists.auditors)
    return _creates_another(study, replace(study.params, parties=others.digest))


def _admits(study: EarlyStudy, site: str, cap: int) -> object:
    return study.ward.admit_site(study.parties.sponsor, study.study, site, site, cap)


def _registers_unsigned(study: EarlyStudy) -> None:
    study.register(replace(study.entry(study.sites[0]), signature=bytes(65)))


def _registers_twice(study: EarlyStudy) -> None:
    study.register(study.entry(study.sites[0]))
    study.register(study.entry(study.sites[0], coordinate=1))


def _closes(study: EarlyStudy, sites: int) -> object:
    """Close round 1 with the entries of some of its sites."""
    keys = sorted(study.sites, key=lambda site: bytes.fromhex(site.address[2:]))[:sites]
    entries = [study.entry(key) for key in keys]
    root = entries_root(entry.pack() for entry in entries)
    record = replace(study.last.record, contributions=root, count=sites, total_weight=sites)
    facts = study.ward.facts(study.study)
    return study.ward.close_round(study.parties.first, facts, 1, record, study.last, entries)


def _takes_deposit_at_once(study: EarlyStudy) -> None:
    study.register(study.entry(study.sites[1]))
    _closes_registration(study, 1)


def _hides_bytes(study: EarlyStudy) -> Remedy:
    """Show nothing of a registered update, which its coordinator then need not wait for."""
    first, site = study.parties.first, study.sites[2]
    study.register(study.entry(site))
    study.court.approve_deposit(first, study.study)
    where = (study.study, 1, study.last.commitment, site.address)
    study.court.demand_contribution(first, *where, (0, 1))
    study.chain.advance(study.params.demand_seconds + 1)
    return Remedy("closeContribution", _closes_registration(study, 2))


def _exceeds_bound(study: EarlyStudy) -> Remedy:
    """Register an update beyond the study's bound, which no round could hold."""
    first, entry = study.parties.first, study.entry(study.sites[3], coordinate=BOUND + 1)
    study.register(entry)
    shown = (chunk_leaf(study.update(BOUND + 1), 0), chunk_leaf(study.base, 0))
    return Remedy(
        "refuseContribution",
        study.court.refuse_contribution(first, study.study, 1, study.last, entry.pack(), 0, *shown),
    )


def _closes_registration(study: EarlyStudy, site: int) -> Receipt | None:
    where = (study.study, 1, study.last.commitment, study.sites[site].address)
    return study.court.close_contribution(study.parties.first, *where)


def _pays_itself(study: EarlyStudy) -> object:
    sponsor = study.parties.sponsor
    return study.ward.change_payout(sponsor, study.study, study.sites[0].address, sponsor.address)


def _abandons(study: EarlyStudy) -> Remedy | None:
    """The sponsor removes all sites and is gone: after the deadline any account ends the study."""
    left = study.another(f"abandoned {study.params.specification.hex()}")
    for site in left.sites:
        left.ward.remove_site(left.parties.sponsor, left.study, site.address)
    left.chain.advance(left.params.lifetime_seconds)
    receipt = left.ward.end_study(left.parties.auditor, left.study)
    left.settle()
    return Remedy("endStudy", receipt) if left.is_right() else None


def _take_turns(study: EarlyStudy) -> Remedy:
    """Coordinators take over from each other as soon as each may, and close nothing."""
    first, standby, params = study.parties.first, study.parties.standby, study.params
    for active in (standby, first, standby):
        study.chain.advance(params.round_seconds + params.grace_seconds)
        study.ward.take_over(active, study.study)
    return Remedy("endStudy", study.ward.end_study(study.parties.sponsor, study.study))


_coordinator = partial(Misdeed, Role.COORDINATOR)
_site = partial(Misdeed, Role.SITE)
_sponsor = partial(Misdeed, Role.SPONSOR)

EARLY: tuple[Moment[EarlyStudy], ...] = (
    Moment(
        EarlyStudy.create,
        (
            _sponsor(
                "asks for no bond",
                "WardRound_ParameterInvalid",
                lambda it: _creates_another(it, replace(it.params, bond=0)),
            ),
            _sponsor(
                "leaves no time to challenge",
                "WardRound_ParameterInvalid",
                lambda it: _creates_another(
                    it, replace(it.params, challenge_seconds=0, objection_seconds=0)
                ),
            ),
            _sponsor("names other coordinators", "WardRound_PartiesDiffer", _names_others),
            _sponsor(
                "opens it unpaid",
                "WardRound_Underfunded",
                lambda it: it.ward.open_study(it.parties.sponsor, it.study),
            ),
        ),
    ),
    Moment(
        EarlyStudy.pay,
        (
            _sponsor(
                "opens it with too few sites",
                "WardRound_TooFewSites",
                lambda it: it.ward.open_study(it.parties.sponsor, it.study),
            ),
        ),
    ),
    Moment(
        EarlyStudy.admit,
        (
            _sponsor(
                "opens it without a bond",
                "WardRound_NotBonded",
                lambda it: it.ward.open_study(it.parties.sponsor, it.study),
            ),
            _sponsor(
                "admits caps that fit no round",
                "WardRound_CapsTooHigh",
                lambda it: _admits(it, Account.create().address, 2**31 - 1),
            ),
            _sponsor(
                "raises a site's cap",
                "WardRound_SiteExists",
                lambda it: _admits(it, it.sites[0].address, 2 * ROWS),
            ),
        ),
    ),
    Moment(
        EarlyStudy.begin,
        (
            _site(
                "registers above its cap",
                "WardRound_WeightOutOfRange",
                lambda it: it.register(it.entry(it.sites[0], weight=ROWS + 1)),
            ),
            _site("registers unsigned", "WardRound_SignatureInvalid", _registers_unsigned),
            _site(
                "registers after its removal",
                "WardRound_NotMember",
                lambda it: it.register(it.entry(it.removed)),
            ),
            _site(
                "registers for a later round",
                "WardRound_RoundNotOpen",
                lambda it: it.register(it.entry(it.sites[0]), 2),
            ),
            _site("registers twice", "WardRound_AlreadyRegistered", _registers_twice),
            _site("takes its deposit at once", "Court_NothingDue", _takes_deposit_at_once),
            _site("registers beyond the bound", "refuseContribution", _exceeds_bound),
            _coordinator(
                "takes over before its turn",
                "WardRound_TooEarly",
                lambda it: it.ward.take_over(it.parties.standby, it.study),
            ),
            _coordinator(
                "closes with too few sites", "WardRound_TooFewSites", lambda it: _closes(it, 1)
            ),
            _coordinator(
                "closes before a site can register",
                "WardRound_RegistrationOpen",
                lambda it: _closes(it, len(it.sites) - 1),
            ),
            _sponsor(
                "ends a study that runs",
                "WardRound_TooEarly",
                lambda it: it.ward.end_study(it.parties.sponsor, it.study),
            ),
            _sponsor("has a site's reward paid to itself", "WardRound_NotPayout", _pays_itself),
            _sponsor(
                "takes a coordinator's bond",
                "WardRound_NotBonded",
                lambda it: it.ward.release_bond(it.parties.sponsor, it.study, it.last),
            ),
            # Its time to show them is longer than that to register.
            _site("hides what it registered", "closeContribution", _hides_bytes),
        ),
    ),
    Moment(
        EarlyStudy.pass_cut_off,
        (
            _site(
                "registers after the cut-off",
                "WardRound_RegistrationOver",
                lambda it: it.register(it.entry(it.sites[0])),
            ),
            _sponsor("abandons it with all money", "endStudy", _abandons),
            _coordinator("takes turns, closes nothing", "endStudy", _take_turns),
        ),
    ),
)
