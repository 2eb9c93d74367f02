"""Federated averaging as Flower has it; notes when each round ended."""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from task import network

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    config = context.run_config
    sites = int(config["sites"])

    def note(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        with Path(str(config["times"])).open("a", encoding="utf-8") as times:
            times.write(f"{time.time():.3f}\n")
        return None

    strategy = FedAvg(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites)
    arrays = ArrayRecord(network(config).state_dict())
    strategy.start(grid, arrays, num_rounds=int(config["rounds"]), evaluate_fn=note)
