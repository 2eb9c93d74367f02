"""The chain's facts about a study, independent of any round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.protocol.contribution import Domain
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround.protocol.record import StudyParams


@dataclass(frozen=True)
class Member:
    """A site as the contract admits it: its cap, and the rounds it belongs to."""

    max_weight: int
    since: int
    until: int

    def belongs(self, round_number: int) -> bool:
        """Whether the site may contribute to a round; ``until`` 0 means no end."""
        return self.since <= round_number and (self.until == 0 or round_number < self.until)


@dataclass(frozen=True)
class StudyFacts:
    """A study on chain, independent of any round."""

    domain: Domain
    params: StudyParams
    members: Mapping[SiteAddress, Member]

    @property
    def study(self) -> StudyId:
        """The study's identifier."""
        return self.params.study_id
