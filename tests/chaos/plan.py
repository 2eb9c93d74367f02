"""What is done to a study, in which order: from a number of kills and a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from wardround.host.steps import Point, Step


class Victim(StrEnum):
    """Who is killed."""

    COORDINATOR = "active coordinator"
    STANDBY = "standby coordinator"
    LOST = "active coordinator, not restarted"
    SITE = "site"
    GUARD = "guard"
    ANVIL = "anvil"
    CHAIN = "anvil and its journal's keeper"


class Trouble(StrEnum):
    """Disturbances that kill no process."""

    REORGANISATION = "reorganisation of the closing block"
    CUT = "connection cut"
    DELAY = "connection slowed down"
    DISK = "disk full"
    DAMAGE = "object damaged in the store"


@dataclass(frozen=True)
class Kill:
    """One process dies: at a named point, or at a moment drawn from the seed."""

    victim: Victim
    point: Point | None = None


Disturbance = Kill | Trouble

#: Out of a hundred random kills.
_SHARES = {
    Victim.COORDINATOR: 34,
    Victim.SITE: 24,
    Victim.GUARD: 16,
    Victim.ANVIL: 12,
    Victim.STANDBY: 8,
    Victim.CHAIN: 6,
}
#: Steps by who takes them.
_GUARD_STEPS = (Step.UPDATE_TRAINED, Step.SIGNATURE_LOGGED, Step.ANSWER_KEPT)
_COORDINATOR_STEPS = (
    Step.UPDATE_STORED,
    Step.REPORT_STORED,
    Step.MODEL_STORED,
    Step.MANIFEST_STORED,
    Step.TRANSACTION_SENT,
    Step.RECEIPT_SEEN,
    Step.ROUND_CLOSED,
    Step.MODEL_MEASURED,
    Step.ROUND_NOTED,
)
#: Each costs a round's time and the grace, so there are few.
_LOST_EVERY = 25
_TROUBLE_EVERY = 6


def named_kills() -> list[Kill]:
    """A kill just before and just after every durable step of everybody."""
    takers = [
        *((Victim.COORDINATOR, step) for step in _COORDINATOR_STEPS),
        *((Victim.GUARD, step) for step in _GUARD_STEPS),
        (Victim.LOST, Step.TAKEN_OVER),
    ]
    kills = []
    for victim, step in takers:
        kills += [Kill(victim, Point(step, "before")), Kill(victim, Point(step, "after"))]
    return kills


def plan(
    kills: int, seed: int, troubles: tuple[Trouble, ...] = tuple(Trouble)
) -> list[Disturbance]:
    """Choose what happens.

    A kill at a named point takes two: a restart sets the point at which the process dies.

    Args:
        kills: how many processes die at least.
        seed: of the order, the victims and the moments.
        troubles: which kinds of other trouble come in between; each at least once.
    """
    draw = random.Random(seed)
    named = named_kills()
    draw.shuffle(named)
    chosen: list[Disturbance] = list(named[: max(1, kills // 3)])
    count = 2 * len(chosen)
    lost = max(1, kills // _LOST_EVERY) if kills >= 4 else 0
    chosen += [Kill(Victim.LOST)] * lost
    count += lost
    victims, weights = list(_SHARES), list(_SHARES.values())
    while count < kills:
        chosen.append(Kill(draw.choices(victims, weights)[0]))
        count += 1
    if troubles:
        extra = max(len(troubles), kills // _TROUBLE_EVERY)
        chosen += [troubles[number % len(troubles)] for number in range(extra)]
    draw.shuffle(chosen)
    return chosen
