"""Rules against hostile sites: eleven sites out of four hospitals' rows, three of them hostile.

Accuracy of the last model over all test rows, in percent, the mean of five seeds. A seed divides
the hospitals' rows, and says which sites are hostile and in what order rows are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from benchmarks.figure import Figure, Grid, Result, Target
from benchmarks.game import Game, part_of
from wardround.learning.datasets.table import Table
from wardround.protocol.fixed_point import Int32Vector, add_exact
from wardround.protocol.record import RuleId
from wardround.protocol.rules import Rule, aggregate

HOSTILE = 3
#: Into how many sites each hospital's rows are divided; 11 together.
PARTS = (4, 4, 1, 2)
ALLOWED_LOSS_POINTS = 2.5

RULES: Mapping[str, Rule] = {
    "mean": Rule(RuleId.MEAN),
    "median": Rule(RuleId.MEDIAN),
    "trimmed_mean": Rule(RuleId.TRIMMED_MEAN, HOSTILE),
    "clipped_mean": Rule(RuleId.CLIPPED_MEAN),
    "multi_krum": Rule(RuleId.MULTI_KRUM, HOSTILE),
}


@dataclass(frozen=True)
class Field:
    """What a hostile site sees: its own honest update, and those of all honest sites."""

    own: Int32Vector
    honest: Sequence[Int32Vector]
    count: int
    scale: float
    random: np.random.Generator

    @property
    def mean(self) -> np.ndarray:
        """Of the honest updates, coordinate by coordinate."""
        return np.mean(self.honest, axis=0)


Attack = Callable[[Field], np.ndarray]


def a_little_is_enough(field: Field) -> np.ndarray:
    """As far from the mean as still looks like one of a majority (Baruch et al. 2019)."""
    supporters = field.count // 2 + 1 - HOSTILE
    honest = field.count - HOSTILE
    far = NormalDist().inv_cdf((honest - supporters) / honest)
    return field.mean - far * np.std(field.honest, axis=0)


#: What a hostile site sends. One that flips labels trains on them, and sends what comes of it.
ATTACKS: Mapping[str, Attack | None] = {
    "none": None,
    "sign flip": lambda field: -field.own.astype(np.float64),
    "x -10": lambda field: -10.0 * field.own,
    "label flip": lambda field: field.own.astype(np.float64),
    "ALIE": a_little_is_enough,
    # Inner product manipulation (Xie et al. 2019), three times the mean as in ByzFL.
    "IPM": lambda field: -3.0 * field.mean,
    "noise": lambda field: field.random.normal(0.0, field.scale, field.own.size),
}


def divided(game: Game, seed: int) -> Game:
    """The same hospitals as eleven sites, each row once."""
    random, tables = np.random.default_rng(seed), []
    for rows, parts in zip(game.trains, PARTS, strict=True):
        order = random.permutation(len(rows))
        tables += [part_of(rows, order[part::parts]) for part in range(parts)]
    return replace(game, trains=tuple(tables))


def last_accuracy(game: Game, rule: Rule, attack: str, seed: int, rounds: int) -> float:
    """Train under attack, in percent of the test rows."""
    random = np.random.default_rng(1000 + seed)
    sites, base = len(game.trains), game.first_model
    hostile = set() if attack == "none" else set(random.permutation(sites)[:HOSTILE].tolist())
    tables = [
        Table(rows.features, 1 - rows.labels)
        if attack == "label flip" and place in hostile
        else rows
        for place, rows in enumerate(game.trains)
    ]
    weights = [len(rows) for rows in tables]
    unit = float(2**game.scenario.aggregation.scale_bits)
    for number in range(rounds):
        updates = [
            game.trained(rows, base, 10_000 * seed + 100 * number + place)
            for place, rows in enumerate(tables)
        ]
        honest = [update for place, update in enumerate(updates) if place not in hostile]
        made = ATTACKS[attack]
        if made is not None:
            for place in sorted(hostile):
                field = Field(updates[place], honest, sites, unit, random)
                updates[place] = game.held(made(field))
        base = add_exact(base, aggregate(rule, updates, weights))
    return 100 * game.accuracy(base)


def measure(quick: bool) -> Result:
    """Train with each rule under each attack."""
    # Short rounds: there are 175 runs.
    whole = Game.of("four-hospitals").with_training(local_steps=20, learning_rate=0.02)
    seeds, rounds = range(1 if quick else 5), 1 if quick else 15
    games = [divided(whole, seed) for seed in seeds]
    table: dict[str, list[float]] = {}
    for name, rule in RULES.items():
        runs = {
            attack: [
                last_accuracy(game, rule, attack, seed, rounds)
                for seed, game in zip(seeds, games, strict=True)
            ]
            for attack in ATTACKS
        }
        means = [float(np.mean(found)) for found in runs.values()]
        table[name] = [*means, min(means[1:])]
    clean, worst = table["clipped_mean"][0], table["clipped_mean"][-1]
    title = f"heart, 11 sites, {HOSTILE} hostile, {rounds} rounds, {len(seeds)} seeds: % right"
    return Result(
        [
            Figure(
                "heart under attack: worst case of clipped_mean",
                ours=worst,
                peer=clean - ALLOWED_LOSS_POINTS,
                peer_name="clean - 2.5 points",
                unit="%",
                target=Target(1, at_most=False),
            )
        ],
        {},
        [Grid(title, ("rule", *ATTACKS, "worst"), table, 1)],
    )
