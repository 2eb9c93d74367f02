"""A whole network on one machine: a chain, coordinators and sites, each its own process."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from wardround.audit.finished import note_journal
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainUnreachable
from wardround.devchain.anvil import find_anvil
from wardround.devchain.durable_anvil import JOURNAL_FILE
from wardround.devchain.errors import anvil_failed
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of
from wardround.host.log import EventLog
from wardround.protocol.identifiers import hex_of
from wardround.transport.ports import free_port
from wardround.transport.processes import ProcessMark, mark_of
from wardround.transport.supervision import Program, Supervisor, module_command
from wardround_coordinator.rounds_file import read_rounds
from wardround_simulations.live.layout import check_live, make_parties
from wardround_simulations.live.record import SUPERVISOR, forget_processes, write_processes
from wardround_simulations.network import Network, new_folder, new_keys, prepare
from wardround_simulations.results import Results, collect
from wardround_simulations.scenario import Scenario, keep_scenario
from wardround_simulations.sites import password_file

_ETHER = 10**18
#: How long a coordinator repeats its request to a site that is slow or restarting.
_RETRY_SECONDS = 120
_LOOK_SECONDS = 0.2
_CHAIN_SECONDS = 60.0
#: After one coordinator has seen the end, the active one has this long to report the last round.
_LAST_WORD_SECONDS = 60.0
CHAIN = "chain"

#: Callback: a party's name, and its message.
Tell = Callable[[str, str], None]


@dataclass
class LiveNetwork:
    """A network that is being run.

    Attributes:
        folder: new or empty.
        tell: shows a party's message.
        now: the time, with a zone.
        stopped: set when it is to end.
    """

    folder: Path
    tell: Tell
    now: Callable[[], datetime]
    stopped: threading.Event
    _supervisor: Supervisor = field(init=False)
    _coordinators: list[str] = field(default_factory=list)
    _written: dict[str, ProcessMark] = field(default_factory=dict)
    _events: dict[str, EventLog] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._supervisor = Supervisor(lambda words: self.tell(SUPERVISOR, words))

    def run(
        self,
        scenario: Scenario,
        text: str,
        data_dir: Path | None,
        *,
        keep: bool = False,
        standbys: int = 0,
        confidential: bool = False,
    ) -> Results | None:
        """Start everything, see the study to its end, and end everything.

        Args:
            text: the scenario's TOML, kept in the folder for readers.
            data_dir: folder with the user's own copies of data files.
            keep: leave everything running after the study, until stopped.
            standbys: how many coordinators there are besides the first; all of them then wait for
                their turn while another is active.
            confidential: encrypt updates and models in the store.

        Returns:
            The study's results; None when stopped before its end.

        Raises:
            AnvilMissing: its chain is not on this machine.
            ScenarioError: the scenario cannot run on real processes, or the folder is in use.
            WardroundError: data, chain or study fail; see each.
        """
        check_live(scenario)
        find_anvil()  # before there is a folder that would be in the way of the next attempt
        started = time.monotonic()
        self._confidential = confidential
        folders = new_folder(self.folder)
        (self.folder / "logs").mkdir()
        keep_scenario(scenario, text, self.folder)
        try:
            with self._chain(folders, standbys) as chain:
                network = self._prepare(scenario, folders, chain, data_dir)
                if not self._finish(network):
                    return None
                self.tell(SUPERVISOR, "summing up")
                results = collect(network, time.monotonic() - started)
                while keep and not self.stopped.wait(_LOOK_SECONDS):
                    self._look()
                return results
        finally:
            self.tell(SUPERVISOR, "ending every process")
            self._supervisor.stop()
            self._show()
            forget_processes(self.folder)
            journal = self.folder / "chain" / JOURNAL_FILE
            if folders.network.exists() and journal.exists():
                shutil.copyfile(journal, folders.journal)
                note_journal(folders)

    @contextmanager
    def _chain(self, folders: Folders, standbys: int) -> Iterator[Chain]:
        keys = new_keys(folders, standbys)
        self._keys = keys
        port, now = free_port(), int(self.now().timestamp())
        genesis = Genesis(DEV_CHAIN_ID, now, balances_of(keys.addresses))
        self._start(
            CHAIN,
            folders.root / "chain",
            "wardround_simulations.live.chain",
            str(folders.root / "chain"),
            str(port),
            json.dumps(asdict(genesis)),
        )
        chain = self._opened(f"http://127.0.0.1:{port}")
        try:
            yield chain
        finally:
            chain.close()

    def _opened(self, url: str) -> Chain:
        deadline = time.monotonic() + _CHAIN_SECONDS
        while time.monotonic() < deadline and self._supervisor.is_running(CHAIN):
            try:
                return open_chain(url, DEV_CHAIN_ID)
            except ChainUnreachable:
                time.sleep(_LOOK_SECONDS)
        raise anvil_failed(f"no chain at {url}; its log is in {self.folder / 'logs'}")

    def _prepare(
        self, scenario: Scenario, folders: Folders, chain: Chain, data_dir: Path | None
    ) -> Network:
        def show(words: str) -> None:
            self.tell(SUPERVISOR, words)

        network = prepare(
            scenario,
            folders,
            self._keys,
            chain,
            data_dir=data_dir,
            on_progress=show,
            retry_seconds=_RETRY_SECONDS,
            confidential=self._confidential,
        )
        seats = make_parties(network, self.now())
        show(f"study        {hex_of(network.study)}")
        show(f"contract     {network.contract.address} on chain {chain.chain_id} at {chain.url}")
        for seat in seats:
            self._coordinators.append(seat.folder.name)
            show(f"{seat.folder.name:<12} {seat.address}, folder {seat.folder}, key {seat.key}")
        if standbys := seats[1:]:
            spec = scenario.chain
            show(
                f"{standbys[0].folder.name} may take over {spec.round_seconds} s after a round was "
                f"opened plus {spec.grace_seconds} s of grace"
            )
        show(
            f"sites        {', '.join(party.name for party in network.parties)} in {folders.sites}"
        )
        return network

    def _finish(self, network: Network) -> bool:
        """Run every party until the study is over; False when stopped before."""
        folders = network.folders
        standby = ["--standby"] if len(self._coordinators) > 1 else []
        for name in self._coordinators:
            # No account demands anything of a network that is about to end.
            command = ["coordinator", "run", str(folders.root / name), "--leave", *standby]
            self._start(name, folders.root / name, "wardround", *command, once=True)
        for party in network.parties:
            self._start(
                party.name,
                folders.sites / party.name,
                *("wardround", "site", "run", str(folders.sites / party.name)),
                *("--password-file", str(password_file(folders.root, party.name)), "--keep"),
            )
        seen_at: float | None = None
        while not self.stopped.wait(_LOOK_SECONDS):
            self._look()
            ended = [name for name in self._coordinators if self._supervisor.ended(name)]
            if not ended:
                continue
            seen_at = seen_at or time.monotonic()
            # A coordinator that is lost for good never ends; the others need not wait for it.
            waited_seconds = time.monotonic() - seen_at
            if len(ended) == len(self._coordinators) or waited_seconds > _LAST_WORD_SECONDS:
                return True
            told = read_rounds(*folders.all_rounds)
            if told and told[-1]["round"] == network.params.rounds:
                return True
        return False

    def _start(
        self, name: str, folder: Path, module: str, *arguments: str, once: bool = False
    ) -> None:
        self._events[name] = EventLog(folder)
        self._supervisor.start(
            Program(
                name,
                lambda: module_command(module, *arguments),
                self.folder / "logs" / f"{name}.log",
                once=once,
            )
        )
        self._note()

    def _look(self) -> None:
        self._supervisor.look()
        self._show()
        self._note()

    def _show(self) -> None:
        """Show what the parties have logged."""
        for name, events in self._events.items():
            for message in events.news():
                self.tell(name, message)

    def _note(self) -> None:
        """Keep the list of processes as it is now."""
        mine = mark_of(os.getpid()) if not self._written else self._written[SUPERVISOR]
        assert mine is not None  # this very process
        now = {SUPERVISOR: mine, **self._supervisor.marks}
        if now != self._written:
            write_processes(self.folder, now)
            self._written = now
