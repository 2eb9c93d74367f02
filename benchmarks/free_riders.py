"""What a site earns that does not train, or has more keys than rows, beside an honest one.

The first hospital of a scenario cheats, the others are honest; training, rules, scores and shares
are the product's. A number is what the cheat earns with all its keys, in units of what an honest
hospital earns on average: 1 is what an honest hospital of average size has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from eth_utils import to_checksum_address

from benchmarks.figure import Figure, Grid, Result, Target
from benchmarks.game import Game, part_of
from wardround.protocol.commitments import commit
from wardround.protocol.contribution import Entry
from wardround.protocol.fixed_point import Int32Vector, add_exact, vector_bytes
from wardround.protocol.identifiers import Digest, SiteAddress
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import RuleId, ScoringId
from wardround.protocol.rewards import shares_floor
from wardround.protocol.rules import Rule, aggregate

KEYS = 10
RAISED_CAP = 1000
PER_ROUND = 10**20

#: Rule and scoring of a column.
COLUMNS = {
    "examples": (RuleId.MEAN, ScoringId.EXAMPLES),
    "projection": (RuleId.MEAN, ScoringId.PROJECTION),
    "clipped_mean, projection": (RuleId.CLIPPED_MEAN, ScoringId.PROJECTION),
}

#: An update with its weight.
Sent = tuple[Int32Vector, int]


@dataclass
class Seen:
    """What a cheat knows when it sends: the rounds so far, and all that others send in this one."""

    game: Game
    round: int
    base: Int32Vector
    others: list[Sent]
    random: np.random.Generator
    last_updates: list[Int32Vector] = field(default_factory=list)
    last_aggregate: Int32Vector | None = None

    @property
    def weight(self) -> int:
        """What the cheat's rows weigh."""
        return len(self.game.trains[0])

    @property
    def nothing(self) -> Int32Vector:
        """An update of zeros."""
        return np.zeros_like(self.base)

    def aside(self, update: Int32Vector) -> Int32Vector:
        """The same update up to a unit of the fixed point, so that no two roots are equal."""
        return update + self.random.integers(-1, 2, update.size, dtype=np.int32)


Cheat = Callable[[Seen], list[Sent]]


def undivided(seen: Seen) -> list[Sent]:
    """No cheat: trains on its rows and sends one update."""
    rows = seen.game.trains[0]
    return [(seen.game.trained(rows, seen.base, 1000 * seen.round), len(rows))]


def zero(seen: Seen) -> list[Sent]:
    """An update of zeros."""
    return [(seen.nothing, seen.weight)]


def noise(seen: Seen) -> list[Sent]:
    """Numbers out of the air."""
    size = 2**14
    return [(seen.random.integers(-size, size, seen.base.size, dtype=np.int32), seen.weight)]


def last_aggregate(seen: Seen) -> list[Sent]:
    """What the last round has added to the model, once more."""
    last = seen.last_aggregate
    return [(seen.nothing if last is None else seen.aside(last), seen.weight)]


def drift(seen: Seen) -> list[Sent]:
    """The mean of what all rounds have added so far."""
    if seen.round == 1:
        return zero(seen)
    way = (seen.base.astype(np.int64) - seen.game.first_model) // (seen.round - 1)
    return [(seen.aside(way.astype(np.int32)), seen.weight)]


def stale_copy(seen: Seen) -> list[Sent]:
    """What another hospital sent in the last round."""
    sent = seen.last_updates
    return [(seen.aside(sent[0]) if sent else seen.nothing, seen.weight)]


def rushing_copy(seen: Seen) -> list[Sent]:
    """What another hospital sends in this round, as a cheating coordinator can tell it."""
    return [(seen.aside(seen.others[0][0]), seen.weight)]


def many_keys(seen: Seen) -> list[Sent]:
    """Ten keys, each trains on a tenth of the rows."""
    rows = seen.game.trains[0]
    parts = [part_of(rows, np.arange(key, len(rows), KEYS)) for key in range(KEYS)]
    return [
        (seen.game.trained(part, seen.base, 1000 * seen.round + key), len(part))
        for key, part in enumerate(parts)
    ]


def many_names(seen: Seen) -> list[Sent]:
    """Trains once on all rows; ten keys send it, each with a tenth of the weight."""
    ((update, weight),) = undivided(seen)
    return [(seen.aside(update), max(1, weight // KEYS)) for _ in range(KEYS)]


def capped(cheat: Cheat) -> Cheat:
    """The same with a cap of a thousand, where a sponsor has granted it so much."""

    def raised(seen: Seen) -> list[Sent]:
        return [(update, RAISED_CAP) for update, _ in cheat(seen)]

    return raised


CHEATS: Mapping[str, Cheat] = {
    "none: trains on its own rows": undivided,
    "an update of zeros": zero,
    "noise": noise,
    "the last aggregate once more": last_aggregate,
    "the mean of all aggregates so far": drift,
    "another's update of the last round": stale_copy,
    "another's update of this round": rushing_copy,
    "ten keys, a tenth of the rows each": many_keys,
    "ten keys, ten copies of one update": many_names,
    "none, weight 1,000": capped(undivided),
    "zeros, weight 1,000": capped(zero),
    "the last aggregate, weight 1,000": capped(last_aggregate),
}


def earned(game: Game, cheat: Cheat, rule: RuleId, rounds: int) -> dict[ScoringId, float]:
    """Play some rounds.

    Returns:
        By scoring, what the cheat earns with all its keys, in units of an honest hospital's mean.
    """
    random, base = np.random.default_rng(1), game.first_model
    paid = {scoring: [0, 0] for scoring in ScoringId}
    last_updates: list[Int32Vector] = []
    last: Int32Vector | None = None
    for number in range(1, rounds + 1):
        others = [
            (game.trained(rows, base, 1000 * number + 100 + place), len(rows))
            for place, rows in enumerate(game.trains[1:])
        ]
        seen = Seen(game, number, base, others, random, last_updates, last)
        sent = others + cheat(seen)
        updates, weights = [update for update, _ in sent], [weight for _, weight in sent]
        change = aggregate(Rule(rule), updates, weights)
        entries = [_entry(place, *one) for place, one in enumerate(sent)]
        for scoring, (honest, cheating) in paid.items():
            scores = commit(Rule(rule), scoring, weights, updates, change).scores
            shares = list(shares_floor(PER_ROUND, entries, sum(weights), scores).values())
            mine = len(others)
            paid[scoring] = [honest + sum(shares[:mine]), cheating + sum(shares[mine:])]
        last_updates, last = [update for update, _ in others], change.astype(np.int32)
        base = add_exact(base, change)
    return {
        scoring: cheating * (len(game.trains) - 1) / honest
        for scoring, (honest, cheating) in paid.items()
    }


def _entry(place: int, update: Int32Vector, weight: int) -> Entry:
    site = SiteAddress(to_checksum_address((place + 1).to_bytes(20, "big")))
    return Entry(site, weight, vector_root(vector_bytes(update)), Digest(bytes(32)), bytes(65))


def measure(quick: bool) -> Result:
    """Play each cheat on both scenarios."""
    figures, grids = [], []
    for scenario in ("demo",) if quick else ("demo", "four-hospitals"):
        game = Game.of(scenario)
        rounds = 2 if quick else min(10, game.scenario.specification.study.rounds)
        found: dict[str, list[float]] = {}
        for name, cheat in CHEATS.items():
            mean = earned(game, cheat, RuleId.MEAN, rounds)
            clipped = earned(game, cheat, RuleId.CLIPPED_MEAN, rounds)
            of = {RuleId.MEAN: mean, RuleId.CLIPPED_MEAN: clipped}
            found[name] = [of[rule][scoring] for rule, scoring in COLUMNS.values()]
        title = f"{scenario}, {rounds} rounds: what a cheat earns, an honest hospital's mean is 1"
        grids.append(Grid(title, ("what it sends", *COLUMNS), found, 2))
        names = list(CHEATS)
        figures.append(
            Figure(
                f"{scenario}: ten copies of one update, by projection",
                ours=found[names[8]][1],
                peer=found[names[0]][1],
                peer_name="undivided",
                unit="shares",
                target=Target(1.1, at_most=True),
            )
        )
    return Result(figures, {}, grids)
