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
        return solvability_of(self.spec, self.params, self.data.train)

    def lines(self) -> Iterator[str]:
        """Write it for people, a line at a time."""
        spec, policy = self.spec, self.policy
        rows, tests = len(self.data.train), len(self.data.test)
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
        yield f"  measures     {self._measures(tests)}"
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

    def _measures(self, tests: int) -> str:
        policy = self.policy
        if not policy.evaluate:
            return "none: your policy measures no models"
        if tests < policy.measure_rows:
            return f"none: {tests:,} test rows are fewer than your policy's {policy.measure_rows:,}"
        noise = policy.measure_noise
        each = f"with noise of deviation {noise:g} on each" if noise else "without noise"
        return (
            f"{2 * BINS} counts of your {tests:,} test rows, by what a model predicts and what is "
            f"true, for at most {policy.measured_models} models, {each}: to the coordinator, who "
            "may tell them to anyone"
        )

    def _readers(self) -> str:
        if self.store is not None and self.store.startswith(PREFIX):
            return (
                "Sponsor, coordinators and readers whom the sponsor grants access can read yours, "
                "as long as the coordinator keeps to this store"
            )
        return "Coordinators, auditors and every reader of the content store can read yours"
