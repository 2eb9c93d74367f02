"""What comes of a cheat: what catches it, what it costs, and how the study ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """Who cheats."""

    NONE = "no party"
    COORDINATOR = "a coordinator"
    SITE = "a site"
    SPONSOR = "the sponsor"
    AUDITOR = "an auditor"
    CHALLENGER = "a challenger"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        role: who tried it.
        tried: what was tried.
        recording: ``full`` or ``root``.
        caught_by: what proved or settled it, or the error it was refused with; empty when it went
            unnoticed.
        expected: what should have caught it; empty where there is nothing to catch.
        gas: of everything that was sent to prove or settle it. Of a transaction that is refused,
            what it costs an account that sends it all the same.
        slashed: what the coordinator lost of its bond, in the token's smallest unit.
        forfeited: what the party that cheats lost of its deposits, in the token's smallest unit.
        closed_by: who closed the cheated round in the end, ``first`` or ``standby``; empty where no
            round was closed.
        ends_right: whether the study ended with the model that honest coordinators give it, or
            without a round, and with all money where it belongs.
        words: the auditor's findings, or the contract's error.
    """

    role: Role
    tried: str
    recording: str
    caught_by: str
    expected: str
    gas: int
    slashed: int
    forfeited: int
    closed_by: str
    ends_right: bool
    words: str

    @property
    def good(self) -> bool:
        """Caught as expected, and the study came to the right end."""
        return self.caught_by == self.expected and self.ends_right

    @property
    def paid_with(self) -> str:
        """What the cheat cost: a ``bond``, a ``deposit``, or ``gas`` alone; empty if nothing."""
        if self.slashed:
            return "bond"
        if self.forfeited:
            return "deposit"
        return "gas" if self.expected else ""

    def document(self) -> dict[str, Any]:
        """As a JSON value; amounts as decimal text."""
        amounts = {"slashed": str(self.slashed), "forfeited": str(self.forfeited)}
        return {**asdict(self), **amounts, "paid_with": self.paid_with, "good": self.good}
