"""Let every party try every cheat, and see what catches it and who pays.

Each trial of a false round is a study of its own with three rounds. The first coordinator closes
round 1 honestly and cheats in round 2. An auditor that has the chain and the store, and nothing
else, looks after every step. The standby then closes round 2 again from the same contributions and
goes on to the end, where the study must have the model that honest coordinators give it. What
closes no false round is tried in two studies more (`wardround_simulations.misdeeds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.audit.auditor import Auditor
from wardround.audit.challenge import commit_to, send_challenge
from wardround.audit.collection import close_lapsed
from wardround.audit.notices import Notice, Powers
from wardround.chain.chain import Chain
from wardround.chain.contract import Call
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested
from wardround.chain.errors import ContractReverted
from wardround.chain.events import RoundClosed, Slashed
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.learning.initial import initial_model
from wardround.protocol.evidence import CALLDATA_LIMIT
from wardround.protocol.record import Recording, RuleId
from wardround.protocol.settlement import Vector
from wardround_simulations import cheats
from wardround_simulations.accusations import ACCUSATIONS, SMALL_STEPS_BYTES, Accused, accuse
from wardround_simulations.cheated_studies import EarlyStudy, LaterStudy
from wardround_simulations.cheats import Cheater
from wardround_simulations.early_misdeeds import EARLY
from wardround_simulations.later_misdeeds import LATER
from wardround_simulations.misdeeds import rehearse
from wardround_simulations.outcomes import Outcome, Role
from wardround_simulations.refusals import RecordedWard, gas_of_refusal
from wardround_simulations.stage import (
    BOND,
    CHALLENGE_SECONDS,
    DEMAND_SECONDS,
    DEPOSIT,
    GRACE_SECONDS,
    OBJECTION_SECONDS,
    REWARD,
    ROUND_SECONDS,
    Parties,
    Stage,
    specification,
)

ROUNDS, CHEATED_ROUND = 3, 2
#: How many things parties try besides false rounds.
MISDEEDS = sum(len(one.misdeeds) for one in EARLY) + sum(len(one.misdeeds) for one in LATER)
#: For closing a round; the auditors share twice as much.
FEE = 10**18


#: Rules by which updates become a model: a sum is of counts, and the sites here train.
RULES = tuple(rule for rule in RuleId if rule is not RuleId.SUM)


@dataclass(frozen=True)
class Cheat:
    """Something that a coordinator tries.

    Attributes:
        act: does it; in words, its docstring.
        caught_by: a challenge, or an error of the contract.
        at_once: the error by which the contract refuses it under full recording already, if it
            does.
        rule: of the study.
        registered: whether a site puts its contribution on chain first.
        limit_bytes: what the auditor puts into one transaction at most.
        recordings: under which it is tried.
        locked: whether the study locks its cohorts.
        role: whose cheat it is.
    """

    title: str
    act: Callable[[Cheater], None]
    caught_by: str
    at_once: str | None = None
    rule: RuleId = RuleId.MEAN
    registered: bool = False
    limit_bytes: int = CALLDATA_LIMIT
    recordings: tuple[Recording, ...] = tuple(Recording)
    locked: bool = False
    role: Role = Role.COORDINATOR

    def expected(self, recording: Recording) -> str:
        """What catches it."""
        return (recording is Recording.FULL and self.at_once) or self.caught_by


def _shift(title: str, **terms: Any) -> Cheat:
    return Cheat(title, cheats.shift_a_coordinate, "challengeCoordinate", **terms)


def _bad_entry(title: str, act: Callable[[Cheater], None], at_once: str) -> Cheat:
    return Cheat(title, act, "challengeEntry", f"WardRound_{at_once}")


def _scored(title: str, act: Callable[[Cheater], None], caught_by: str) -> Cheat:
    return Cheat(title, act, caught_by, rule=RuleId.CLIPPED_MEAN)


CHEATS = (
    _shift("shifts a coordinate by one"),
    _shift("the same, median", rule=RuleId.MEDIAN),
    _shift("the same, trimmed mean", rule=RuleId.TRIMMED_MEAN),
    _shift("the same, in several steps", rule=RuleId.TRIMMED_MEAN, limit_bytes=SMALL_STEPS_BYTES),
    _shift("the same, clipped mean", rule=RuleId.CLIPPED_MEAN),
    _shift("clipped, in several steps", rule=RuleId.CLIPPED_MEAN, limit_bytes=SMALL_STEPS_BYTES),
    _shift("the same, Multi-Krum", rule=RuleId.MULTI_KRUM),
    _shift("Multi-Krum, in several steps", rule=RuleId.MULTI_KRUM, limit_bytes=SMALL_STEPS_BYTES),
    _scored("misstates a norm", cheats.misstate_a_norm, "challengeNode"),
    Cheat(
        "misstates a distance",
        cheats.misstate_a_distance,
        "challengeNode",
        rule=RuleId.MULTI_KRUM,
    ),
    _scored("misstates a projection", cheats.misstate_a_projection, "challengeNode"),
    _scored("raises a score", cheats.raise_a_score, "challengeScore"),
    _scored("misstates the sum of scores", cheats.misstate_the_sum, "challengeScore"),
    _scored("withholds a sum tree", cheats.withhold_a_tree, "demandChunk"),
    Cheat(
        "selects another site",
        cheats.select_another_site,
        "challengeRank",
        rule=RuleId.MULTI_KRUM,
    ),
    Cheat("drops a registered site", cheats.drop_a_site, "challengeOmission", registered=True),
    Cheat(
        "demands what it leaves out",
        cheats.demand_what_it_leaves_out,
        "challengeOmission",
        registered=True,
    ),
    _bad_entry("invents a site", cheats.invent_a_site, "NotMember"),
    _bad_entry("replays a contribution", cheats.replay_an_old_contribution, "SignatureInvalid"),
    _bad_entry("inflates a weight", cheats.inflate_a_weight, "WeightOutOfRange"),
    Cheat(
        "counts a site twice",
        cheats.count_a_site_twice,
        "challengeOrder",
        "WardRound_EntriesUnsorted",
    ),
    Cheat(
        "states another weight",
        cheats.state_another_total,
        "challengeTotals",
        "WardRound_TotalWeightDiffers",
    ),
    _bad_entry("signs nothing", cheats.sign_nothing, "SignatureInvalid"),
    Cheat("withholds the model", cheats.withhold_the_model, "demandChunk"),
    Cheat("withholds an update", cheats.withhold_an_update, "demandChunk"),
    # With full recording the entries are on chain, so the manifest is not needed to read them.
    Cheat(
        "withholds the manifest",
        cheats.withhold_the_manifest,
        "demandChunk",
        recordings=(Recording.ROOT,),
    ),
    Cheat(
        "locks hidden entries",
        cheats.lock_hidden_entries,
        "demandChunk",
        recordings=(Recording.ROOT,),
        locked=True,
    ),
    Cheat("locks a hidden update", cheats.lock_a_hidden_update, "demandChunk", locked=True),
    Cheat(
        "locks without a registered site",
        cheats.lock_without_a_site,
        "challengeOmission",
        registered=True,
        locked=True,
    ),
    Cheat(
        "locks a wrong weight",
        cheats.lock_a_wrong_weight,
        "challengeEntry",
        "WardRound_WeightOutOfRange",
        locked=True,
    ),
    Cheat("locks beyond the bound", cheats.lock_beyond_the_bound, "challengeUpdate", locked=True),
    Cheat("locks twice", cheats.lock_twice, "WardRound_AlreadyLocked", locked=True),
    Cheat(
        "closes what it has not locked",
        cheats.close_what_is_not_locked,
        "WardRound_CohortDiffers",
        locked=True,
    ),
    Cheat("closes twice", cheats.close_twice, "WardRound_RoundNotOpen"),
    Cheat("closes after takeover", cheats.close_after_takeover, "WardRound_NotCoordinator"),
    Cheat(
        "attests a false round",
        cheats.attest_a_false_round,
        "challengeCoordinate",
        role=Role.AUDITOR,
    ),
)


class Trials:
    """All trials on one chain.

    Attributes:
        count: how many outcomes `run` gives.
    """

    count = len(Recording) * (len(RULES) + 1 + len(ACCUSATIONS) + 1 + MISDEEDS) + sum(
        len(cheat.recordings) for cheat in CHEATS
    )

    def __init__(self, chain: Chain, parties: Parties, folder: Path) -> None:
        """Deploy the contract and a token.

        Args:
            chain: a development chain, whose clock can be moved.
            parties: with money for gas.
            folder: for the studies' stores; each gets a folder of its own.
        """
        self.chain, self.parties, self._folder = chain, parties, folder
        studies = len(Recording) * (len(CHEATS) + len(RULES) + 5)
        # Twice, for fees, and what coordinators may need besides their bonds.
        supply = 2 * studies * (ROUNDS * REWARD + 2 * BOND)
        self._token = StudyToken.deploy(chain, parties.sponsor, supply)
        # For deposits.
        for one in (parties.auditor, parties.standby):
            self._token.transfer(parties.sponsor, one.address, 2 * BOND)
        self._ward = RecordedWard(chain, WardRound.deploy(chain, parties.sponsor).address)
        self._models: dict[RuleId, bytes] = {}

    def run(self) -> Iterator[Outcome]:
        """Run an honest study for each rule and recording, then every cheat under both."""
        for rule in RULES:
            for recording in Recording:
                yield self.honest(rule, recording)
        for cheat in CHEATS:
            for recording in cheat.recordings:
                yield self.trial(cheat, recording)
        for recording in Recording:
            yield self.copied(recording)
        for trials in (self.accusations, self.misdeeds):
            for pair in zip(*map(trials, Recording), strict=True):
                yield from pair

    def honest(self, rule: RuleId, recording: Recording) -> Outcome:
        """Run a study without cheating: there is nothing to overturn."""
        stage, auditor = self._open(f"honest-{rule.name.lower()}", rule, recording)
        notices: list[Notice] = []
        for number in range(1, ROUNDS + 1):
            if number == CHEATED_ROUND:
                self._register(stage)
            stage.close(self.parties.first)
            notices += auditor.step()
        notices += self._attested(auditor)
        last = self._ward.closed_rounds(stage.study)[-1].closing
        self._models.setdefault(rule, last.record.model)
        title = f"nothing ({rule.name.lower().replace('_', ' ')})"
        row = self._outcome(title, "", stage, auditor, notices, None)
        return replace(row, role=Role.NONE)

    def trial(self, cheat: Cheat, recording: Recording) -> Outcome:
        """One cheat in one study; `honest` has run for its rule."""
        name = cheat.act.__name__.replace("_", "-")
        name += "-in-steps" * (cheat.limit_bytes < CALLDATA_LIMIT)
        terms = {"locked_cohort": True} if cheat.locked else {}
        stage, auditor = self._open(name, cheat.rule, recording, cheat.limit_bytes, terms=terms)
        stage.close(self.parties.first)
        notices = auditor.step()
        if cheat.registered:
            self._register(stage)
        refusal, gas = None, 0
        try:
            cheat.act(Cheater(stage, self.parties.first))
        except ContractReverted as error:
            refusal, gas = error, gas_of_refusal(self.chain, *self._ward.sent[-1], error.name)
        notices += auditor.step()
        if any(notice.kind == "demanded" for notice in notices):
            self.chain.advance(DEMAND_SECONDS + 1)
            notices += auditor.step()
        self._take_over(stage)
        while self._ward.study(stage.study).head <= ROUNDS:
            stage.close(self._active(stage))
            notices += auditor.step()
        notices += self._attested(auditor)
        expected = cheat.expected(recording)
        row = self._outcome(cheat.title, expected, stage, auditor, notices, refusal)
        return replace(row, role=cheat.role, gas=gas or row.gas)

    def copied(self, recording: Recording) -> Outcome:
        """A coordinator's friend sees the auditor's proof and sends it first, to save the bond.

        The auditor had committed to it, so the copy overturns the round and earns nothing.
        """
        stage, auditor = self._open("copied", RuleId.MEAN, recording)
        stage.close(self.parties.first)
        notices = auditor.step()
        cheats.shift_a_coordinate(Cheater(stage, self.parties.first))
        contested, accused = self._contested(stage)
        evidence, friend = accused.coordinate(), self.parties.standby
        _, sent = commit_to(accused.court, self.parties.auditor, contested, evidence)
        accused.court.challenge(friend, contested, evidence)
        earned = self._ward.owed(stage.study, friend.address)
        notices += auditor.step()
        while self._ward.study(stage.study).head <= ROUNDS:
            stage.close(self._active(stage))
            notices += auditor.step()
        notices += self._attested(auditor)
        title, expected = "copies a proof", "commitChallenge"
        row = self._outcome(title, expected, stage, auditor, notices, None)
        gas = sum(receipt.gas_used for receipt in sent if receipt is not None)
        caught = "" if earned else expected
        return replace(row, role=Role.CHALLENGER, caught_by=caught, gas=gas)

    def accusations(self, recording: Recording) -> Iterator[Outcome]:
        """An honest study, and a standby that accuses its coordinator of everything."""
        # No auditors' quorum: every account may challenge until the window has passed.
        stage, auditor = self._open("accused", RuleId.MEAN, recording, quorum=0)
        for number in range(1, CHEATED_ROUND + 1):
            if number == CHEATED_ROUND:
                self._register(stage)
            stage.close(self.parties.first)
            auditor.step()
        contested, accused = self._contested(stage)
        court, accuser = accused.court, self.parties.standby
        found = {one: accuse(accused, accuser, one) for one in ACCUSATIONS}
        send_challenge(court, accuser, contested, accused.demand(), rule=stage.spec.rule)
        (answer,) = (notice for notice in auditor.step() if notice.kind == "answered")
        refusals = {
            one: Call(court.address, court.challenge_data(contested, one.evidence(accused)), "")
            for one in ACCUSATIONS
        }
        gas = {
            one: gas_of_refusal(self.chain, accuser.address, call, one.refused_with)
            for one, call in refusals.items()
        }
        stage.close(self.parties.first)
        self.chain.advance(2 * CHALLENGE_SECONDS)
        notices = auditor.step()
        # That of the steps in which it accused a right coordinate: the tally is left open.
        first = self.parties.first
        (lapsed,) = close_lapsed(court, first, stage.study, first.address)
        honest = self._outcome("", "", stage, auditor, notices, None)
        honest = replace(honest, role=Role.CHALLENGER)
        for one in ACCUSATIONS:
            row = replace(
                honest,
                tried=f"accuses: {one.title}",
                expected=one.refused_with,
                caught_by=found[one],
                gas=gas[one],
            )
            if one.limit_bytes < CALLDATA_LIMIT and lapsed.receipt is not None:
                row = replace(row, gas=lapsed.receipt.gas_used, forfeited=lapsed.amount)
            yield row
        yield replace(
            honest,
            tried="accuses: withheld data",
            expected="answerDemand",
            caught_by=str(answer.challenge),
            gas=answer.gas or 0,
            forfeited=DEPOSIT,
        )

    def misdeeds(self, recording: Recording) -> Iterator[Outcome]:
        """A whole study and a bare one, with what its parties try besides."""
        colleague = Account.create()
        fees = {"closing_fee": str(FEE), "attesting_fee": str(2 * FEE)}
        stage, auditor = self._open(
            "misdeeds", RuleId.MEAN, recording, quorum=2, auditors=[colleague], terms=fees
        )
        base = Vector.of(initial_model(stage.spec).values).data
        name = stage.spec.study.name
        bare = EarlyStudy(self._ward, self._token, self.parties, stage.params, name, base)
        outcomes = list(rehearse(LaterStudy(stage, auditor, colleague, ROUNDS), LATER))
        last = self._ward.last_closing(stage.study).record.model
        right = auditor.is_over() and last == self._models[RuleId.MEAN] and not auditor.breaches
        for one in outcomes:
            yield replace(one, ends_right=one.ends_right and right)
        yield from rehearse(bare, EARLY)

    # ---------------------------------------------------------------- steps

    def _contested(self, stage: Stage) -> tuple[Contested, Accused]:
        """The cheated round, just closed, and what it can be accused of."""
        previous, closed = (one.closing for one in self._ward.closed_rounds(stage.study))
        contested = Contested(stage.study, CHEATED_ROUND, closed, previous)
        count = stage.params.parameter_count
        court = Court(self._ward)
        return contested, Accused.of(court, contested, stage.spec.rule, count, stage.store)

    def _open(
        self,
        name: str,
        rule: RuleId,
        recording: Recording,
        limit_bytes: int = CALLDATA_LIMIT,
        quorum: int = 1,
        auditors: Sequence[LocalAccount] = (),
        terms: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[Stage, Auditor]:
        name = f"{name}-{rule.name.lower()}-{recording.name.lower()}".replace("_", "-")
        spec = specification(name, recording, rule, ROUNDS, quorum)
        spec = spec.model_copy(update={"chain": spec.chain.model_copy(update=terms)})
        # The standby is one, so that an auditor can be a cheater's friend.
        both = [self.parties.standby, *auditors]
        stage = Stage(self._ward, self._token, self.parties, spec, self._folder / name, both)
        powers = Powers(self.parties.auditor, challenge=True, answer=True, limit_bytes=limit_bytes)
        # The chain's own clock is moved, so wall-clock time is meaningless.
        return stage, Auditor(self._ward, stage.study, stage.store, powers, now=lambda: 0.0)

    def _register(self, stage: Stage) -> None:
        """Put a site's contribution on chain."""
        cheater = Cheater(stage, self.parties.first)
        position, entry = cheater.position, cheater.rows[1].entry
        sender = self.parties.auditor  # any account that pays for gas
        self._ward.contribute(sender, stage.study, position.round, position.previous, entry)

    def _take_over(self, stage: Stage) -> None:
        """Let the standby go on where a cheater was refused and does nothing any more."""
        state = self._ward.study(stage.study)
        if state.head == CHEATED_ROUND and state.coordinator == self.parties.first.address:
            self.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
            self._ward.take_over(self.parties.standby, stage.study)

    def _attested(self, auditor: Auditor) -> list[Notice]:
        """Let the auditor attest; before the objection time is over the contract would refuse."""
        self.chain.advance(OBJECTION_SECONDS)
        return auditor.step()

    def _active(self, stage: Stage) -> LocalAccount:
        active = self._ward.study(stage.study).coordinator
        both = (self.parties.first, self.parties.standby)
        return next(one for one in both if one.address == active)

    def _outcome(
        self,
        tried: str,
        expected: str,
        stage: Stage,
        auditor: Auditor,
        notices: list[Notice],
        refusal: ContractReverted | None,
    ) -> Outcome:
        events = self._ward.events(stage.study)
        closings = {event.round: event for event in events if isinstance(event, RoundClosed)}
        closer = closings[CHEATED_ROUND].closing.coordinator
        proven = [notice for notice in notices if notice.kind == "challenged"]
        breaches = [notice.words for notice in notices if notice.kind == "breach"]
        caught = refusal.name if refusal else ", ".join(str(one.challenge) for one in proven)
        model = closings[ROUNDS].closing.record.model
        return Outcome(
            role=Role.COORDINATOR,
            tried=tried,
            recording=stage.params.recording.name.lower(),
            caught_by=caught,
            expected=expected,
            gas=sum(one.gas or 0 for one in notices if one.kind in ("challenged", "demanded")),
            slashed=sum(one.reward + one.burnt for one in events if isinstance(one, Slashed)),
            forfeited=0,
            closed_by="first" if closer == self.parties.first.address else "standby",
            ends_right=auditor.is_over() and model == self._models[stage.params.rule],
            words="; ".join(breaches) or (str(refusal) if refusal else "all holds"),
        )
