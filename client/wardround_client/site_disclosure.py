"""Who can learn what of a site's rows in a study, in plain words, before the site joins it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from wardround.learning.datasets.table import SiteData
from wardround.learning.privacy.accountant import forecast
from wardround.learning.solvable import Solvability, solvable
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.record import StudyParams
from wardround.protocol.study import StudySpec
from wardround.store.study_store import PREFIX
from wardround_client.errors import Refusal
from wardround_client.settings import PolicyTable


@dataclass(frozen=True)
class Disclosure:
    """What decides who learns what.

    Attributes:
        spec: of the study.
        params: on chain.
        data: the site's rows.
        policy: the site's.
        store: where the study's objects are, as the administrator names it; None: not named.
    """

    spec: StudySpec
    params: StudyParams
    data: SiteData
    policy: PolicyTable
    store: str | None

    @property
    def solvability(self) -> Solvability:
        """Whether the study's updates suffice to solve for the site's rows."""
        return solvable(
            self.spec,
            parameters=self.params.parameter_count,
            rows=len(self.data.train),
            features=prod(self.data.train.features.shape[1:]),
        )

    def check(self) -> None:
        """Refuse a study whose readers can solve for the site's rows, unless the policy accepts it.

        Raises:
            Refusal: ``rows-solvable``; names the key of the policy that accepts the study.
        """
        found, study = self.solvability, self.params.study_id
        if found.suffices and not is_accepted(self.policy, self.spec, study):
            raise Refusal(
                "rows-solvable",
                f"nothing is approved: {found.explanation} Ask the sponsor for a private study, "
                "fewer rounds or a smaller model; or accept it by name: [policy] accept_solvable "
                f'= ["{self.spec.study.name}"] in site.toml.',
            )

    def lines(self) -> Iterator[str]:
        """Write it for people, a line at a time."""
        spec, policy = self.spec, self.policy
        rows, tests = len(self.data.train), len(self.data.test)
        yield "who can learn what of your rows"
        yield f"  updates      {self.params.parameter_count:,} numbers a round. {self._readers()}"
        yield f"  your rows    {self.solvability.explanation}"
        if self.solvability.suffices:
            yield "               your policy accepts that for this study by name"
        yield (
            f"  counts       that you train on {rows:,} rows: the report, for every reader; and "
            "your weight, on chain for ever"
        )
        if policy.evaluate and policy.metrics:
            names = ", ".join(policy.metrics)
            yield (
                f"  measures     {names} of each model, on your {tests:,} test rows: the "
                "coordinator, who publishes them"
            )
        else:
            yield "  measures     none of your test rows"
        if spec.privacy is None:
            yield "  one patient  no bound: whether a patient is among your rows may show"
        else:
            epsilon = forecast(spec, rows).epsilon(spec.privacy.delta)
            yield (
                f"  one patient  after all rounds epsilon {epsilon:.3g} at delta "
                f"{spec.privacy.delta:g}, for all who read the updates"
            )

    def _readers(self) -> str:
        if self.store is not None and self.store.startswith(PREFIX):
            return (
                "Sponsor, coordinators and whoever the sponsor grants reading can read yours, as "
                "long as the coordinator keeps to this store"
            )
        return "Coordinators, auditors and every reader of the content store can read yours"


def is_accepted(policy: PolicyTable, spec: StudySpec, study: StudyId) -> bool:
    """Whether a site's policy accepts, by name or id, that a study's readers can solve for rows."""
    return not {spec.study.name, hex_of(study)}.isdisjoint(policy.accept_solvable)
