"""Errors of a coordinator that is not alone, or whose chain moves under it.

CoordinatorError              (WardroundError)
├── StoodDown                 another coordinator is active
├── SeatLost                  this one was slashed, or never had a seat
└── PositionMoved             the chain is not where the round was begun (retryable)
"""

from __future__ import annotations

from wardround.protocol.errors import Retryable, WardroundError


class CoordinatorError(WardroundError):
    """Something about who coordinates, and from where."""


class StoodDown(CoordinatorError):
    """Another coordinator is active; this one must not act."""

    def __init__(self, active: str, round_number: int) -> None:
        self.active = active
        self.round_number = round_number
        super().__init__(
            f"round {round_number} belongs to coordinator {active}: "
            "stand by with --standby, or let it work."
        )


class SeatLost(CoordinatorError):
    """This coordinator may never act in the study."""

    def __init__(self, coordinator: str, reason: str) -> None:
        self.coordinator = coordinator
        self.reason = reason
        super().__init__(
            f"coordinator {coordinator} has no seat in this study ({reason}): "
            "use the key of a listed coordinator that has posted its bond."
        )


class PositionMoved(CoordinatorError, Retryable):
    """The chain went on, or back, while a round was worked on."""

    def __init__(self, worked_on: int, open_round: int) -> None:
        self.worked_on = worked_on
        self.open_round = open_round
        super().__init__(
            f"round {worked_on} was worked on, and the chain has another position, "
            f"with round {open_round} open: read it again and go on from there."
        )
