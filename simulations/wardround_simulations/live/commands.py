"""``wardround network ...``: a whole network of real processes on this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from wardround.audit.finished import read_network
from wardround.audit.folders import Folders
from wardround.chain.errors import ChainError
from wardround.chain.ward_round import WardRound
from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround.protocol.errors import ScenarioError, SpecificationError
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.transport.processes import end_all, running, with_descendants
from wardround.transport.supervision import stop_asked
from wardround_simulations.commands import Terms
from wardround_simulations.confidential import READING_KEY
from wardround_simulations.live.record import SUPERVISOR, forget_processes, read_processes
from wardround_simulations.scenario import load_scenario, with_changes
from wardround_simulations.screen import rewards_table, rounds_table

app = Commands(epilog="Start with: wardround network up")
_out = Screen(highlight=False, markup=False, soft_wrap=True)
_END_SECONDS = 60.0
_FOLDER = Path("networks") / "demo"
_Folder = Annotated[Path, typer.Argument(help="The network's folder.", show_default=True)]


@app.command()
def up(
    folder: _Folder = _FOLDER,
    *,
    terms: Terms,
    scenario: Annotated[
        str, typer.Option(help="A scenario by name (see `wardround scenarios`), or a TOML file.")
    ] = "demo",
    sites: Annotated[
        int | None, typer.Option(min=1, max=100, help="Instead of the scenario's.")
    ] = None,
    standbys: Annotated[
        int, typer.Option(min=0, max=16, help="Coordinators that stand by for the first.")
    ] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running after the study.")
    ] = False,
) -> None:
    """Start everything, show what happens, and end everything when the study is finished.

    Ctrl-C, or `wardround network down` from elsewhere, ends it before. With --standbys, a
    coordinator whose round takes longer than the scenario's round_seconds and grace_seconds is
    replaced.

    Examples:
      wardround network up

      wardround network up networks/small --sites 2 --rounds 1

      wardround network up networks/heart --scenario four-hospitals --rounds 3 --data-dir ~/heart

      wardround network up networks/two --scenario hasty.toml --standbys 1
    """
    # PyTorch and Flower take seconds to import, and only this command needs them.
    from wardround_simulations.live.run import LiveNetwork

    chosen, text = load_scenario(scenario)
    chosen = with_changes(chosen, sites=sites, rounds=terms.rounds, seed=terms.seed)
    with stop_asked() as stopped:
        network = LiveNetwork(folder, _tell, lambda: datetime.now(UTC), stopped)
        results = network.run(
            chosen,
            text,
            terms.data_dir,
            keep=keep,
            standbys=standbys,
            confidential=terms.confidential,
        )
    if results is None:
        _out.print(f"stopped before the study's end; everything so far is in {folder}")
        raise typer.Exit(130)
    _out.print(rounds_table(results.rounds, chosen.study.name, _out.width))
    _out.print(rewards_table(results.rounds))
    _out.print(f"Everything is in {folder}: homes, logs, chain, store, model.")
    key = f" --reading-key {Folders(folder).auditor / READING_KEY}" if terms.confidential else ""
    _out.print(f"Next: wardround audit {folder}{key}")


@app.command()
def status(
    folder: _Folder = _FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which processes of a network run, and how far its study is.

    Examples:
      wardround network status networks/demo
    """
    found = _status(folder)
    if as_json:
        print(json.dumps(found))
        return
    table = Table(header_style="bold")
    for column in ("process", "pid", "state"):
        table.add_column(column, justify="right" if column == "pid" else "left")
    for name, row in found["processes"].items():
        table.add_row(name, str(row["pid"]), "running" if row["running"] else "NOT running")
    if found["processes"]:
        _out.print(table)
    else:
        _out.print("No process of this network runs.")
    _out.print(f"study {found['study']}")
    if found["coordinator"]:
        _out.print(f"coordinator {found['coordinator']} is active")
    _out.print(f"{found['rounds_closed']} rounds are closed; chain {found['chain']}")


@app.command()
def down(folder: _Folder = _FOLDER) -> None:
    """End every process of a network; nothing that was written is lost.

    Examples:
      wardround network down networks/demo
    """
    read_network_or_processes(folder)
    processes = read_processes(folder)
    supervisor = processes.get(SUPERVISOR)
    # The supervisor first, because it restarts the others; it ends them itself, if it can.
    forced = [] if supervisor is None else end_all([supervisor], _END_SECONDS)
    left = running(processes.values())
    below = with_descendants([mark.pid for mark in left])
    forced += end_all(below, _END_SECONDS)
    forget_processes(folder)
    _out.print(f"{len(processes)} processes have ended." if processes else "Nothing was running.")
    if forced:
        _out.print(f"{len(forced)} of them had to be forced.")


def read_network_or_processes(folder: Path) -> None:
    """Check that a folder is a network's, finished or in the making.

    Raises:
        ScenarioError: it is neither.
    """
    if not (Folders(folder).network.exists() or (folder / "processes.json").exists()):
        raise ScenarioError(str(folder), "this is not the folder of a network")


def _status(folder: Path) -> dict[str, Any]:
    from wardround_coordinator.rounds_file import read_rounds  # brings PyTorch with it

    read_network_or_processes(folder)
    processes = read_processes(folder)
    alive = set(running(processes.values()))
    found: dict[str, Any] = {
        "processes": {
            name: {"pid": mark.pid, "running": mark in alive} for name, mark in processes.items()
        },
        "study": None,
        "coordinator": None,
        "rounds_closed": len(read_rounds(*Folders(folder).all_rounds)),
        "chain": "is not there yet",
    }
    with suppress(SpecificationError):
        file = read_network(folder)
        found["study"] = file.study
        try:
            with WardRound.at(file.chain, file.chain_id, file.contract) as ward:
                found["chain"] = f"{file.chain} is at block {ward.chain.block().number}"
                study = StudyId(bytes32(file.study, "study"))
                found["coordinator"] = ward.study(study).coordinator
        except ChainError:
            found["chain"] = f"{file.chain} does not answer"
    return found


def _tell(who: str, words: str) -> None:
    """Print a party's message behind its name."""
    _out.show(f"{datetime.now():%H:%M:%S} {who:>12}  {words}")
