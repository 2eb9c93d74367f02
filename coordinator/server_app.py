"""The Flower ServerApp: the same under every engine.

The coordinator's folder (``coordinator.toml`` and its key) is found through the run
configuration; a simulation names the network's folder there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from coordinator.rounds_file import append_line, round_summary
from coordinator.session import Session
from coordinator.settings import CoordinatorSettings, load_coordinator_settings
from coordinator.strategy import RoundResult, WardroundStrategy
from ledger.chain import connected
from ledger.key_file import read_key
from ledger.store import open_store
from ledger.ward_round import WardRound
from protocol.errors import RoundFailed, ScenarioError

NETWORK_KEY = "network"
#: Told of each closed round as the JSON value that is also written to the rounds file.
OnSummary = Callable[[dict[str, Any]], None]


def make_server_app(on_summary: OnSummary = lambda summary: None) -> ServerApp:
    """Make a ServerApp that also tells somebody in this process of every closed round."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        network = str(context.run_config.get(NETWORK_KEY, ""))
        if not network:
            raise ScenarioError(
                "flwr run", "no network is named: use `wardround simulate` to make one"
            )
        coordinate(Path(network) / "coordinator", grid, on_summary)

    return server_app


def coordinate(folder: Path, grid: Grid, on_summary: OnSummary) -> None:
    """Run a study to its end from a coordinator's folder.

    Raises:
        SpecificationError: the settings cannot be used.
        RoundFailed: a round found too few good contributions, every time it was tried.
    """
    settings = load_coordinator_settings(folder)
    with connected(settings.study.chain, settings.study.chain_id) as chain:
        _coordinate(settings, folder, WardRound(chain, settings.study.contract), grid, on_summary)


def _coordinate(
    settings: CoordinatorSettings,
    folder: Path,
    contract: WardRound,
    grid: Grid,
    on_summary: OnSummary,
) -> None:
    signer = read_key(folder / settings.coordinator.key_file)
    store = open_store(folder / settings.coordinator.store)
    session = Session(contract, signer, store, contract.facts(settings.study_id))
    rounds_file = folder / settings.coordinator.rounds_file

    def on_round(result: RoundResult) -> None:
        summary = round_summary(result, strategy.names)
        append_line(rounds_file, summary)
        on_summary(summary)

    def on_failure(failure: RoundFailed) -> None:
        append_line(rounds_file, {"round": failure.round_number, "failed": str(failure)})

    strategy = WardroundStrategy(
        session,
        sites_wanted=settings.study.sites,
        reply_seconds=settings.coordinator.reply_seconds,
        attempts=settings.coordinator.attempts,
        on_round=on_round,
        on_failure=on_failure,
    )
    strategy.start(grid)


app = make_server_app()
