"""When a site's work is done: all studies that it approved have ended on the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wardround.audit.claims import earned_so_far
from wardround.chain.amounts import tokens_of
from wardround.chain.ward_round import WardRound
from wardround.host.screen import utc
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.store.study_store import open_study_store
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.chain import ChainReader
from wardround_client.guard.log import read_log
from wardround_client.home import Home
from wardround_client.settings import HomeSettings

_PAUSE_SECONDS = 5.0
#: How long the coordinator has to ask how the last model does on the site's test rows.
_MEASURE_SECONDS = 60.0


@dataclass
class StudyWatch:
    """Watches the studies that a site approved, until all have ended."""

    home: Home
    settings: HomeSettings
    site: SiteAddress
    _next: float = 0.0
    _over_since: dict[StudyId, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._approvals = Approvals(self.home.approvals, self.site)
        self._chain = ChainReader(self.settings.chain)

    def close(self) -> None:
        """Let go of the chain."""
        self._chain.close()

    def all_ended(self, now: float) -> bool:
        """Whether there is an approved study, and none has work left; asks now and then.

        Args:
            now: seconds that only grow.
        """
        if now < self._next:
            return False
        self._next = now + _PAUSE_SECONDS
        studies = self._approvals.studies()
        try:
            return bool(studies) and all(self._ended(study, now) for study in studies)
        except WardroundError:
            return False  # the chain is away, or has no such study

    def _ended(self, study: StudyId, now: float) -> bool:
        state = self._chain.ask(lambda ward: ward.study(study))
        if state.head <= state.rounds:
            # Again, where a challenge has overturned a round.
            self._over_since.pop(study, None)
            return False
        if now - self._over_since.setdefault(study, now) > _MEASURE_SECONDS:
            return True
        # The last model is measured when there is no round after it.
        last = (hex_of(study), state.head - 1)
        lines = (line for line in read_log(self.home.log) if line["kind"] == "released")
        return state.rounds == 0 or any((one["study"], one["round"]) == last for one in lines)

    def report(self, store: str | None) -> Iterator[str]:
        """What each study has earned the site, and the command that claims it.

        Args:
            store: content store that has the manifests; None where it is not known: then what the
                site has earned is not named.
        """
        for study in self._approvals.studies():
            try:
                yield from self._chain.ask(partial(self._account, study, store))
            except WardroundError as error:
                yield f"study {hex_of(study)} has ended; what it has earned cannot be read: {error}"

    def _account(self, study: StudyId, store: str | None, ward: WardRound) -> list[str]:
        closings = ward.closings(study)
        name, paid = f"study {hex_of(study)}", ward.claimed(study, self.site)
        if not closings:
            return [f"{name} has ended without a closed round: nothing was earned"]
        number, last = closings[-1]
        decimals = ward.decimals(study)
        earned = f"{tokens_of(paid, decimals)} tokens paid so far"
        if store is not None:
            with closing(open_study_store(store, Path(), ward, study)) as objects:
                total = earned_so_far(ward, study, objects)[self.site]
            earned = f"this site has earned {tokens_of(total, decimals)}, {earned}"
        lines = [f"{name} has ended after round {number}; {earned}"]
        if not ward.is_final(study, number, last):
            until = last.closed_at + ward.study(study).challenge_seconds
            when = utc(until)
            lines.append(f"  round {number} may be challenged until {when}; claim after that")
        command = f"wardround site claim {hex_of(study)} {self.home.folder}"
        return [*lines, f"  claim with: {command} --store {store or 'STORE'}"]
