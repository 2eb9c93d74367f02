"""Whose turn it is: when a coordinator works, waits, takes over or yields.

The chain alone decides. The listed coordinators form a ring; once a round's time is over, each
further one in the ring may take over a grace period later than the one before it. So whatever
machine dies, the next one goes on, and one that comes back finds out before it does anything.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from eth_account.signers.local import LocalAccount

from wardround.chain.errors import ContractReverted
from wardround.chain.study_state import Seat, StudyState
from wardround.chain.ward_round import WardRound
from wardround.host.backoff import pauses
from wardround.host.steps import Step, durable
from wardround.protocol.errors import Retryable, RoundFailed, WardroundError
from wardround.protocol.identifiers import StudyId
from wardround_coordinator.errors import CoordinatorError, PositionMoved, StoodDown

#: Revert reasons: another coordinator took over first, or the chain's clock is behind ours.
_TOO_LATE = frozenset(
    {"WardRound_TooEarly", "WardRound_NotCoordinator", "WardRound_StudyOver", "WardRound_NotBonded"}
)
_NO_COORDINATOR = "0x" + 40 * "0"
_OPENING = "the sponsor to open the study"
#: Errors of a disk that is full or away; it may be emptied, or come back.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_POLL_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
_GLANCE_SECONDS = 0.1


class Stance(Enum):
    """What a coordinator should do now."""

    WORK = "work"
    WAIT = "wait"
    TAKE_OVER = "take over"
    OVER = "over"


@dataclass(frozen=True)
class Turn:
    """What a coordinator must do next, and when.

    Attributes:
        stance: what to do.
        due: when it may take over, seconds since 1970; 0 unless it waits for that.
    """

    stance: Stance
    due: int = 0


def turn_of(state: StudyState, seat: Seat, coordinator: str, now: float) -> Turn:
    """Decide what a coordinator should do.

    Args:
        state: of the study.
        seat: the coordinator's.
        coordinator: its address.
        now: seconds since 1970.
    Raises:
        CoordinatorError: it may never act: not listed, slashed, or without its bond.
    Source:
        WardRound.takeOver.
    """
    if 0 < state.rounds < state.head:
        return Turn(Stance.OVER)
    for holds, reason in (
        (seat.place == 0, "it is not listed"),
        (seat.barred, "it was slashed"),
        (not seat.bonded, "its bond is not posted"),
    ):
        if holds:
            raise CoordinatorError(
                f"coordinator {coordinator} has no seat in this study ({reason}): "
                "use the key of a listed coordinator that has posted its bond."
            )
    if state.head == 0:
        return Turn(Stance.WAIT)
    if state.coordinator == coordinator:
        return Turn(Stance.WORK)
    if state.coordinator == _NO_COORDINATOR:
        return Turn(Stance.TAKE_OVER)
    seats = len(state.coordinators)
    active = state.coordinators.index(state.coordinator) + 1
    distance = (seats + seat.place - active) % seats
    due = state.opened_at + state.round_seconds + distance * state.grace_seconds
    return Turn(Stance.TAKE_OVER if now >= due else Stance.WAIT, due)


@dataclass
class Tenure:
    """A coordinator's time in a study, from its start to the study's end.

    Attributes:
        standby: wait for one's turn instead of ending where another is active.
        clock: seconds since 1970.
        wait: sleeps for so many seconds.
        say: reports every change.
        poll_seconds: between two looks at the chain while waiting, at most.
        patience_seconds: how long chain, store or disk may be away before this gives up.
    """

    contract: WardRound
    signer: LocalAccount
    study: StudyId
    standby: bool
    clock: Callable[[], float]
    wait: Callable[[float], None]
    say: Callable[[str], None] = lambda words: None
    poll_seconds: float = _POLL_SECONDS
    patience_seconds: float = 600.0

    def serve(self, work: Callable[[], None]) -> None:
        """Work whenever it is this coordinator's turn, until the study is over.

        Args:
            work: runs rounds from the chain's position to the study's end.
        Raises:
            StoodDown: another coordinator is active, and this one is no standby.
            CoordinatorError: it may never act.
            WardroundError: whatever `work` raises, unless waiting may help.
        """
        has_worked, waited_for, head, begun = False, "", 0, 0
        moved, pause = "", pauses(_GLANCE_SECONDS, self.poll_seconds)
        trouble, trouble_since = "", 0.0
        while True:
            try:
                state = self.contract.study(self.study)
                if state.head != head:
                    head, trouble = state.head, ""
                turn = self._turn(state)
                if turn.stance is Stance.OVER:
                    return
                if turn.stance is Stance.WORK:
                    has_worked, waited_for = True, ""
                    if state.head != begun:
                        begun = state.head
                        self.say(f"going on with round {begun} of {state.rounds}")
                    work()
                elif state.head == 0:
                    if waited_for != _OPENING:
                        waited_for = _OPENING
                        self.say(f"waiting for {_OPENING}")
                    self._wait_until(0)
                elif not self.standby and not has_worked:
                    raise StoodDown(state.coordinator, state.head)
                elif not self.standby:
                    self.say(f"coordinator {state.coordinator} is active: standing down")
                    return
                elif turn.stance is Stance.TAKE_OVER:
                    self._take_over(state)
                else:
                    if waited_for != state.coordinator:
                        waited_for = state.coordinator
                        self.say(f"standing by for coordinator {waited_for}")
                    self._wait_until(turn.due)
            except (StoodDown, PositionMoved) as error:
                if isinstance(error, StoodDown) and not self.standby and not has_worked:
                    raise
                # It may take a while to be confirmed; until then the same is found again.
                if str(error) != moved:
                    moved, pause = str(error), pauses(_GLANCE_SECONDS, self.poll_seconds)
                    self.say(moved)
                self.wait(next(pause))
            except (WardroundError, OSError) as error:
                if not _may_pass(error):
                    raise
                if not trouble:
                    trouble_since = self.clock()
                if self.clock() - trouble_since > self.patience_seconds:
                    raise
                if str(error) != trouble:
                    trouble = str(error)
                    self.say(f"{error} Trying again.")
                self.wait(_PAUSE_SECONDS)

    def _turn(self, state: StudyState) -> Turn:
        seat = self.contract.seat(self.study, self.signer.address)
        return turn_of(state, seat, self.signer.address, self.clock())

    def _take_over(self, state: StudyState) -> None:
        try:
            with durable(Step.TAKEN_OVER):
                self.contract.take_over(self.signer, self.study)
        except ContractReverted as error:
            if error.name not in _TOO_LATE:
                raise
            # Another was faster, or the chain's clock is behind ours: look again.
            self.wait(min(self.poll_seconds, _PAUSE_SECONDS))
            return
        self.say(f"took over round {state.head} from coordinator {state.coordinator}")

    def _wait_until(self, due: int) -> None:
        left = due - self.clock() if due else self.poll_seconds
        self.wait(min(self.poll_seconds, max(left, _GLANCE_SECONDS)))


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK
    # A round that failed was tried as often as the settings allow.
    return isinstance(error, Retryable) and not isinstance(error, RoundFailed)
