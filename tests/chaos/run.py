"""A study under chaos: disturb it, one thing at a time, and see it go on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from tests.chaos.plan import Disturbance, Kill, Trouble, Victim
from tests.chaos.processes import Actor
from tests.chaos.stand import Stand
from wardround.chain.errors import RpcRefused
from wardround.host.steps import Point
from wardround.protocol.errors import WardroundError

_LOOK_SECONDS = 0.01
_DIE_SECONDS = 90.0
_RECOVER_SECONDS = 240.0
_CUT_SECONDS, _DELAY_SECONDS, _HELD_BACK_SECONDS = 1.0, 1.0, 0.05
_DISK_SECONDS = 1.5
_WARM_ROUNDS = 3


class NotRecovered(WardroundError):
    """The study closes no more rounds."""

    def __init__(self, what: str, seconds: float) -> None:
        self.what = what
        self.seconds = seconds
        super().__init__(f"no round was closed within {seconds:g} s after {what}: see the logs.")


@dataclass(frozen=True)
class Outcome:
    """One disturbance and what became of it.

    Attributes:
        what: in words: the process, or the trouble.
        point: where it died, empty for a moment drawn from the seed.
        deaths: how many processes died for it.
        recovery_seconds: until the next round was closed.
        span_seconds: from the opening of the round in which it began to the end of the recovery.
        span_rounds: how many rounds were closed in that time.
    """

    what: str
    point: str
    deaths: int
    recovery_seconds: float
    span_seconds: float = 0.0
    span_rounds: int = 0

    def cost_seconds(self, round_seconds: float) -> float:
        """How much longer its rounds took than undisturbed ones would have."""
        return self.span_seconds - self.span_rounds * round_seconds


@dataclass
class Course:
    """What happened in one study.

    Attributes:
        calm_rounds: seconds that each round took in which nothing was disturbed.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    calm_rounds: list[float] = field(default_factory=list)
    rounds: int = 0

    @property
    def round_seconds(self) -> float:
        """What an undisturbed round took here, the median."""
        return median(self.calm_rounds) if self.calm_rounds else 0.0


@dataclass
class _Heads:
    """Which round was open when, as far as it was polled.

    Attributes:
        changes: a time and the round that was open from then on.
        spans: times in which something was disturbed.
    """

    changes: list[tuple[float, int]] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def note(self, head: int) -> None:
        """Note which round is open now."""
        if not self.changes or self.changes[-1][1] != head:
            self.changes.append((time.monotonic(), head))

    def at(self, moment: float) -> tuple[float, int]:
        """Since when which round was open at a moment."""
        return next(one for one in reversed(self.changes) if one[0] <= moment)

    def calm_rounds(self) -> list[float]:
        """What each round took whose time no span touches, in seconds."""
        # The first is left out: the sites come in during it.
        return [
            end - begin
            for (begin, _), (end, _) in pairwise(self.changes[1:])
            if not any(begin < late and early < end for early, late in self.spans)
        ]


@dataclass
class Director:
    """Carries out a plan on a study.

    Attributes:
        stand: the study's processes.
        draw: moments and victims.
        fill_disk: fills the store's disk, and answers how to empty it; None where there is no way.
        damage: damages an object of the store; None where there is no second copy to mend it from.
        say: callback for a line about each disturbance.
    """

    stand: Stand
    draw: random.Random
    fill_disk: Callable[[], Callable[[], None]] | None
    damage: Callable[[], str] | None
    say: Callable[[str], None]
    course: Course = field(default_factory=Course)
    _heads: _Heads = field(default_factory=_Heads)

    def perform(self, disturbances: list[Disturbance]) -> Course:
        """Disturb the study, then let it finish.

        Raises:
            NotRecovered: it did not go on.
        """
        self._warm_up()
        last = self.stand.network.params.rounds
        for number, one in enumerate(disturbances, 1):
            if self.stand.head() >= last:
                self.course.left_out.append(f"{len(disturbances) - number + 1} more: it was over")
                break
            outcome = self._do(one)
            if outcome is not None:
                self.course.outcomes.append(outcome)
                self.say(
                    f"{number}/{len(disturbances)} {outcome.what} {outcome.point}: "
                    f"recovered in {outcome.recovery_seconds:.2f} s"
                )
        self._finish()
        self.course.calm_rounds = self._heads.calm_rounds()
        return self.course

    # ---------------------------------------------------------------- one thing

    def _do(self, one: Disturbance) -> Outcome | None:
        if isinstance(one, Trouble):
            return self._trouble(one)
        if one.victim is Victim.LOST:
            return self._lose(one)
        actor = self._actor(one.victim)
        if one.point is None:
            self._sleep_into_round()
            started = time.monotonic()
            deaths = self._kill(one.victim, actor)
            return self._recovered(f"{one.victim} killed", "", deaths, started)
        began = time.monotonic()
        before = self._arm(actor, one.point)
        died = self._death_at(actor, before, str(one.point))
        return self._recovered(f"{one.victim} killed", _point_words(one), 2, died, began)

    def _lose(self, one: Kill) -> Outcome:
        """Kill the active coordinator for good; the standby takes over; the lost one comes back."""
        stand = self.stand
        active = stand.active()
        lost, heir = self._active(active), self._standby(active)
        if one.point is not None:
            before = self._arm(heir, one.point)
        self._sleep_into_round()
        lost.wanted = False
        started = time.monotonic()
        lost.kill()
        try:
            if one.point is not None:
                self._death_at(heir, before, str(one.point))
            self._wait(lambda: stand.active() != active, "the standby's turn")
            words = "active coordinator lost, standby took over"
            return self._recovered(words, _point_words(one), 1 if one.point is None else 3, started)
        finally:
            lost.wanted = True

    def _trouble(self, one: Trouble) -> Outcome | None:
        stand = self.stand
        self._sleep_into_round()
        started = time.monotonic()
        if one is Trouble.REORGANISATION:
            # As deep as nothing has been acted upon yet, or just deeper.
            depth = max(1, stand.confirmations)
            with suppress(RpcRefused):
                stand.ask(lambda: stand.chain.rpc("anvil_reorg", depth, []))
        elif one in (Trouble.CUT, Trouble.DELAY):
            name = self.draw.choice(sorted(stand.links))
            link = stand.links[name]
            if one is Trouble.CUT:
                link.cut()
                self._sleep(_CUT_SECONDS)
            else:
                link.delay_seconds = _HELD_BACK_SECONDS
                self._sleep(_DELAY_SECONDS)
            link.mend()
            return self._recovered(one, name, 0, started)
        elif one is Trouble.DISK:
            if self.fill_disk is None:
                self.course.left_out.append(f"{one}: it takes root to mount a small disk")
                return None
            empty = self.fill_disk()
            self._sleep(_DISK_SECONDS)
            empty()
        elif self.damage is None:
            self.course.left_out.append(f"{one}: the store has one copy only")
            return None
        else:
            what = self.damage()
            self._kill(Victim.COORDINATOR, self._actor(Victim.COORDINATOR))
            return self._recovered(one, what, 1, started)
        return self._recovered(one, "", 0, started)

    def _arm(self, actor: Actor, point: Point) -> int:
        """Start a process again that is to die at a point; answer how often it had died before."""
        before = len(actor.deaths)
        actor.next_point = point

        def armed() -> bool:
            if actor.next_point is None:
                return True
            # Also one that was just being started, without a point to die at.
            actor.kill()
            return False

        self._wait(armed, f"{actor.name} was to start again")
        return before

    def _kill(self, victim: Victim, actor: Actor) -> int:
        """Kill a process once it is there; 1, or 0 when it ended by itself meanwhile."""
        killed: list[bool] = []

        def tried() -> bool:
            gone = self._kill_anvil() if victim is Victim.ANVIL else actor.kill()
            killed.append(gone)
            return gone or actor.finished

        self._wait(tried, f"{actor.name} was to run")
        return int(killed[-1])

    def _kill_anvil(self) -> bool:
        pid = self.stand.anvil_pid()
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    # ---------------------------------------------------------------- who

    def _actor(self, victim: Victim) -> Actor:
        stand = self.stand
        if victim is Victim.COORDINATOR:
            return self._active(stand.active())
        if victim is Victim.STANDBY:
            return self._standby(stand.active())
        if victim is Victim.SITE:
            return self.draw.choice(stand.sites)
        if victim is Victim.GUARD:
            return self.draw.choice(stand.guards)
        return stand.chain_actor

    def _active(self, active: str) -> Actor:
        return self.stand.coordinators[active]

    def _standby(self, active: str) -> Actor:
        return next(one for address, one in self.stand.coordinators.items() if address != active)

    # ---------------------------------------------------------------- waiting

    def _warm_up(self) -> None:
        """Let a few rounds pass, to measure an undisturbed one."""
        self._wait(lambda: self._head() > _WARM_ROUNDS + 1, "the first rounds")
        self.course.calm_rounds = self._heads.calm_rounds()

    def _head(self) -> int:
        head = self.stand.head()
        self._heads.note(head)
        return head

    def _sleep(self, seconds: float) -> None:
        """Let time pass, and look at the chain meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._head()
            time.sleep(min(left, _LOOK_SECONDS))

    def _sleep_into_round(self) -> None:
        self._sleep(self.draw.uniform(0, max(self.course.round_seconds, 0.05)))

    def _death_at(self, actor: Actor, before: int, point: str) -> float:
        """Wait until an actor has died at its point; when."""

        def died() -> bool:
            return any(str(death.point) == point for death in actor.deaths[before:])

        self._wait(died, f"{actor.name} was to die at {point}", _DIE_SECONDS)
        (found,) = (one for one in actor.deaths[before:] if str(one.point) == point)
        return found.at

    def _recovered(
        self, what: str, point: str, deaths: int, started: float, began: float | None = None
    ) -> Outcome:
        """Wait for the next round to be closed after something was done.

        Args:
            started: when it was done.
            began: when the first of several things was done, if not then.
        """
        opened, first = self._heads.at(started if began is None else began)
        head = self._head()
        last = self.stand.network.params.rounds
        self._wait(lambda: self._head() > min(head, last), f"{what} {point}")
        ended, next_head = self._heads.changes[-1]
        self._heads.spans.append((opened, ended))
        span = (ended - opened, next_head - first)
        return Outcome(what, point, deaths, ended - started, *span)

    def _finish(self) -> None:
        """Let the rest of the rounds pass, and every coordinator notice that it is over."""
        last = self.stand.network.params.rounds
        deadline = time.monotonic() + _RECOVER_SECONDS
        seen = 0
        while (head := self._head()) <= last:
            if head != seen:
                seen, deadline = head, time.monotonic() + _RECOVER_SECONDS
            if time.monotonic() > deadline:
                raise NotRecovered(f"round {head}", _RECOVER_SECONDS)
            time.sleep(_LOOK_SECONDS)
        self._wait(lambda: all(one.finished for one in self.stand.coordinators.values()), "the end")
        self.course.rounds = last

    def _wait(
        self, until: Callable[[], bool], what: str, seconds: float = _RECOVER_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            self._head()
            if time.monotonic() > deadline:
                raise NotRecovered(what, seconds)
            time.sleep(_LOOK_SECONDS)


def _point_words(kill: Kill) -> str:
    return "" if kill.point is None else f"{kill.point.edge} {kill.point.step}"
