"""Simulate a scenario from nothing to a finished run folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.audit.finished import note_journal
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain, open_chain
from wardround.devchain.anvil import Anvil
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of
from wardround.devchain.journal import Journal, start_journaled
from wardround.host.code import training_files
from wardround.host.key_file import read_key
from wardround.protocol.errors import ScenarioError, WardroundError
from wardround.transport.bundle import write_app
from wardround.transport.flower.grid import OnReply
from wardround_coordinator.server_app import OnSummary, make_server_app
from wardround_simulations.client_app import app as client_app
from wardround_simulations.engines import flwr_run, run_flower_simulation, run_in_process
from wardround_simulations.network import Keys, Network, OnProgress, new_folder, new_keys, prepare
from wardround_simulations.plots import draw
from wardround_simulations.results import Results, collect
from wardround_simulations.scenario import Engine, Scenario, keep_scenario
from wardround_simulations.sites import SIMULATION_KEY

#: Chain id of development chains, as Foundry and Hardhat use it.
_ETHER = 10**18


@dataclass(frozen=True)
class ChainChoice:
    """Which chain a simulation runs on.

    Attributes:
        kind: ``embedded``, ``anvil``, or the URL of an endpoint.
        chain_id: of the development chain; for an endpoint, the only id that is accepted.
        funder_key: file with a key that pays for gas on an endpoint; not needed where gas is free.
    """

    kind: str = "embedded"
    chain_id: int | None = None
    funder_key: Path | None = None

    @property
    def in_process(self) -> bool:
        """Whether no other process can reach the chain."""
        return self.kind == "embedded"

    @property
    def is_development(self) -> bool:
        """Whether the chain is the simulation's own, and ends with it."""
        return self.kind in ("embedded", "anvil")


@dataclass(frozen=True)
class Watcher:
    """Callbacks for progress; each does nothing by default."""

    on_progress: OnProgress = lambda words: None
    on_start: Callable[[Network], None] = lambda network: None
    on_reply: OnReply = lambda node, kind, seconds: None
    on_round: OnSummary = lambda summary: None


def simulate(
    scenario: Scenario,
    scenario_text: str,
    out: Path,
    *,
    engine: Engine = "in-process",
    choice: ChainChoice | None = None,
    data_dir: Path | None = None,
    watcher: Watcher | None = None,
    confidential: bool = False,
    simulation_key: str | None = None,
) -> Results:
    """Prepare a network, run its study to the end, and sum it up.

    Args:
        scenario_text: its TOML, kept in the folder for readers.
        out: a new or empty folder.
        engine: our Grid in this process; Flower's Simulation Runtime; or ``flwr run`` with a
            SuperLink of its own.
        choice: the chain; by default one in this process.
        data_dir: folder with the user's own copies of data files.
        watcher: callbacks for progress.
        confidential: encrypt updates and models in the store.
        simulation_key: of which the sites' secrets are made; None takes the public one.
    Raises:
        ScenarioError: engine, chain and scenario do not go together.
        WardroundError: data, chain or study fail; see each.
    """
    choice, watcher = choice or ChainChoice(), watcher or Watcher()
    if choice.in_process and engine != "in-process":
        raise ScenarioError(
            scenario.study.name,
            f"the embedded chain lives in one process, and {engine} has several: add --chain anvil",
        )
    if engine == "flwr" and any(row.attack != "label_flip" for row in scenario.behaviour):
        raise ScenarioError(
            scenario.study.name, "flwr run starts honest sites only: use --engine ray"
        )
    if choice.is_development and choice.funder_key is not None:
        raise ScenarioError(
            str(choice.funder_key), "gas is free on a chain of its own: leave --funder-key out"
        )
    started = time.monotonic()
    # Before anything is made: a wrong address or key leaves nothing behind.
    shared = None if choice.is_development else _shared_chain(choice)
    made = [path for path in (out, *out.parents) if not path.exists()]
    folders = new_folder(out)
    try:
        keep_scenario(scenario, scenario_text, folders.root)
        keys = new_keys(folders)
        with _chain(choice, shared, folders, keys, watcher.on_progress) as (chain, catch_up):
            network = prepare(
                scenario,
                folders,
                keys,
                chain,
                data_dir=data_dir,
                on_progress=watcher.on_progress,
                confidential=confidential,
                simulation_key=simulation_key or SIMULATION_KEY,
            )
            watcher.on_start(network)
            try:
                _run(engine, network, watcher, lambda summary: _closed(summary, catch_up, watcher))
            finally:
                catch_up()
            watcher.on_progress("summing up")
            results = collect(network, time.monotonic() - started)
            note_journal(folders)
    except BaseException:
        # Before there is a study nothing is lost, unless its keys hold money of a lasting chain.
        if choice.is_development and not folders.network.exists():
            _remove(folders.root, made)
        raise
    draw(results.rounds, scenario.study.name, folders.root / "plots")
    return results


def _closed(summary: dict[str, Any], catch_up: Callable[[], None], watcher: Watcher) -> None:
    catch_up()
    watcher.on_round(summary)


def _remove(folder: Path, made: list[Path]) -> None:
    """Undo the making of a folder, so that the same command can be repeated.

    Args:
        folder: a run's; what is in it is removed.
        made: it and its parents, innermost first, as far as they were made for the run.
    """
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):  # another run has begun beside it
        for path in made:
            path.rmdir()


def _run(engine: Engine, network: Network, watcher: Watcher, on_round: OnSummary) -> None:
    # Absolute, because Flower's processes work in folders of their own.
    config = {"network": str(network.folders.root.resolve())}
    sites = len(network.parties)
    # Only in process do sites and guards share one.
    with network.guarded(lambda: int(time.time()), at_sockets=engine != "in-process"):
        if engine == "in-process":
            run_in_process(
                make_server_app(on_round),
                client_app,
                [{} for _ in network.parties],
                config,
                on_reply=watcher.on_reply,
            )
        elif engine == "ray":
            run_flower_simulation(make_server_app(on_round), client_app, sites, config)
        else:
            with TemporaryDirectory(prefix="wardround-app-") as folder:
                write_app(Path(folder), training_files())
                flwr_run(Path(folder), config, num_supernodes=sites, on_line=watcher.on_progress)


@contextmanager
def _chain(
    choice: ChainChoice,
    shared: tuple[Chain, LocalAccount | None] | None,
    folders: Folders,
    keys: Keys,
    on_progress: OnProgress,
) -> Iterator[tuple[Chain, Callable[[], None]]]:
    """Open the chosen chain; yield it, and what brings its journal up to date."""
    if shared is not None:
        with closing(shared[0]) as chain:
            if shared[1] is not None:
                _pay_for_gas(chain, shared[1], keys, on_progress)
            yield chain, lambda: None
        return
    now = int(time.time())
    balances = balances_of(keys.addresses)
    genesis = Genesis(choice.chain_id or DEV_CHAIN_ID, now, balances)
    if choice.kind == "embedded":
        name = f"{folders.root.name}-{os.getpid()}-{time.monotonic_ns()}"
        embedded = EmbeddedChain(name, genesis, clock=lambda: int(time.time()))
        journal = start_journaled(folders.journal, embedded)
        try:
            yield embedded, lambda: None
        finally:
            journal.close()
            embedded.close()
    else:
        on_progress("starting anvil")
        with Anvil(genesis) as anvil:
            journal = Journal.create(folders.journal, genesis)
            try:
                yield anvil.chain, lambda: journal.catch_up(anvil.chain)
            finally:
                journal.close()


def _shared_chain(choice: ChainChoice) -> tuple[Chain, LocalAccount | None]:
    """Open a chain that others use too, and read the key that pays for gas there, if any does."""
    chain = open_chain(choice.kind, choice.chain_id)
    try:
        if choice.funder_key is not None:
            return chain, read_key(choice.funder_key)
        if not chain.is_free():
            raise ScenarioError(
                choice.kind, "name a file with a key that pays for gas there: --funder-key FILE"
            )
        return chain, None
    except WardroundError:
        chain.close()
        raise


def _pay_for_gas(chain: Chain, funder: LocalAccount, keys: Keys, on_progress: OnProgress) -> None:
    on_progress("paying sponsor and coordinator for gas")
    for address in keys.addresses:
        chain.transfer(funder, address, _ETHER)
