"""Who can learn what of a site's rows in a study, in plain words, before the site joins it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wardround.learning.datasets.table import SiteData
from wardround.learning.solvable import Solvability
from wardround.protocol.messages import BINS
from wardround.protocol.record import StudyParams
from wardround.protocol.study import StudySpec
from wardround.store.study_store import PREFIX
from wardround_client.guard.measuring import cost_of, too_few
from wardround_client.guard.tables import solvability_of
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
        return solvability_of(self.spec, self.params, self.data.train, self.policy)

    def lines(self) -> Iterator[str]:
        """Write it for people, a line at a time."""
        spec, policy = self.spec, self.policy
        rows = len(self.data.train)
        yield "who can learn what of your rows"
        yield f"  updates      {self.params.parameter_count:,} numbers a round. {self._readers()}"
        yield f"  your rows    {self.solvability.explanation}"
        if self.solvability.suffices:
            yield "               your policy accepts that for this study by name"
        step = policy.weight_step
        to_step = "" if step == 1 else f", stated in steps of {step:,}"
        yield (
            f"  counts       that you train on {rows:,} rows{to_step}: in each report, for every "
            "reader of it, and as your weight on chain for ever"
        )
        yield from self._measures()
        if spec.privacy is None:
            yield (
                "  one patient  no bound: a reader of your updates may find out that a patient is "
                "among your rows"
            )
        else:
            named = self.data.train.groups is not None
            whole = "one patient, with all rows of theirs" if named else "a patient who has one row"
            yield (
                f"  one patient  the epsilon above bounds what your updates tell of {whole}, to "
                "every reader, whatever else that reader knows"
            )
            if spec.model.is_own:
                yield (
                    "               only if the files above leave the trainer alone: they run "
                    "where rows are clipped and noise is added, and nothing outside checks either"
                )

    def _measures(self) -> Iterator[str]:
        policy, tests = self.policy, self.data.test
        if not policy.evaluate:
            yield "  measures     none: your policy measures no models"
            return
        if reason := too_few(tests, policy):
            yield f"  measures     none, of {len(tests):,} test rows: {reason}"
            return
        noise, models = policy.measure_noise, policy.measured_models
        each = f"with noise of deviation {noise:g} on each" if noise else "without noise"
        yield (
            f"  measures     {2 * BINS} counts of your {len(tests):,} test rows, by what a model "
            f"predicts and what is true, for at most {models} models, {each}: to the coordinator, "
            "who may tell them to anyone"
        )
        if noise:
            epsilon = cost_of(tests, policy, models).epsilon(policy.delta)
            bound = f"to epsilon {epsilon:.3g} at delta {policy.delta:g}, with one replaced"
        else:
            bound = "to no bound"
        yield f"               all of them bring the test patient who gives most {bound}"

    def _readers(self) -> str:
        if self.store is not None and self.store.startswith(PREFIX):
            return (
                "Sponsor, coordinators and readers whom the sponsor grants access can read yours, "
                "as long as the coordinator keeps to this store"
            )
        return "Coordinators, auditors and every reader of the content store can read yours"
