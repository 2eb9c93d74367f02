"""What to demand of a closed round at once, so that nothing of it can be shown too late.

A coordinator may show each thing that it withheld in the last second for it. Demands about one
thing are therefore made together, or spread over no more windows than are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from wardround.chain.court_events import Demanded
from wardround.protocol.commitments import names_of
from wardround.protocol.evidence import Demand, Hidden, What
from wardround.protocol.record import StudyParams

#: Chunks that are demanded together, at least; each costs a deposit.
CHUNKS_AT_ONCE = 16


def next_demands(
    params: StudyParams,
    closed_at: int | None,
    withheld: Sequence[Hidden],
    made: Sequence[Demanded],
    now: float,
) -> list[Demand]:
    """Choose what to demand now.

    Entries, rows and pages come all at once, since other demands follow from them. Chunks come in
    as many steps as whole windows are left, since one of the first may prove the round wrong.

    Args:
        params: the study's.
        closed_at: when the round was closed; None of a lock, about which demands may be made as
            long as it is valid: then all chunks follow once a few were demanded.
        withheld: what is not to be had.
        made: the demands about the round so far.
        now: seconds since 1970.
    Source:
        Demands.sol, demandChunk, has the last moment of each demand.
    """
    window, step = params.challenge_seconds, params.demand_seconds
    demands: list[Demand] = []
    chunks: dict[int, list[Iterator[Demand]]] = {}
    left: Counter[int] = Counter()
    for one in withheld:
        what, asked = one.demand.what, _asked(one, made)
        if what is What.ENTRY or what.is_named:
            demands += one.demands(asked)
            continue
        latest = 0 if closed_at is None else closed_at + window
        if closed_at is not None and what is What.UPDATE:
            latest += window + step
            if names_of(params.rule, params.scoring):
                # What their rows must be follows from updates; then pages are demanded.
                latest -= 2 * step
        chunks.setdefault(latest, []).append(one.demands(asked))
        left[latest] += one.left(asked)
    for latest, found in sorted(chunks.items()):
        steps = max(1, int(latest - now) // step)
        count = max(CHUNKS_AT_ONCE, -(-left[latest] // steps))
        if closed_at is None and not any(one.what is What.UPDATE for one in made):
            count = CHUNKS_AT_ONCE
        demands += islice(chain.from_iterable(found), count)
    return demands


def _asked(withheld: Hidden, made: Sequence[Demanded]) -> set[int]:
    """Places of it that were demanded."""
    one = withheld.demand
    if withheld.by_row:
        rows = (event for event in made if (event.what, event.index) == (one.what, one.index))
        return {event.entry_index for event in rows}
    leaves = (event for event in made if (event.what, event.entry_index) == (one.what, one.place))
    return {event.index for event in leaves}
