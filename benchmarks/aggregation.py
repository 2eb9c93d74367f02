"""Averaging large updates: our running integer mean beside flwr's `FedAvg`.

Both start from replies as they come off the wire (flwr: `ArrayRecord`s of float32; ours: raw
int32 of the same values) and end with the bytes of the result. The peak of memory is measured in
a process of its own, where each reply comes into being when it is asked for: ours lets go of it
before the next, flwr's function needs them all.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from benchmarks.figure import Detail, Figure, Result, Target, medians_of, seconds_of
from benchmarks.machine import copy_seconds
from wardround.protocol.fixed_point import vector_bytes, vector_from_bytes
from wardround.protocol.merkle import vector_root
from wardround.protocol.rules import RunningMean
from wardround.transport.flower.identity import assume_server_identity

_SCALE = np.float32(2.0**-20)
_PAGE_KILOBYTES = 4.096
_WEIGHT = "num-examples"
_PEER = FedAvg(weighted_by_key=_WEIGHT)
logging.getLogger("flwr").setLevel(logging.WARNING)


def measure(quick: bool) -> Result:
    """Measure 10 updates of 25 million parameters."""
    count, sites = (10_000, 3) if quick else (25_000_000, 10)
    ours, peer, copying, rooting = _times(count, sites, repeats=1 if quick else 5)
    gigabytes = sites * count * 4 / 1e9
    peaks = [
        (each, _peak("ours", count, each), _peak("flwr", count, each))
        for each in ([1, 2, 3] if quick else [2, 5, 10])
    ]
    return Result(
        figures=[
            Figure(
                f"average of {sites} updates x {count:,} parameters",
                ours=ours,
                peer=peer,
                peer_name="FedAvg",
                unit="s",
                inverse=True,
                target=Target(1, at_most=False),
            ),
            Figure(
                "peak extra memory, most sites beside fewest",
                ours=peaks[-1][1],
                peer=peaks[0][1],
                peer_name="ours, fewest sites",
                unit="MB",
                target=Target(1.1, at_most=True),
            ),
        ],
        details={
            "aggregation": [
                Detail("ours", gigabytes / ours, "GB/s"),
                Detail("FedAvg", gigabytes / peer, "GB/s"),
                Detail("copying one update in memory", count * 4 / copying / 1e9, "GB/s"),
                Detail("vector root of one update, which verifying adds", rooting, "s"),
            ],
            "peak memory beyond the start, replies included": [
                Detail(f"{who}, {sites} sites", megabytes, "MB")
                for sites, ours_mb, peer_mb in peaks
                for who, megabytes in (("ours", ours_mb), ("FedAvg", peer_mb))
            ],
        },
    )


def _times(count: int, sites: int, repeats: int) -> list[float]:
    """Seconds of ours, of flwr's, of copying one update and of its root."""
    replies, floats = [], []
    drawn = _drawn(count)
    for site in range(sites):
        values = drawn + np.int32(site)  # what is averaged does not matter to the time it takes
        replies.append((values.tobytes(), 100 + site))
        floats.append(_reply(values.astype(np.float32) * _SCALE, 100 + site))
    return medians_of(
        repeats,
        lambda: seconds_of(lambda: _aggregate(count, iter(replies))),
        lambda: seconds_of(lambda: _PEER.aggregate_train(1, floats)),
        copy_seconds(count * 4),
        lambda: seconds_of(lambda: vector_root(replies[0][0])),
    )


def _drawn(count: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(7).integers(-(2**14), 2**14, count, np.int32)


def _reply(values: npt.NDArray[np.float32], weight: int) -> Message:
    assume_server_identity(1)
    model = ArrayRecord({"model": Array(values)})
    content = RecordDict({"model": model, "metrics": MetricRecord({_WEIGHT: weight})})
    return Message(content, dst_node_id=1, message_type="train")


def _aggregate(count: int, replies: Iterator[tuple[bytes, int]]) -> bytes:
    running = RunningMean(count)
    for data, weight in replies:
        running.add(vector_from_bytes(data, count), weight)
        del data  # before the next one comes into being, not after
    return vector_bytes(running.finish())


def _peak(who: str, count: int, sites: int) -> float:
    """Measure one aggregation in a new process; megabytes."""
    command = [sys.executable, "-m", "benchmarks.aggregation", who, str(count), str(sites)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    return float(done.stdout)


def _report_peak(arguments: list[str]) -> None:
    """Aggregate in this process and print by how many megabytes its memory grew at most."""
    who, count, sites = arguments[0], int(arguments[1]), int(arguments[2])
    values = _drawn(count)
    floats = values.astype(np.float32) * _SCALE
    _aggregate(8, iter([(bytes(32), 1)]))  # imports and first uses
    before = _peak_kilobytes()
    if who == "ours":
        _aggregate(count, ((values.tobytes(), 100 + k) for k in range(sites)))
    else:
        records = [_reply(floats, 100 + k) for k in range(sites)]
        _PEER.aggregate_train(1, records)
    # Toy sizes may fit into memory that was freed before; less than a page is not measurable.
    print(max(_peak_kilobytes() - before, _PAGE_KILOBYTES) / 1e3)


def _peak_kilobytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which a process inherits from the one that started it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1.024
    import resource  # not on every system

    peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1e3 if sys.platform == "darwin" else 1)


if __name__ == "__main__":
    _report_peak(sys.argv[1:])
