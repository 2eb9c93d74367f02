"""Recomputing rounds from chain and store, beside what closing them cost the coordinator.

Closing is verifying every reply, storing it, summing, settling and the transaction; training is
in neither number. A round is replayed by one process on one core. A whole audit reads the rounds
from the chain, shares them among its processes, and verifies every object of the store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

from benchmarks.figure import Detail, Figure, Result, Target
from benchmarks.network import MILLION, Shape, close_rounds, prepared, session_of
from wardround.audit.audit import StudyAudit
from wardround.audit.replayers import offered
from wardround.protocol.replay import ClosedRound, replay_round

_HALF = Target(0.5, at_most=True)


@dataclass(frozen=True)
class _Measured:
    """Seconds: of each round, of reading them from the chain, and of whole audits by processes."""

    closing: list[float]
    replaying: list[float]
    reading: float
    audits: dict[int, float]
    parameters: int


def measure(quick: bool) -> Result:
    """Measure six rounds of 10 sites and a million parameters."""
    shape = Shape(sites=3, rounds=2) if quick else replace(MILLION, rounds=6)
    found = _measure_rounds(shape)
    what = f"{shape.sites} sites, {found.parameters:,} parameters"
    one = Figure(
        f"replay of a round, one core: {what}",
        ours=median(found.replaying),
        peer=median(found.closing),
        peer_name="closing it",
        unit="s",
        target=_HALF,
    )
    jobs = max(found.audits)
    whole = Figure(
        f"audit of {shape.rounds} rounds, {jobs} {'processes' if jobs > 1 else 'process'}: {what}",
        ours=found.audits[jobs],
        peer=sum(found.closing),
        peer_name="closing them",
        unit="s",
        target=_HALF,
    )
    details = [
        Detail("reading the rounds from the chain", found.reading, "s"),
        *(
            Detail(f"the whole audit with --jobs {count}", seconds, "s")
            for count, seconds in found.audits.items()
        ),
    ]
    return Result([one, whole], {"replay": details})


def _measure_rounds(shape: Shape) -> _Measured:
    with prepared(shape.scenario()) as network:
        session = session_of(network)
        first = session.position()
        closing = [seconds for seconds, _ in close_rounds(network, session, shape.rounds)]
        started = perf_counter()
        rounds = network.contract.closed_rounds(network.study)
        reading = perf_counter() - started
        base, history = first.base, first.history
        replaying = []
        for found in rounds:
            seen = ClosedRound(found.round, found.closing, found.entries)
            started = perf_counter()
            replayed = replay_round(
                session.facts, session.spec, base, seen, session.store.map, history
            )
            replaying.append(perf_counter() - started)
            base, history = replayed.settlement.model, replayed.history
        audits = {}
        for jobs in sorted({1, offered(session.store)}):
            started = perf_counter()
            work = StudyAudit(network.contract, network.study, session.store)
            assert len(list(work.rounds(jobs))) == shape.rounds
            work.check_objects()
            audits[jobs] = perf_counter() - started
        parameters = network.params.parameter_count
        return _Measured(closing, replaying, reading, audits, parameters)
