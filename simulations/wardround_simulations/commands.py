"""``wardround simulate`` and ``wardround scenarios``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from wardround.audit.folders import Folders
from wardround.host.screen import Screen
from wardround.protocol.errors import ScenarioError
from wardround_simulations.confidential import READING_KEY
from wardround_simulations.scenario import Engine, builtin_scenarios, load_scenario, with_changes
from wardround_simulations.screen import RunProgress, rewards_table, rounds_table

if TYPE_CHECKING:
    from wardround_simulations.run import Watcher

_out = Screen(highlight=False, markup=False)
#: Prints a line whole, however narrow the screen is, so that it can be copied.
_line = partial(_out.print, soft_wrap=True)
_err = Screen(stderr=True, highlight=False, markup=False)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What may be chosen for a scenario, wherever it runs."""

    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder with your own copies of the data files; by default $WARDROUND_DATA_DIR."
        ),
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Instead of the scenario's.")
    ] = None
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**53 - 1, help="Instead of the scenario's.")
    ] = None
    confidential: Annotated[
        bool, typer.Option("--confidential", help="Encrypt updates and models in the store.")
    ] = False


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario by name (see `wardround scenarios`), or a TOML file.")
    ] = "demo",
    *,
    terms: Terms,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default a new one in runs/.")
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="in-process; ray, Flower's Simulation Runtime; or flwr, the `flwr run` command."
        ),
    ] = "in-process",
    chain: Annotated[
        str, typer.Option(help="embedded, anvil, or the URL of a JSON-RPC endpoint.")
    ] = "embedded",
    chain_id: Annotated[
        int | None, typer.Option(min=1, max=2**53 - 1, help="Accept this chain id only.")
    ] = None,
    funder_key: Annotated[
        Path | None, typer.Option(help="File with a key that pays for gas at the endpoint.")
    ] = None,
    simulation_key: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Of which the sites' secrets are made: the order of their rows, and noise. The "
            "default is public, so that equal commands give equal models.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, nothing else.")
    ] = False,
) -> None:
    """Simulate hospitals that learn together, with every round on a chain.

    Examples:
      wardround simulate

      wardround simulate four-hospitals --data-dir ~/heart

      wardround simulate attackers --json > summary.json

      wardround simulate demo --engine ray --chain anvil

      wardround simulate demo --confidential
    """
    # PyTorch and Flower take seconds to import, and only this command needs them.
    from wardround_simulations.run import ChainChoice
    from wardround_simulations.run import simulate as run_simulation

    chosen, text = load_scenario(scenario)
    chosen = with_changes(chosen, rounds=terms.rounds, seed=terms.seed)
    folder = out or _new_run_folder(chosen.study.name)
    with _watched(as_json) as watcher:
        results = run_simulation(
            chosen,
            text,
            folder,
            engine=engine,
            choice=ChainChoice(chain, chain_id, funder_key),
            data_dir=terms.data_dir,
            watcher=watcher,
            confidential=terms.confidential,
            simulation_key=simulation_key,
        )
    if as_json:
        print(json.dumps(results.summary))
        return
    final = results.summary["final"]
    _out.print(rounds_table(results.rounds, chosen.study.name, _out.width))
    _out.print(rewards_table(results.rounds))
    auc = final["pooled_auc"]
    _out.print(
        f"Final model: average accuracy over the sites {final['average_accuracy']:.4f}, "
        f"pooled accuracy {final['pooled_accuracy']:.4f}, "
        f"AUC {'–' if auc is None else f'{auc:.4f}'}, log-loss {final['pooled_log_loss']:.4f}."
    )
    _line(f"Study {results.summary['study']}")
    _line(f"Everything is in {folder}: store, journal, manifests, plots, model.")
    key = ""
    if terms.confidential:
        key = f" --reading-key {Folders(folder).auditor / READING_KEY}"
        _line(
            "Updates and models are encrypted in its store; the model in the clear is beside the "
            "coordinator's keys."
        )
    _line("\nNext:", style="bold")
    program = _program()
    _line(f"  {program} audit {folder}{key}    replay every round from chain and store alone")
    _line(f"  {program} claim {folder}    pay the sites what they have earned")
    _line(f"  {program} explore {folder}  look at it all in a browser, and check it there")


def scenarios() -> None:
    """List the scenarios that come with wardround.

    Example:
      wardround scenarios
    """
    table = Table(header_style="bold")
    table.add_column("scenario")
    table.add_column("what happens")
    for name in builtin_scenarios():
        table.add_row(name, load_scenario(name)[0].about)
    _out.print(table)


@contextmanager
def _watched(quiet: bool) -> Iterator[Watcher]:
    """Show progress on standard error, so that standard output holds results alone."""
    from wardround_simulations.run import Watcher

    if quiet or not _err.is_terminal:
        yield Watcher() if quiet else Watcher(on_progress=lambda words: _err.print(f"… {words}"))
        return
    bars: list[RunProgress] = []
    status = _err.status("preparing")
    status.start()

    def start(network: Any) -> None:
        status.stop()
        bars.append(RunProgress(_err, network.params.rounds, len(network.parties)))

    try:
        yield Watcher(
            on_progress=lambda words: status.update(words),
            on_start=start,
            on_reply=lambda *reply: bars[0].reply(*reply),
            on_round=lambda summary: bars[0].closed(summary),
        )
    finally:
        status.stop()
        if bars:
            bars[0].stop()


def _program() -> str:
    """How to call this program from here: by name, or by its place in an environment."""
    if shutil.which("wardround") is not None or "/" not in sys.argv[0]:
        return "wardround"
    return os.path.relpath(sys.argv[0])


def _new_run_folder(name: str) -> Path:
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise ScenarioError(name, "runs/ is full: remove some, or name a folder with --out")
