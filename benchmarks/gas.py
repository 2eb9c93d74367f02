"""Gas of closing a round: real transactions with real signatures on the embedded chain.

The peers are what sketches of other designs needed: a coordinator's one transaction that checks
every signature with an accumulator (180 thousand at 10 sites, 1.38 million at 100), and one
transaction of its own for each site (515 thousand and 5.15 million).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchmarks.figure import Detail, Figure, Result, Target
from benchmarks.network import Shape, close_rounds, prepared, session_of

Recording = Literal["root", "full"]

_ROOT_LIMIT = 60_000
_SKETCH = {10: 180_000.0, 100: 1_380_000.0}
_OWN_TRANSACTIONS = {10: 515_000.0, 100: 5_150_000.0}


def measure(quick: bool) -> Result:
    """Measure the dearest of two rounds for each recording and number of sites."""
    root_sites, full_sites = ([2, 3], [2, 3]) if quick else ([10, 100, 1000], [10, 100])
    limit = Target(_ROOT_LIMIT, at_most=True)
    figures = [
        replace(_figure("root", sites), inverse=True, target=limit, absolute=True)
        for sites in root_sites
    ]
    details = []
    for sites in full_sites:
        figure = _figure("full", sites)
        figures.append(figure)
        details.append(Detail(f"{figure.what}, a site", figure.ours / sites, "gas"))
        if sites in _OWN_TRANSACTIONS:
            times = _OWN_TRANSACTIONS[sites] / figure.ours
            details.append(Detail(f"own transactions of {sites:,} sites beside it", times, "times"))
    return Result(figures, {"gas": details})


def _figure(recording: Recording, sites: int) -> Figure:
    peers = _OWN_TRANSACTIONS if recording == "root" else _SKETCH
    name = "own transactions" if recording == "root" else "sketch"
    shape = Shape(sites, rounds=2, recording=recording)
    with prepared(shape.scenario()) as network:
        rounds = close_rounds(network, session_of(network), shape.rounds)
        dearest = max(closed.gas for _, closed in rounds)
    return Figure(
        f"{recording} recording, {sites:,} sites",
        ours=dearest,
        unit="gas",
        peer=peers.get(sites),
        peer_name=name if sites in peers else "",
    )
