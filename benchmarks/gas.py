"""Gas of closing a round: real transactions with real signatures on the embedded chain.

The peers are what sketches of other designs needed: a coordinator's one transaction that checks
every signature with an accumulator (180 thousand at 10 sites, 1.38 million at 100), and one
transaction of its own for each site (515 thousand and 5.15 million).
"""

from __future__ import annotations

from typing import Literal

from benchmarks.figure import Detail, Figure, Result, Target
from benchmarks.network import Shape, asked_sites, prepared, session_of, signed_replies

Recording = Literal["root", "full"]

_ROOT_LIMIT = 60_000
_SKETCH = {10: 180_000.0, 100: 1_380_000.0}
_OWN_TRANSACTIONS = {10: 515_000.0, 100: 5_150_000.0}


def measure(quick: bool) -> Result:
    """Measure the dearest of two rounds for each recording and number of sites."""
    root_sites, full_sites = ([2, 3], [2, 3]) if quick else ([10, 100, 1000], [10, 100])
    figures, details = [], []
    for sites in root_sites:
        gas = _gas("root", sites)
        figures.append(
            Figure(
                f"root recording, {sites:,} sites",
                ours=max(gas),
                unit="gas",
                peer=_OWN_TRANSACTIONS.get(sites),
                peer_name="own transactions" if sites in _OWN_TRANSACTIONS else "",
                inverse=True,
                target=Target(_ROOT_LIMIT, at_most=True),
                absolute=True,
            )
        )
    for sites in full_sites:
        gas = _gas("full", sites)
        figures.append(
            Figure(
                f"full recording, {sites:,} sites",
                ours=max(gas),
                unit="gas",
                peer=_SKETCH.get(sites),
                peer_name="sketch" if sites in _SKETCH else "",
            )
        )
        details.append(Detail(f"full recording, {sites:,} sites, a site", max(gas) / sites, "gas"))
        if sites in _OWN_TRANSACTIONS:
            times = _OWN_TRANSACTIONS[sites] / max(gas)
            details.append(Detail(f"own transactions of {sites:,} sites beside it", times, "times"))
    return Result(figures, {"gas": details})


def _gas(recording: Recording, sites: int) -> list[int]:
    shape = Shape(sites, rounds=2, recording=recording, scoring="examples")
    with prepared(shape.scenario()) as network:
        session = session_of(network)
        position, asked, gas = session.position(), asked_sites(network), []
        for _ in range(shape.rounds):
            replies = signed_replies(network, position, seed=7)
            closed = session.run_round(position, asked, enumerate(replies))
            gas.append(closed.gas)
            position = closed.position
        return gas
