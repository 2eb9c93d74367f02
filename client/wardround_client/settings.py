"""``site.toml``: a site's name, the chain it believes, its tables and its policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from wardround.protocol.documents import Form, decode_text, parse_toml, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.report import MetricName, WrittenAddress
from wardround.protocol.study import Amount, RuleName, ScoringName, StudySpec
from wardround_client.sources.schema import Column, Range
from wardround_client.sources.settings import DataSettings

SITE_FILE = "site.toml"
SITE_FILE_MAX_BYTES = 1 << 20

#: What the accountant takes, as `Mechanism.noise_multiplier`: its numbers are exact there.
_NOISE_MIN, _NOISE_MAX = 0.1, 1000.0

_Seconds = Annotated[int, Field(ge=0, lt=2**32)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class HomeSiteTable(Form):
    """``[site]`` of a hospital."""

    name: _Name
    keystore: str = "keystore.json"


class ChainTable(Form):
    """``[chain]``: the one contract on the one chain that the site believes."""

    #: They stand in for each other.
    endpoints: Annotated[list[str], Field(min_length=1, max_length=16)]
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: WrittenAddress

    @property
    def url(self) -> str:
        """All endpoints as one address, see `wardround.chain.chain.open_chain`."""
        return ",".join(self.endpoints)


class CoordinatorTable(Form):
    """``[coordinator]``: where the SuperLink is."""

    #: Host and port, or a URL.
    address: Annotated[str, Field(min_length=1, max_length=300)]
    #: Certificates that the SuperLink's must lead to; from the folder of ``site.toml``.
    root_certificate: str | None = None


class PolicyTable(Form):
    """``[policy]``: what the guard lets leave, whatever a study asks for."""

    #: Longest update (L2 norm, real units).
    max_update_norm: Annotated[FiniteFloat, Field(gt=0)] | None = None
    #: Numbers that may leave in reports, beside how many rows were used.
    metrics: list[MetricName] = Field(default=["train_loss"])
    #: Whether models are measured on the site's test rows.
    evaluate: bool = True
    #: Rows are stated, and weigh, in multiples of this.
    weight_step: Annotated[int, Field(ge=1, le=10**6)] = 1
    #: Test rows, and of each class, below which no model is measured.
    measure_rows: Annotated[int, Field(ge=1, lt=2**31)] = 20
    measure_class_rows: Annotated[int, Field(ge=0, lt=2**31)] = 5
    #: Standard deviation of the noise on each count of test rows; 0 for rows that are no secret.
    measure_noise: FiniteFloat = 4.0
    #: Models of a study that are measured at most, its last one included.
    measured_models: Annotated[int, Field(ge=1, lt=2**31)] = 5
    #: Budget of the table over all studies; with it, only private studies are approved.
    max_epsilon: Annotated[FiniteFloat, Field(gt=0, le=1e6)] | None = None
    #: Chance with which that budget may fail.
    delta: Annotated[FiniteFloat, Field(ge=1e-30, le=1e-2)] = 1e-6
    #: Studies, by name or id, that are joined although their readers can solve for the rows.
    accept_solvable: list[Annotated[str, Field(max_length=66)]] = Field(default_factory=list)
    #: Coordinators, auditors, tokens, recordings, rules and scorings of the studies that are
    #: joined; empty accepts any.
    coordinators: list[WrittenAddress] = Field(default_factory=list)
    auditors: list[WrittenAddress] = Field(default_factory=list)
    tokens: list[WrittenAddress] = Field(default_factory=list)
    recording: list[Literal["full", "root"]] = Field(default_factory=list)
    rules: list[RuleName] = Field(default_factory=list)
    scorings: list[ScoringName] = Field(default_factory=list)
    #: Fewest attestations that make a round of such a study final before its challenge window ends.
    min_auditor_quorum: Annotated[int, Field(ge=0, lt=2**16)] = 0
    #: Their shortest and longest windows, and how long they may run.
    min_challenge_seconds: _Seconds = 0
    min_objection_seconds: _Seconds = 0
    min_round_seconds: _Seconds = 0
    min_grace_seconds: _Seconds = 0
    min_registration_seconds: _Seconds = 0
    min_demand_seconds: _Seconds = 0
    max_challenge_seconds: _Seconds | None = None
    max_round_seconds: _Seconds | None = None
    max_grace_seconds: _Seconds | None = None
    max_demand_seconds: _Seconds | None = None
    max_lifetime_seconds: _Seconds | None = None
    #: Least of a coordinator's bond, and of what a round pays to sites and to auditors, in the
    #: token's smallest unit.
    min_bond: Amount = "0"
    min_reward_per_round: Amount = "0"
    min_attesting_fee: Amount = "0"
    #: Most of what it pays to its coordinator, and of what a challenger pays in.
    max_closing_fee: Amount | None = None
    max_deposit: Amount | None = None
    #: Largest bound on a coordinate of an update (real units).
    max_update_bound: Annotated[FiniteFloat, Field(gt=0)] | None = None
    #: Whether training needs a sandbox; "none" runs a study's code with all that this user may do.
    sandbox: Literal["required", "none"] = "required"
    #: Memory that one job of a study may take, in GiB.
    trainer_memory_gib: Annotated[int, Field(ge=1, le=65_536)] = 8

    @field_validator("measure_noise")
    @classmethod
    def _is_accounted_for(cls, noise: float) -> float:
        if noise != 0 and not _NOISE_MIN <= noise <= _NOISE_MAX:
            raise ValueError(f"must be 0, or {_NOISE_MIN:g} to {_NOISE_MAX:g}")
        return noise

    def accepts_solvable(self, spec: StudySpec, study: StudyId) -> bool:
        """Whether a study is accepted, by name or id, although its readers can solve for rows."""
        return not {spec.study.name, hex_of(study)}.isdisjoint(self.accept_solvable)


class SiteTerms(Form):
    """What a site's key must sign before it counts: its policy, and which column names patients."""

    policy: PolicyTable
    #: ``[data] group``; None where it names none.
    group: str | None


class PreparedTables(Form):
    """``[data]`` of a site whose tables are prepared already, as ``.npz``."""

    name: _Name
    train: str
    test: str
    #: Of every feature, whatever the rows are; private studies need it.
    range: Range | None = None
    #: Which column the archives' ``groups`` were made from. Without it they are not used: no file
    #: chooses whose account is charged.
    group: Column | None = None

    @property
    def paths(self) -> list[str]:
        """The files of the tables."""
        return [self.train, self.test]


class HomeSettings(Form):
    """A hospital's settings; relative paths start at the folder of the file."""

    site: HomeSiteTable
    chain: ChainTable
    coordinator: CoordinatorTable | None = None
    #: Coordinators that may take over; the site answers whichever asks.
    standby: Annotated[list[CoordinatorTable], Field(max_length=16)] = Field(default_factory=list)
    data: DataSettings | PreparedTables
    policy: PolicyTable = PolicyTable()

    @property
    def terms(self) -> SiteTerms:
        """The part that needs a signature."""
        return SiteTerms(policy=self.policy, group=self.data.group)

    def under(self, terms: SiteTerms) -> HomeSettings:
        """The same with other terms."""
        data = self.data.model_copy(update={"group": terms.group})
        return self.model_copy(update={"data": data, "policy": terms.policy})


class _WithSource(HomeSettings):
    data: DataSettings


class _WithTables(HomeSettings):
    data: PreparedTables


def load_home_settings(folder: Path) -> HomeSettings:
    """Read a hospital's settings.

    Raises:
        SpecificationError: not TOML, an unknown key or a bad value; with its line.
    """
    path = folder / SITE_FILE
    return parse_home_settings(_text(path), path)


def parse_home_settings(text: str, path: Path) -> HomeSettings:
    """Read a hospital's settings from their text; the path is for errors.

    Raises:
        SpecificationError: not TOML, an unknown key or a bad value; with its line.
    """
    value = parse_toml(text, str(path))
    data = value.get("data")
    # Choose the form before validating, so that an error is about the kind of table that was meant.
    prepared = isinstance(data, dict) and "train" in data and "source" not in data
    kind: type[HomeSettings] = _WithTables if prepared else _WithSource
    return validate_form(kind, value, text, str(path))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(SITE_FILE_MAX_BYTES + 1)
    if len(data) > SITE_FILE_MAX_BYTES:
        raise SpecificationError(path, f"it is longer than {SITE_FILE_MAX_BYTES} bytes")
    return decode_text(data, str(path))
