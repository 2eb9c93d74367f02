"""What an engine costs a message: our in-process Grid beside Flower's Simulation Runtime (Ray).

Both run the same apps on the same grid calls: the server sends a model of 31 parameters to every
node, the client sends it back. The client does nothing, so all the time is the engine's. Starting
is not counted; it is shown beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from benchmarks.figure import Detail, Figure, Result, Target
from wardround_simulations.engines import run_flower_simulation, run_in_process

_PARAMETERS = 31


def measure(quick: bool) -> Result:
    """Measure both engines at 100 sites."""
    sites, rounds = (4, 2) if quick else (100, 10)
    # Before and after, because the machine may not be equally busy all the time.
    ours, ours_start = _measure(_in_process, sites, 5 * rounds)
    peer, peer_start = _measure(_on_ray, sites, rounds)
    ours += _measure(_in_process, sites, 5 * rounds)[0]
    return Result(
        figures=[
            Figure(
                f"overhead per client message, {sites} sites",
                ours=1e3 * median(ours),
                peer=1e3 * median(peer),
                peer_name="Flower on Ray",
                unit="ms",
                inverse=True,
                target=Target(20, at_most=False),
            )
        ],
        details={
            "engines": [
                Detail("in process: start and first round", ours_start, "s"),
                Detail("Ray: start and first round", peer_start, "s"),
                Detail("in process: fastest round, a message", 1e3 * min(ours), "ms"),
                Detail("Ray: fastest round, a message", 1e3 * min(peer), "ms"),
            ]
        },
    )


def _in_process(server: ServerApp, sites: int) -> None:
    run_in_process(server, _client(), [{} for _ in range(sites)], {})


def _on_ray(server: ServerApp, sites: int) -> None:
    run_flower_simulation(server, _client(), sites, {})


def _measure(
    run: Callable[[ServerApp, int], None], sites: int, rounds: int
) -> tuple[list[float], float]:
    told: list[float] = []
    run(_server(sites, rounds, perf_counter(), told), sites)
    return told[1:], told[0]


def _server(sites: int, rounds: int, started: float, told: list[float]) -> ServerApp:
    """Tell first the seconds to the end of a round that is not counted, then seconds a message."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        while len(nodes := list(grid.get_node_ids())) < sites:
            time.sleep(0.02)
        model = ArrayRecord({"model": Array(np.zeros(_PARAMETERS, np.float32))})
        for number in range(rounds + 1):
            content = RecordDict({"model": model, "config": ConfigRecord({"round": number})})
            before = perf_counter()
            messages = [Message(content, dst_node_id=node, message_type="train") for node in nodes]
            replies = list(grid.send_and_receive(messages))
            now = perf_counter()
            assert sum(reply.has_content() for reply in replies) == sites
            told.append((now - before) / sites if number else now - started)

    return app


def _client() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1})
        content = RecordDict({"model": message.content["model"], "metrics": metrics})
        return Message(content, reply_to=message)

    return app
