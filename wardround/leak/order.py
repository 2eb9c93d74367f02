"""Reconstruction by a guessed order of rows: the published updates become equations for the table.

Version 1 shuffled a site's rows by a seed that followed from the specification, the site's name and
the round. Its readers knew which rows each step took, and solved for them. Where a step takes all
rows there is no order to guess. Where the order is secret, an attacker can still replay training
as if each step took all rows, which is what many small steps come near to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from wardround.leak.outcome import AttackOutcome, Truth, judge, not_tried
from wardround.leak.reading import Reading
from wardround.leak.replay import Floats, LogisticReplay, Order, steps_of
from wardround.leak.solve import Equations, Fit, first_guess
from wardround.learning.repeatable import row_orders
from wardround.protocol.canonical import canonical_digest

ORDER, WHOLE = "public order", "linear system"
OnStep = Callable[[str], None]
#: Above, one step of the solver takes minutes.
_MOST_UNKNOWNS = 2_000
#: Starts from rows drawn at random where a first one fails; fewer where a replay takes long.
_MOST_STARTS = 5
_ROWS_REPLAYED = 600
#: Steps into which a round is put together where its order is not known.
_AVERAGED_STEPS = 20


def public_seed(seed: int, site: str, round_number: int) -> int:
    """The seed by which version 1 shuffled a site's rows in one round."""
    digest = canonical_digest([seed, site, round_number])
    return int.from_bytes(digest[:8], "big") >> 1


def shuffled(seed: int, rows: int) -> Iterator[list[int]]:
    """Yield version 1's orders of the rows, one an epoch: torch's generator under this seed."""
    shuffle = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(rows, generator=shuffle).tolist()


def drawn(seed: int, rows: int) -> Iterator[list[int]]:
    """Yield the orders of the rows that training takes today, were this its seed."""
    return (order.tolist() for order in row_orders(seed, rows))


#: How a public seed may become an order. The second would return if a site took it for its secret.
_WAYS = {"version 1's shuffle": shuffled, "today's shuffle": drawn}


def batches(orders: Iterator[list[int]], size: int, steps: int) -> Order:
    """Cut orders into the rows of each step; the last batch of an epoch may be short."""
    taken: list[list[int]] = []
    while len(taken) < steps:
        order = next(orders)
        taken += [order[start : start + size] for start in range(0, len(order), size)]
    return taken[:steps]


def guess_public_order(reading: Reading, site: str, truth: Truth, on_step: OnStep) -> AttackOutcome:
    """Replay a site's training with an order that follows from public numbers, and solve."""
    if reason := _unfit(reading, site):
        return not_tried(ORDER, site, reason)
    training, rows = reading.spec.training, _rows(reading, site)
    if training.batch_size == 0 or training.batch_size >= rows:
        return not_tried(ORDER, site, f"each step takes all rows: see {WHOLE}")
    found: dict[str, Fit] = {}
    for way, orders_of in _WAYS.items():
        seed, steps = reading.spec.study.seed, steps_of(training, rows)
        orders = [
            batches(orders_of(public_seed(seed, site, one.round), rows), training.batch_size, steps)
            for one in reading.rounds_of(site)
        ]
        replay = LogisticReplay(training, reading.bases_of(site), orders, rows)
        equations = _equations(reading, site, replay)
        found[way] = _tried(equations, first_guess(equations), on_step, f"{ORDER}: {site}, {way}")
        if found[way].explains:
            break
    way = min(found, key=lambda one: found[one].missed)
    return _finding(ORDER, site, found[way], truth, f"{way} under a public seed")


def solve_whole_table(reading: Reading, site: str, truth: Truth, on_step: OnStep) -> AttackOutcome:
    """Solve for a site's rows without an order: each step takes them all, or nearly so."""
    if reason := _unfit(reading, site):
        return not_tried(WHOLE, site, reason)
    training, rows = reading.spec.training, _rows(reading, site)
    steps, what = steps_of(training, rows), "each step taking all rows"
    if training.batch_size == 0 or training.batch_size >= rows:
        replayed = training
    else:
        # A few long steps are as near to many short ones as their unknown order allows.
        few = min(steps, _AVERAGED_STEPS)
        rate = training.learning_rate * steps / few
        replayed = training.model_copy(
            update={"learning_rate": rate, "batch_size": 0, "local_steps": few}
        )
        steps, what = few, "the order of the rows averaged out"
    order: Order = [range(rows)] * steps
    bases = reading.bases_of(site)
    replay = LogisticReplay(replayed, bases, [order] * len(bases), rows)
    equations = _equations(reading, site, replay)
    fit = _tried(equations, None, on_step, f"{WHOLE}: {site}")
    return _finding(WHOLE, site, fit, truth, what)


def not_linear(reading: Reading, site: str) -> str:
    """Why a site's updates are no sums of rows that equations could name; empty where they are."""
    spec, rounds = reading.spec, reading.rounds_of(site)
    if not rounds:
        return reading.sealed or "no update of this site can be read by itself"
    if spec.privacy is not None:
        return "training is private: noise is in every update"
    if spec.model.name != "logistic" or spec.model.arguments.get("classes", 2) != 2:
        return f"only a two-class logistic model is solved for, and this one is {spec.model.label}"
    if spec.training.optimizer != "sgd":
        return f"only gradient descent is replayed, and the optimiser is {spec.training.optimizer}"
    return ""


def _unfit(reading: Reading, site: str) -> str:
    """Why training cannot be replayed as equations, or none of that."""
    if reason := not_linear(reading, site):
        return reason
    rounds = reading.rounds_of(site)
    parameters = len(rounds[0].base)
    # A row has a feature for each weight, and a label where the model has its bias.
    published, wanted = parameters * len(rounds), parameters * _rows(reading, site)
    if published < wanted:
        return f"{published:,} published numbers against {wanted:,} unknown ones: too few"
    if wanted > _MOST_UNKNOWNS:
        return f"{wanted:,} unknown numbers are more than this command solves for"
    return ""


def _rows(reading: Reading, site: str) -> int:
    return reading.rounds_of(site)[0].sent[site].examples


def _equations(reading: Reading, site: str, replay: LogisticReplay) -> Equations:
    rate = replay.training.learning_rate
    return Equations(replay, -reading.updates_of(site) / rate, reading.unit / rate)


def _tried(equations: Equations, guess: Floats | None, on_step: OnStep, what: str) -> Fit:
    """Solve from a guess, then from random rows, until a fit explains what was published."""
    replay = equations.replay
    order = replay.orders[0]
    starts = max(1, min(_MOST_STARTS, _ROWS_REPLAYED // sum(map(len, order))))
    random = np.random.default_rng(1)
    best = Fit(np.zeros((replay.rows, replay.bases.shape[1])), np.inf)
    for number in range(1, starts + 1):
        on_step(f"{what}, start {number} of {starts}")
        if guess is None or number > 1:
            features = random.standard_normal((replay.rows, replay.bases.shape[1] - 1))
            guess = np.c_[features, random.random(replay.rows) < 0.5].astype(np.float64)
        # Matrices are small: threads would only wait for each other.
        with threadpool_limits(1):
            fit = equations.solve(guess)
        best = min(best, fit, key=lambda one: one.missed)
        if best.explains:
            break
    return best


def _finding(attack: str, site: str, fit: Fit, truth: Truth, how: str) -> AttackOutcome:
    rows = len(fit.table)
    residual = f"the fit misses the published updates by {fit.missed:.3g} roundings"
    if truth.train is None:
        words = f"{residual}; no table is here to judge by"
        if fit.explains:
            words = f"with {how}, solved rows explain every published number; " + words
        return AttackOutcome(
            attack=attack, site=site, words=words, leak=fit.explains, rows=rows, missed=fit.missed
        )
    judged = judge(fit.table, truth.train)
    words = (
        f"with {how}, {judged.rebuilt} of {judged.rows} rows are rebuilt, median error "
        f"{judged.error:.1e}; {residual}"
    )
    return AttackOutcome(
        attack=attack,
        site=site,
        words=words,
        leak=judged.rebuilt > 0,
        rebuilt=judged.rebuilt,
        rows=judged.rows,
        error=judged.error,
        missed=fit.missed,
    )
