"""A site's own table, as its guard reads it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wardround.learning.datasets.table import SiteData, Table, load_table
from wardround.learning.errors import DataError, no_rows, no_table
from wardround.learning.privacy.accountant import PrivacyAccount, mechanism_of
from wardround.learning.solvable import EPSILON_MAX, Solvability, solvable
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import StudyParams
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal, RefusedForNow
from wardround_client.guard.approvals import Approval
from wardround_client.settings import HomeSettings, PolicyTable, PreparedTables
from wardround_client.sources.base import Place
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import load_site_data


@dataclass(frozen=True)
class TableFacts:
    """What the guard keeps of a table: counts, and a digest by which the same rows are known.

    Attributes:
        examples: training rows.
        tests: rows to measure on.
        rows: SHA-256 of the training rows, in hexadecimal.
    """

    examples: int
    tests: int
    rows: str


def load_home_data(
    folder: Path, settings: HomeSettings, environment: Mapping[str, str]
) -> SiteData:
    """Read a site's training and test rows; a database's password is in the environment.

    Raises:
        SourceError: the table does not fit its schema, or cannot be reached.
        DataError: it has no rows, or a prepared one is damaged or exceeds its range.
    """
    data = settings.data
    if isinstance(data, PreparedTables):
        train, test = (_prepared(folder / path, data.group) for path in data.paths)
        found = SiteData(data.name, train, test)
        for what, table in (("the training table", found.train), ("the test table", found.test)):
            if not len(table):
                raise no_rows(what)
            if data.range is not None:
                table.check_range(*data.range)
        return found
    return load_site_data(data, Place(folder, environment))


def _prepared(path: Path, group: str | None) -> Table:
    table = load_table(path)
    if group is None:
        return replace(table, groups=None)
    if table.groups is None:
        raise no_table(
            str(path), f'no array groups, and [data] group = "{group}" says who is whose'
        )
    return table


def read_tables(folder: Path, settings: HomeSettings, environment: Mapping[str, str]) -> SiteData:
    """Read a site's tables for the guard.

    Raises:
        RefusedForNow: ``table-unusable``; gives the reason, without a value of a row.
    """
    try:
        return load_home_data(folder, settings, environment)
    except (SourceError, DataError) as error:
        words = f"the site's table cannot be used: {error}"
        raise RefusedForNow("table-unusable", words) from None


def facts_of(data: SiteData) -> TableFacts:
    """Keep nothing of a table but facts."""
    digest = hashlib.sha256(data.train.features.tobytes())
    digest.update(data.train.labels.tobytes())
    return TableFacts(len(data.train), len(data.test), digest.hexdigest())


def epsilon_ahead(
    spec: StudySpec, train: Table, policy: PolicyTable, booked: float = 0.0
) -> float | None:
    """Bound the epsilon to which a whole study may bring the patient who gives most.

    Args:
        booked: what the study has cost so far: rounds that are repeated cost more than was planned.
    Returns:
        With one replaced, at the study's delta: of all rounds, or the limit of study or policy at
        which the guard stops before. None of a study without privacy.
    """
    privacy = spec.privacy
    if privacy is None:
        return None
    units = len(train) if privacy.unit == "row" else train.person_count
    most = max(Counter(train.people).values())
    round_of_one = mechanism_of(spec.training, privacy, units).of_person(most)
    steps = round_of_one.steps * spec.study.rounds
    whole = PrivacyAccount(mechanisms=[round_of_one.model_copy(update={"steps": steps})])
    limits = (one for one in (privacy.target_epsilon, policy.max_epsilon) if one is not None)
    return min(max(booked, whole.epsilon(privacy.delta)), *limits, math.inf)


def solvability_of(
    spec: StudySpec, params: StudyParams, train: Table, policy: PolicyTable, booked: float = 0.0
) -> Solvability:
    """Compare what a study publishes of a site with the site's training rows."""
    return solvable(
        spec,
        parameters=params.parameter_count,
        rows=len(train),
        features=math.prod(train.features.shape[1:]),
        epsilon=epsilon_ahead(spec, train, policy, booked),
        losses="train_loss" in policy.metrics,
    )


def check_unsolvable(
    spec: StudySpec, params: StudyParams, train: Table, policy: PolicyTable, booked: float = 0.0
) -> None:
    """Refuse a study whose readers can solve for these rows, unless the policy accepts it.

    Args:
        booked: epsilon that the study has cost so far.
    Raises:
        Refusal: ``rows-solvable``; names the key of the policy that accepts the study.
    """
    found = solvability_of(spec, params, train, policy, booked)
    if found.suffices and not policy.accepts_solvable(spec, params.study_id):
        raise Refusal(
            "rows-solvable",
            f"{found.explanation} Ask the sponsor for a private study without code of its own, "
            f"of epsilon {EPSILON_MAX:g} at most; or "
            f'accept it by name: [policy] accept_solvable = ["{spec.study.name}"] in site.toml.',
        )


def check_grown(approval: Approval, train: Table) -> None:
    """Refuse a table that has lost more than half of its rows, or people, since an approval.

    Raises:
        Refusal: ``table-changed``.
    """
    now, then = (len(train), train.person_count), (approval.rows, approval.people)
    for left, had, what in zip(now, then, ("rows", "people"), strict=True):
        if had is not None and 2 * left < had:
            raise Refusal(
                "table-changed",
                f"the training table has {left:,} {what}, and had {had:,} when study "
                f"{hex_of(approval.study)} was approved: where that is right, approve it again.",
            )
