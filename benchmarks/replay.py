"""Recomputing a round from chain and store, beside what closing it cost the coordinator.

Closing is verifying every reply, storing it, summing, settling and the transaction; training is
in neither number.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from time import perf_counter

from benchmarks.figure import Detail, Figure, Result, Target
from benchmarks.network import MILLION, Shape, close_rounds, prepared, session_of
from wardround.protocol.replay import ClosedRound, replay_round


def measure(quick: bool) -> Result:
    """Measure three rounds of 10 sites and a million parameters."""
    shape = Shape(sites=3, rounds=2) if quick else replace(MILLION, rounds=5)
    closing, replaying, reading, parameters = _measure_rounds(shape)
    figure = Figure(
        f"replay of a round: {shape.sites} sites, {parameters:,} parameters",
        ours=median(replaying),
        peer=median(closing),
        peer_name="closing it",
        unit="s",
        target=Target(1, at_most=True),
    )
    detail = Detail("reading the rounds from the chain", reading, "s")
    return Result([figure], {"replay": [detail]})


def _measure_rounds(shape: Shape) -> tuple[list[float], list[float], float, int]:
    replaying = []
    with prepared(shape.scenario()) as network:
        session = session_of(network)
        first = session.position()
        closing = [seconds for seconds, _ in close_rounds(network, session, shape.rounds)]
        started = perf_counter()
        rounds = network.contract.closed_rounds(network.study)
        reading = perf_counter() - started
        base, history = first.base, first.history
        for found in rounds:
            seen = ClosedRound(found.round, found.closing, found.entries)
            started = perf_counter()
            replayed = replay_round(
                session.facts, session.spec, base, seen, session.store.map, history
            )
            replaying.append(perf_counter() - started)
            base, history = replayed.settlement.model, replayed.history
        return closing, replaying, reading, network.params.parameter_count
