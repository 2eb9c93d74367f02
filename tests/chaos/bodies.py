"""What each process of a chaos run does; loaded once, before any of them is forked."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.chaos.sites import RemoteSites, serve_site
from wardround.chain.errors import ChainError
from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
from wardround_client.app.client_app import app as _site_app  # noqa: F401  loaded here, once for all
from wardround_client.guard import run as guard_run
from wardround_client.trainer.local import LocalTrainer
from wardround_coordinator.server_app import coordinate
from wardround_simulations.engines import run_in_process


def coordinator_body(folder: Path, site_ports: Sequence[int]) -> None:
    """Coordinate, or stand by, until the study is over."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        coordinate(folder, grid, _tell, standby=True, say=_say)

    run_in_process(
        server_app, RemoteSites(site_ports), [{} for _ in site_ports], {}, workers=len(site_ports)
    )


def site_body(home: Path, port: int) -> None:
    """Carry messages to the guard, and its answers back."""
    serve_site(home, port)


def guard_body(home: Path, password: str) -> None:
    """Guard a site's key, and train."""
    torch.set_num_threads(1)
    # Here and not in a process of its own, which would import PyTorch at each of a hundred starts.
    vars(guard_run)["start_trainer"] = lambda *_: LocalTrainer()
    guard_run.run_guard(home, password, lambda: int(time.time()), _say, _say)


def chain_body(folder: Path, genesis: Genesis, port: int, block_seconds: float = 0.0) -> None:
    """Be a development chain, until ended.

    Args:
        folder: of its journal.
        genesis: what it starts from.
        port: where it listens.
        block_seconds: also mine a block so often, for confirmations; 0 for blocks with
            transactions in them only.
    """
    with DurableAnvil(folder, genesis, port=port) as durable:
        if not block_seconds:
            signal.sigwait({signal.SIGTERM})
            return
        while signal.sigtimedwait({signal.SIGTERM}, block_seconds) is None:
            with suppress(ChainError):
                durable.chain.rpc("evm_mine")


def _tell(summary: dict[str, Any]) -> None:
    _say(f"round {summary['round']} is closed; {summary['wall_seconds']:.3f} s")


def _say(words: str) -> None:
    print(f"{time.time():.3f} {words}")
