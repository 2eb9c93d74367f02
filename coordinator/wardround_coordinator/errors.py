"""Errors of a coordinator that is not alone, or whose chain moves under it.

CoordinatorError              it may not act: not listed, slashed, without its bond, or running
│                             already in another process
├── StoodDown                 another coordinator is active
├── PositionMoved             the chain is not where the round was begun (retryable)
└── ReplyRefused              a reply that must not be summed, with its word for the manifest
"""

from __future__ import annotations

from wardround.protocol.errors import Retryable, WardroundError


class CoordinatorError(WardroundError):
    """This coordinator may not act."""

    code = "coordinator"


class StoodDown(CoordinatorError):
    """Another coordinator is active; this one must not act."""

    code = "stood-down"

    def __init__(self, active: str, round_number: int) -> None:
        self.active = active
        self.round_number = round_number
        super().__init__(
            f"round {round_number} belongs to coordinator {active}: "
            "stand by with --standby, or let it work."
        )


class PositionMoved(CoordinatorError, Retryable):
    """The chain went on, or back, while a round was worked on."""

    code = "position-moved"

    def __init__(self, worked_on: int, open_round: int) -> None:
        self.worked_on = worked_on
        self.open_round = open_round
        super().__init__(
            f"round {worked_on} was worked on, and the chain has another position, "
            f"with round {open_round} open: read it again and go on from there."
        )


class ReplyRefused(CoordinatorError):
    """A reply that must not be summed: a word for the manifest, and what was seen."""

    code = "reply-refused"

    def __init__(self, reason: str, evidence: str) -> None:
        self.reason = reason
        self.evidence = evidence[:300]
        super().__init__(f"{reason}: {evidence}")
