"""``wardround site run``: the guard and the SuperNode, kept going, and what they do in words."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from wardround.host.durable import write_private
from wardround.host.lock import only_one
from wardround.host.log import EventLog, configure
from wardround.protocol.errors import Malformed
from wardround.transport.certificates import Address, check_time, greet
from wardround.transport.enrolment import ENROLMENT, NODE_KEY, enrol
from wardround.transport.errors import CertificateExpired, PeerAway, TransportError
from wardround.transport.ports import free_port
from wardround.transport.supervision import Program, Say, Supervisor, module_command
from wardround_client.errors import GuardUnreachable, Refusal, home_unusable
from wardround_client.guard.client import GuardClient
from wardround_client.home import Home
from wardround_client.keystore import keystore_address, open_keystore
from wardround_client.password import PIPE
from wardround_client.settings import HomeSettings
from wardround_client.site_ending import StudyWatch
from wardround_client.supernode import (
    coordinators_of,
    flower_folder,
    secret_file,
    supernode_environment,
)
from wardround_client.trainer.start import sandbox_of

#: What carries messages between a coordinator and the guard.
_COURIER = "wardround_client.app.client_app:app"
GUARD, SUPERNODE, EXECUTOR = "the guard", "the SuperNode", "the executor"
_LOOK_SECONDS = 0.2
_GREET_SECONDS = 10.0
_GUARD_SECONDS = 60.0
#: More than one: a guard from before, which finishes what it signs, may still hold the log.
_GUARD_STARTS = 3


@dataclass
class SiteService:
    """A hospital's side at work.

    Attributes:
        home: its folder.
        password: of its keystore.
        report: shows a line of the log to a person.
        now: the time, with a zone.
        stopped: set when it is to end.
        keep: go on after all approved studies have ended, for further ones.
        store: content store to read earnings from; None where it is not known.
    """

    home: Home
    password: str = field(repr=False)
    report: Say
    now: Callable[[], datetime]
    stopped: threading.Event
    keep: bool = False
    store: str | None = None
    _log: logging.Logger = field(init=False)
    _events: EventLog = field(init=False)

    def run(self) -> None:
        """Keep the site running until its studies have ended, or it is stopped.

        Raises:
            WardroundError: settings, key, certificate or sandbox cannot be used; the guard
                refuses to start.
        """
        settings = self.home.settings()
        coordinators = coordinators_of(self.home, settings)
        for _, root in coordinators:
            check_time(root, self.now(), "ask the coordinator for its new one")
        running = home_unusable(self.home.folder, "it is running already: stop it first")
        with only_one(self.home.folder, running):
            self._events = EventLog(self.home.folder, rotates=True)
            self._log = configure(self.home.folder, "site")
            keystore = self.home.keystore(settings)
            key, address = open_keystore(keystore, self.password), keystore_address(keystore)
            # The guard would refuse each time that it is started.
            sandbox_of(self.home, self.home.settings_in_force(address).policy)
            self._enrolled(settings, key)
            for number in range(len(coordinators)):
                flower_folder(self.home, number)
            supervisor = Supervisor(self._log.info)
            found = [Coordinator(*one, self._log.info) for one in coordinators]
            with closing(StudyWatch(self.home, settings, address)) as watch:
                try:
                    self._keep(supervisor, found, watch)
                finally:
                    self._log.info("stopping")
                    supervisor.stop()
                    self._show()
                if not self.stopped.is_set():
                    for line in watch.report(self.store):
                        self._log.info(line)
                    self._show()

    def _enrolled(self, settings: HomeSettings, key: bytes) -> None:
        """Make the node key of a home that has none yet."""
        if not (self.home.folder / NODE_KEY).exists():
            enrol(self.home.folder, settings.site.name, key)
            self._log.info(
                f"made a node key: give {self.home.folder / ENROLMENT} to the coordinator"
            )

    def _keep(
        self, supervisor: Supervisor, coordinators: list[Coordinator], watch: StudyWatch
    ) -> None:
        supervisor.start(self._guard())
        if not self._await_guard(supervisor):
            return
        tasks: list[str] = []
        for number in range(len(coordinators)):
            port, secret = free_port(), secret_file(self.home, number)
            secret.unlink(missing_ok=True)
            write_private(secret, token_hex(32))
            supervisor.start(self._supernode(number, port))
            tasks += [str(secret), str(port)]
        supervisor.start(self._executor(tasks))
        while not self.stopped.wait(_LOOK_SECONDS):
            supervisor.look()
            for coordinator in coordinators:
                coordinator.look(time.monotonic())
            self._show()
            if not self.keep and watch.all_ended(time.monotonic()):
                return

    def _await_guard(self, supervisor: Supervisor) -> bool:
        """Wait for the guard, which has a table to read; without it nothing could be signed.

        Raises:
            SpecificationError: it ends by itself whenever it is started.
        """
        guard = GuardClient(self.home.socket, _GUARD_SECONDS)
        while not self.stopped.wait(_LOOK_SECONDS):
            supervisor.look()
            if supervisor.failures(GUARD) == _GUARD_STARTS:
                reason = "the guard does not start, for the reason that it gave: see logs/guard.log"
                raise home_unusable(self.home.folder, reason)
            try:
                guard.identify()
                return True
            except (GuardUnreachable, Malformed, Refusal):
                self._show()
        return False

    def _show(self) -> None:
        """Show what this process and those it started have logged."""
        for message in self._events.news():
            self.report(message)

    def _guard(self) -> Program:
        return Program(
            GUARD,
            lambda: module_command(
                *("wardround", "site", "guard", str(self.home.folder)),
                *("--password-file", str(PIPE)),
            ),
            self.home.folder / "logs" / "guard.log",
            secret=f"{self.password}\n".encode(),
        )

    def _supernode(self, number: int, port: int) -> Program:
        more = f"-{number}" if number else ""
        arguments = (str(self.home.folder), str(number), str(port))
        return Program(
            f"{SUPERNODE}{more}",
            lambda: module_command("wardround_client.supernode", *arguments),
            self.home.folder / "logs" / f"supernode{more}.log",
            environment=supernode_environment(self.home, os.environ, number),
        )

    def _executor(self, tasks: Sequence[str]) -> Program:
        return Program(
            EXECUTOR,
            # Not with a lifeline, which is a thread: it forks, and looks after its parent itself.
            lambda: [
                sys.executable,
                "-m",
                "wardround.transport.flower.executor",
                _COURIER,
                *tasks,
            ],
            self.home.folder / "logs" / "tasks.log",
            environment=supernode_environment(self.home, os.environ),
        )


@dataclass
class Coordinator:
    """Greets a coordinator at intervals, and logs when it goes offline or answers again."""

    address: Address
    root: Path
    log: Say
    _next: float = 0.0
    _trouble: str | None = None

    def look(self, now: float) -> None:
        """Greet the coordinator if it is time to."""
        if now < self._next:
            return
        trouble = None
        try:
            greet(self.address, self.root, timeout_seconds=3.0)
        except (PeerAway, CertificateExpired) as error:
            trouble = f"{error} Trying again"
        except TransportError as error:
            trouble = str(error)
        # After the call, which lasts until its timeout when the coordinator is offline.
        self._next = now + _GREET_SECONDS
        if trouble is not None and trouble != self._trouble:
            self.log(trouble)
        elif trouble is None and self._trouble is not None:
            self.log(f"the coordinator at {self.address} answers")
        self._trouble = trouble
