"""A study's specification: one TOML file in, one canonical digest out.

Everything that decides a model is in it: a reader who has the file and the digest on chain
knows what is learnt, how, and what it pays. Durations in seconds, amounts in the token's
smallest unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from wardround.protocol.canonical import canonical_digest
from wardround.protocol.commitments import names_of
from wardround.protocol.documents import Form, parse_document, parse_toml, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import Digest, Root
from wardround.protocol.layout import Layout
from wardround.protocol.model import ModelSpec, StudyFiles
from wardround.protocol.record import Recording, RuleId, ScoringId, StudyParams
from wardround.protocol.rules import Rule
from wardround.protocol.whole_evidence import PROVABLE_SITES, is_unprovable

_SECONDS_MAX = 2**32 - 1
#: A turn lasts at least a block of Ethereum. All minimums are the contract's.
_TurnSeconds = Annotated[int, Field(ge=12, le=_SECONDS_MAX)]
#: Time for a program to object to a closed round, or to show demanded data.
_AnswerSeconds = Annotated[int, Field(ge=600, le=_SECONDS_MAX)]
#: Hashed in place of `[chain]`, which changes no model. These are the defaults that recorded models
#: were made with, so their seeds remain the same.
_ANY_TERMS = {
    "recording": "full",
    "bond": "0",
    "challenge_seconds": 86_400,
    "round_seconds": 3_600,
    "grace_seconds": 600,
    "demand_seconds": 21_600,
    "auditor_quorum": 0,
}
#: Decimal text, because JSON numbers end at 2**53 and token amounts do not.
Amount = Annotated[
    str, BeforeValidator(lambda v: str(v) if type(v) is int else v), Field(pattern=r"^[0-9]{1,29}$")
]
#: Of the amounts that are defaults, as they are written here.
_DEFAULT_DECIMALS = 18
RuleName = Literal["mean", "median", "trimmed_mean", "sum", "clipped_mean", "multi_krum"]
ScoringName = Literal["examples", "projection"]
_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


FormT = TypeVar("FormT", bound=Form)


class StudyTable(Form):
    """``[study]``: its name, its length and the seed of everything random."""

    name: Annotated[str, Field(pattern=_NAME)]
    rounds: Annotated[int, Field(ge=1, le=1_000_000)]
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


class TrainingSpec(Form):
    """``[training]``: what a site does between two rounds."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, le=1000)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    #: Rows a step; 0 takes all of them (full batch).
    batch_size: Annotated[int, Field(ge=0)] = 32
    local_steps: Annotated[int, Field(ge=1)] | None = None
    local_epochs: Annotated[int, Field(ge=1)] | None = None
    #: Training repeats bit for bit only with a fixed number of threads.
    threads: Annotated[int, Field(ge=1, le=256)] = 1

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.local_steps is None) == (self.local_epochs is None):
            raise ValueError("give exactly one of local_steps and local_epochs")
        if self.optimizer == "adam" and self.momentum:
            raise ValueError("adam has no momentum: leave it out")
        return self


class PrivacySpec(Form):
    """``[privacy]``: each site trains by DP-SGD, so that no single unit shows in its update.

    docs/privacy.md explains what that protects and what it does not.
    """

    #: What is drawn, clipped and counted as one: a row, or all rows of a patient.
    unit: Literal["row", "patient"] = "row"
    #: Standard deviation of the noise on a step's sum of gradients, in units of max_grad_norm.
    noise_multiplier: Annotated[FiniteFloat, Field(ge=0.1, le=1000)]
    #: A unit's gradient is clipped to this L2 norm.
    max_grad_norm: Annotated[FiniteFloat, Field(ge=1e-6, le=1e6)]
    #: The δ of the (ε, δ) budget; below 1 / units at every site.
    delta: Annotated[FiniteFloat, Field(ge=1e-30, le=1e-2)]
    #: A site trains no further than this, whatever rounds the study has left.
    target_epsilon: Annotated[FiniteFloat, Field(gt=0, le=1e6)] | None = None


class AggregationSpec(Form):
    """``[aggregation]``: the rule, and the fixed point it works in."""

    rule: RuleName = "mean"
    #: How many values ``trimmed_mean`` leaves out at each end.
    trim: Annotated[int, Field(ge=0, le=2**15)] = 0
    #: How many updates ``multi_krum`` leaves out: so many sites may be bad.
    hostile: Annotated[int, Field(ge=0, le=2**15)] = 0
    scale_bits: Annotated[int, Field(ge=0, le=30)] = 20
    #: No coordinate of an update may exceed this magnitude (real units).
    update_bound: Annotated[FiniteFloat, Field(gt=0)] = 16.0
    min_sites: Annotated[int, Field(ge=1, le=2**16 - 1)] = 2

    @property
    def update_limit(self) -> int:
        """Largest magnitude of an update's coordinate, in fixed point."""
        return int(min(self.update_bound * 2**self.scale_bits, 2**31 - 1))

    @model_validator(mode="after")
    def _lets_updates_through(self) -> AggregationSpec:
        if self.update_limit < 1:
            raise ValueError("update_bound is less than one step of the fixed point")
        return self

    @model_validator(mode="after")
    def _trims(self) -> AggregationSpec:
        if (self.rule == "trimmed_mean") != (self.trim > 0):
            raise ValueError("trim goes with the rule trimmed_mean, and is at least 1 there")
        if self.min_sites <= 2 * self.trim:
            raise ValueError(
                f"min_sites must exceed {2 * self.trim}, or nothing is left to average"
            )
        return self

    @model_validator(mode="after")
    def _leaves_out(self) -> AggregationSpec:
        if (self.rule == "multi_krum") != (self.hostile > 0):
            raise ValueError("hostile goes with the rule multi_krum, and is at least 1 there")
        if self.min_sites <= 2 * self.hostile:
            raise ValueError(f"min_sites must exceed {2 * self.hostile}: a minority may be hostile")
        return self

    @model_validator(mode="after")
    def _is_provable(self) -> AggregationSpec:
        rule = RuleId[self.rule.upper()]
        if is_unprovable(rule, self.min_sites):
            raise ValueError(
                f"min_sites is at most {PROVABLE_SITES[rule]} with the rule {self.rule}: no "
                "transaction holds the proofs of more"
            )
        return self


class RewardSpec(Form):
    """``[rewards]``: what a round pays and by what it is split."""

    per_round: Amount = "1000000000000000000"
    scoring: ScoringName = "examples"


class ChainSpec(Form):
    """``[chain]``: recording, bond, deposit, fees and clocks."""

    recording: Literal["full", "root"] = "full"
    #: Whether a round's cohort is locked on chain before the round is closed with it.
    locked_cohort: bool = False
    bond: Amount = "10000000000000000000"
    #: What a demand, a tally and a commitment to a challenge are made against.
    deposit: Amount = "1000000000000000000"
    #: Of each final round, to who closed it, and to the auditors who made it final.
    closing_fee: Amount = "0"
    attesting_fee: Amount = "0"
    challenge_seconds: Annotated[int, Field(ge=3_600, le=_SECONDS_MAX)] = 86_400
    objection_seconds: _AnswerSeconds = 3_600
    #: A coordinator may have to wait for demanded bytes within it: see `check_turns`.
    round_seconds: _TurnSeconds = 28_800
    grace_seconds: _TurnSeconds = 600
    #: How long a site can register a contribution, from the opening of its round on.
    registration_seconds: _TurnSeconds = Field(
        default_factory=lambda given: min(600, given["round_seconds"])
    )
    demand_seconds: _AnswerSeconds = 21_600
    #: From the opening on; afterwards any account may end the study.
    lifetime_seconds: _TurnSeconds = 31_536_000
    auditor_quorum: Annotated[int, Field(ge=0, le=2**16 - 1)] = 0

    @field_validator("bond", "deposit")
    @classmethod
    def _is_positive(cls, amount: Amount) -> Amount:
        if int(amount) == 0:
            raise ValueError("it is at least 1")
        return amount

    @model_validator(mode="after")
    def _fit_together(self) -> ChainSpec:
        if self.objection_seconds > self.challenge_seconds:
            raise ValueError("objection_seconds is at most challenge_seconds")
        if self.registration_seconds > self.round_seconds:
            raise ValueError("registration_seconds is at most round_seconds")
        # Or money would stay locked long after the study's deadline.
        for window in ("challenge_seconds", "round_seconds", "grace_seconds", "demand_seconds"):
            if self.lifetime_seconds < getattr(self, window):
                raise ValueError(f"lifetime_seconds is at least {window}")
        return self


class StudySpec(Form):
    """One federated training job, complete.

    Its digest covers the study's own files by their digests; the files themselves go along where
    they are at hand (`with_files`).
    """

    study: StudyTable
    model: ModelSpec
    training: TrainingSpec
    #: None: sites train without record-level privacy.
    privacy: PrivacySpec | None = None
    aggregation: AggregationSpec = AggregationSpec()
    rewards: RewardSpec = RewardSpec()
    chain: ChainSpec = ChainSpec()
    _files: StudyFiles = PrivateAttr(default_factory=dict)

    @field_validator("rewards")
    @classmethod
    def _scores_what_the_rule_adds_up(
        cls, rewards: RewardSpec, known: ValidationInfo
    ) -> RewardSpec:
        aggregation = known.data.get("aggregation")
        weighs = aggregation is None or aggregation.rule in ("mean", "clipped_mean")
        if rewards.scoring == "projection" and not weighs:
            raise ValueError("scoring projection goes with the rules mean and clipped_mean")
        return rewards

    @property
    def files(self) -> StudyFiles:
        """The study's own files, as far as `with_files` has added them."""
        return self._files

    def with_files(self, files: StudyFiles) -> Self:
        """Copy the specification together with the study's own files.

        Raises:
            StudyMismatch: a file is missing, or is not the one that the specification pins.
        """
        copy = self.model_copy()
        copy._files = self.model.check_files(files)
        return copy

    def pinned(self, layout: Layout) -> Self:
        """Copy the specification; one with an own model then pins its parameters' layout."""
        if not self.model.is_own:
            return self
        return self._changed(model=self.model.pinned(layout))

    def in_token(self, decimals: int) -> Self:
        """Copy the specification with the amounts that its file leaves out in whole tokens.

        Args:
            decimals: the token's, 0 to 24; the defaults as they are written have 18.
        """
        return self._changed(
            rewards=_in_token(self.rewards, ("per_round",), decimals),
            chain=_in_token(self.chain, ("bond", "deposit"), decimals),
        )

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the RFC 8785 form, pinned on chain. Comments and order do not matter."""
        return canonical_digest(self.document())

    @cached_property
    def training_digest(self) -> Digest:
        """SHA-256 of the same form with fixed terms on chain, which decide no model."""
        return canonical_digest({**self.document(), "chain": _ANY_TERMS})

    @property
    def rule(self) -> Rule:
        """The aggregation rule with its argument and bound."""
        rule = self.aggregation
        return Rule(RuleId[rule.rule.upper()], rule.trim or rule.hostile, rule.update_limit)

    @property
    def scoring(self) -> ScoringId:
        """The scoring rule."""
        return ScoringId[self.rewards.scoring.upper()]

    @property
    def commits(self) -> bool:
        """Whether its rounds commit to rows by name, so that settling one reads all updates."""
        return bool(names_of(self.rule.id, self.scoring))

    @property
    def reward_per_round(self) -> int:
        """What one round pays at most."""
        return int(self.rewards.per_round)

    @property
    def budget(self) -> int:
        """What all rounds together can pay to sites, coordinators and auditors."""
        a_round = self.reward_per_round + int(self.chain.closing_fee)
        return (a_round + int(self.chain.attesting_fee)) * self.study.rounds

    @property
    def update_limit(self) -> int:
        """Largest magnitude of an update's coordinate, in fixed point."""
        return self.aggregation.update_limit

    def _changed(self, **tables: Form) -> Self:
        copy = self.model_copy(update=tables)
        for taken in ("digest", "training_digest"):
            copy.__dict__.pop(taken, None)  # it was taken of the other document
        return copy

    def document(self) -> dict[str, Any]:
        """The JSON value of which the digest is taken, defaults written out.

        A study without ``[privacy]``, ``hostile`` or files of its own has no such keys, and one
        whose unit of privacy is a row does not name it, as before these existed.
        """
        document = self.model_dump(mode="json", exclude={"model"})
        if not self.aggregation.hostile:
            del document["aggregation"]["hostile"]
        if self.privacy is None:
            del document["privacy"]
        elif self.privacy.unit == "row":
            del document["privacy"]["unit"]
        return {**document, "model": self.model.document()}

    def params(
        self,
        *,
        sponsor: str,
        token: str,
        parameter_count: int,
        initial_model: Root,
        code: Digest,
        parties: bytes,
    ) -> StudyParams:
        """Write the parameters that the contract keeps.

        Args:
            sponsor: address that creates and funds the study.
            token: address of the ERC-20 that pays.
            parameter_count: P.
            initial_model: vector root of ``M_0``.
            code: digest of the application code.
            parties: `StudyParties.digest` of its coordinators and auditors.
        """
        return StudyParams(
            sponsor=sponsor,
            token=token,
            reward_per_round=self.reward_per_round,
            bond=int(self.chain.bond),
            deposit=int(self.chain.deposit),
            closing_fee=int(self.chain.closing_fee),
            attesting_fee=int(self.chain.attesting_fee),
            rounds=self.study.rounds,
            challenge_seconds=self.chain.challenge_seconds,
            objection_seconds=self.chain.objection_seconds,
            round_seconds=self.chain.round_seconds,
            grace_seconds=self.chain.grace_seconds,
            registration_seconds=self.chain.registration_seconds,
            demand_seconds=self.chain.demand_seconds,
            lifetime_seconds=self.chain.lifetime_seconds,
            min_sites=self.aggregation.min_sites,
            auditor_quorum=self.chain.auditor_quorum,
            recording=Recording[self.chain.recording.upper()],
            locked_cohort=self.chain.locked_cohort,
            rule=self.rule.id,
            rule_argument=self.rule.argument,
            scoring=self.scoring,
            parameter_count=parameter_count,
            update_bound=self.update_limit,
            initial_model=initial_model,
            specification=self.digest,
            code=code,
            parties=parties,
        )

    def expected(self, params: StudyParams) -> StudyParams:
        """Parameters that follow from this specification, for what a study's own add to it."""
        return self.params(
            sponsor=params.sponsor,
            token=params.token,
            parameter_count=params.parameter_count,
            initial_model=params.initial_model,
            code=params.code,
            parties=params.parties,
        )


def check_turns(chain: ChainSpec, source: object) -> None:
    """Refuse turns in which a coordinator cannot wait for the bytes of a registration.

    A site may register until the cut-off, and has `demand_seconds` to show what is then demanded. A
    turn that ends before goes to a standby, through no fault of the coordinator.

    Args:
        source: the study's file, for the error.
    Raises:
        SpecificationError: names both ways out.
    """
    waits = chain.registration_seconds + chain.demand_seconds
    if waits > chain.round_seconds:
        reason = (
            f"it is {chain.round_seconds}, and a coordinator may have to wait {waits} s, for "
            "registration_seconds and demand_seconds: raise it to that, or lower demand_seconds"
        )
        raise SpecificationError(source, reason, key="chain.round_seconds")


def _in_token(table: FormT, amounts: Iterable[str], decimals: int) -> FormT:
    left_out = [name for name in amounts if name not in table.model_fields_set]
    scaled = {
        name: str(int(getattr(table, name)) * 10**decimals // 10**_DEFAULT_DECIMALS)
        for name in left_out
    }
    return table.model_copy(update=scaled)


def load_study(text: str, source: str) -> StudySpec:
    """Read a study file; `wardround.host.study_file` reads the study's own files with it.

    Args:
        text: TOML.
        source: the file's name, for errors.
    Raises:
        SpecificationError: not TOML, an unknown key, or a value out of range; with its line.
    """
    return validate_form(StudySpec, parse_toml(text, source), text, source)


def parse_specification(data: bytes | memoryview) -> StudySpec:
    """Read a specification as it is stored and hashed; the caller has bounded its length.

    Raises:
        Malformed: not in RFC 8785 form, an unknown or missing key, or a value out of range.
    """
    return parse_document(StudySpec, data, "specification")
