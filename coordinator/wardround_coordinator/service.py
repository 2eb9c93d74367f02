"""``wardround coordinator run``: the SuperLink, its door and the study, kept going to the end."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx

from wardround.audit.answering import Answerer
from wardround.chain.court import Court
from wardround.chain.errors import ChainError, ChainUnreachable
from wardround.chain.ward_round import WardRound
from wardround.host.backoff import pauses
from wardround.host.code import application_digest, training_files
from wardround.host.key_file import read_key
from wardround.host.lock import only_one
from wardround.host.log import EventLog, configure
from wardround.protocol.errors import (
    Retryable,
    SpecificationError,
    StudyMismatch,
    WardroundError,
)
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.store.errors import StoreError
from wardround.store.study_store import open_study_store
from wardround.transport.bundle import write_bundle
from wardround.transport.certificates import check_time
from wardround.transport.errors import ControlFailed, PeerAway, TransportError
from wardround.transport.flower.control import Control
from wardround.transport.flower.programs import flower_environment
from wardround.transport.flower.superlink import superlink_arguments
from wardround.transport.ports import check_free, free_port
from wardround.transport.supervision import Program, Say, Supervisor, module_command
from wardround_coordinator.errors import CoordinatorError, StoodDown
from wardround_coordinator.home import CoordinatorHome, EnrolmentBook
from wardround_coordinator.presence import Presence
from wardround_coordinator.settings import (
    HOME_VARIABLE,
    STANDBY_VARIABLE,
    CoordinatorSettings,
    load_coordinator_settings,
)
from wardround_coordinator.standby import Stance, turn_of

_LOOK_SECONDS = 0.2
_STATUS_SECONDS = 1.0
_START_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 2.0, 60.0
_CHAIN_PAUSE_SECONDS = 5.0
SUPERLINK, DOOR = "the SuperLink", "the door"


@dataclass
class Service:
    """One coordinator at work.

    Attributes:
        home: its folder.
        say: reports what happens.
        now: the time, with a zone.
        stopped: set when it is to end.
        standby: wait for its turn while another coordinator is active.
        stays: after the last round, or overtaken, answer demands until none can cost the bond.
    """

    home: CoordinatorHome
    say: Say
    now: Callable[[], datetime]
    stopped: threading.Event
    standby: bool = False
    stays: bool = True
    _address: str = ""
    _run_id: int | None = None
    _pauses: Iterator[float] = field(
        default_factory=lambda: pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
    )
    _not_before: float = 0.0
    _registered: object = None
    _members: frozenset[str] = frozenset()
    _outside: frozenset[str] = frozenset()
    _members_again: float = 0.0
    _ready_pid: int | None = None
    _presence: Presence = field(init=False)
    _log: logging.Logger = field(init=False)
    _events: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self._presence = Presence(self.home.presence)

    def run(self) -> bool:
        """Run the study to its end; False when stopped before.

        Raises:
            StoodDown: another coordinator is active, and this one is no standby.
            CoordinatorError: this coordinator may never act, or runs already.
            WardroundError: settings, key, certificates, port, chain or study cannot be used.
        """
        settings = load_coordinator_settings(self.home.folder)
        self._address = read_key(self.home.folder / settings.coordinator.key_file).address
        self.standby = self.standby or settings.coordinator.standby
        server = settings.require_server()
        for path in (self.home.authority, self.home.certificate):
            check_time(path, self.now(), "make another with `wardround coordinator renew`")
        for folder in (self.home.sites, self.home.logs, self.home.flower):
            folder.mkdir(exist_ok=True)
        running = CoordinatorError(
            f"a coordinator runs in {self.home.folder} already: stop it first."
        )
        with only_one(self.home.folder, running):
            self._events = EventLog(self.home.folder, rotates=True)
            self._log = configure(self.home.folder, "coordinator")
            try:
                check_free(server.host, server.port)
                while True:
                    try:
                        return self._serve(settings)
                    except StoodDown:
                        if not self.stays or self._answer_until_final(settings):
                            if self.stopped.is_set():
                                return False
                            raise
            except WardroundError as error:
                self._log.error(error)
                raise

    def _serve(self, settings: CoordinatorSettings) -> bool:
        facts = self._facts(settings)
        if facts is None:
            return False
        _check_code(facts)
        _check_patience(settings, facts)
        while self._keep(settings, facts):
            if not self.stays or self._answer_until_final(settings):
                return True
        return False

    def _facts(self, settings: CoordinatorSettings) -> StudyFacts | None:
        """Ask the chain for the study, however long it is away; None when stopped."""
        while True:
            try:
                with settings.study.opened() as contract:
                    # Before anything is started: a coordinator that may not act fails at once.
                    self._check_turn(contract, settings)
                    return contract.facts(settings.study_id)
            except ChainUnreachable as error:
                self._log.warning(f"{error} Trying again in {_CHAIN_PAUSE_SECONDS:g} s")
                self._show()
                if self.stopped.wait(_CHAIN_PAUSE_SECONDS):
                    return None

    def _check_turn(self, contract: WardRound, settings: CoordinatorSettings) -> None:
        state = contract.study(settings.study_id)
        seat = contract.seat(settings.study_id, self._address)
        turn = turn_of(state, seat, self._address, self.now().timestamp())
        waits = turn.stance in (Stance.WAIT, Stance.TAKE_OVER)
        if waits and state.head > 0 and not self.standby:
            raise StoodDown(state.coordinator, state.head)

    def _keep(self, settings: CoordinatorSettings, facts: StudyFacts) -> bool:
        server, self._members = settings.require_server(), _lower(facts.members)
        bundle = write_bundle(training_files())
        port = free_port()
        supervisor = Supervisor(self._log.info)
        self._log.info(f"study {hex_of(settings.study_id)}, {facts.params.rounds} rounds")
        try:
            supervisor.start(self._superlink(port))
            supervisor.start(self._door(port))
            self._log.info(
                f"sites reach this coordinator at port {server.port} of {server.names[0]}"
            )
            while not self.stopped.wait(_LOOK_SECONDS):
                supervisor.look()
                over = self._step(supervisor, port, settings, bundle)
                if over:
                    self._log.info(self._end(settings))
                    return True
                self._show()
            return False
        finally:
            self._log.info("stopping")
            supervisor.stop()
            self._show()

    def _answer_until_final(self, settings: CoordinatorSettings) -> bool:
        """Answer demands while one can cost the bond; False if there are rounds to run again."""
        while True:
            try:
                done = self._answer(settings)
            except (ChainError, StoreError) as error:
                if not isinstance(error, Retryable):
                    raise
                self._log.warning(f"{error} Trying again in {_CHAIN_PAUSE_SECONDS:g} s")
            else:
                self._show()
                return done
            self._show()
            if self.stopped.wait(_CHAIN_PAUSE_SECONDS):
                return True

    def _answer(self, settings: CoordinatorSettings) -> bool:
        table, study, folder = settings.coordinator, settings.study_id, self.home.folder
        signer = read_key(folder / table.key_file)
        with settings.study.opened() as contract, ExitStack() as opened:
            answerer: Answerer | None = None
            while True:
                state = contract.study(study)
                is_open = state.head <= state.rounds
                if is_open and (self.standby or state.coordinator == self._address):
                    return False
                if not self._answers_for(contract, study):
                    if not is_open:
                        self._log.info(
                            f"all {state.rounds} rounds are final: nothing is left to do"
                        )
                    elif answerer is not None:
                        self._log.info("every round that this coordinator answers for is final")
                    return True
                if answerer is None:
                    self._log.info(
                        "answering demands until every round that this coordinator closed or "
                        "locked is final or gone: one that stays without an answer costs the bond"
                    )
                    store = open_study_store(table.store, folder, contract, study, signer)
                    opened.enter_context(closing(store))
                    params = contract.facts(study).params
                    answerer = Answerer(Court(contract), signer, params, store)
                for notice in answerer.look(lambda: float(contract.chain.timestamp())):
                    self._log.info(f"round {notice.round}: {notice.words}")
                self._show()
                if self.stopped.wait(_CHAIN_PAUSE_SECONDS):
                    return True

    def _answers_for(self, contract: WardRound, study: StudyId) -> bool:
        """Whether a demand that stays without an answer can still cost this coordinator's bond."""
        try:
            state, closings = contract.study(study), contract.closings(study)
            if state.head <= state.rounds:
                # Another coordinator is active: of that one's rounds this bond is none.
                if state.locked_by == self._address:
                    return True
                closings = [one for one in closings if one[1].coordinator == self._address]
            return bool(closings) and not contract.is_final(study, *closings[-1])
        except StudyMismatch:
            return True  # the chain has moved between two requests: look again

    def _show(self) -> None:
        """Show what this process and those it started have logged."""
        for message in self._events.news():
            self.say(message)

    def _end(self, settings: CoordinatorSettings) -> str:
        """Why the run has ended by itself."""
        with settings.study.opened() as contract:
            state = contract.study(settings.study_id)
        if state.head > state.rounds:
            return "the study is finished"
        return f"coordinator {state.coordinator} is active: standing down"

    def _step(
        self,
        supervisor: Supervisor,
        port: int,
        settings: CoordinatorSettings,
        bundle: bytes,
    ) -> bool:
        """Do what is next; True once the run is completed."""
        mark = supervisor.marks.get(SUPERLINK)
        if mark is None or not supervisor.is_running(SUPERLINK):
            return False
        if time.monotonic() < self._not_before:
            return False
        self._not_before = time.monotonic() + _STATUS_SECONDS
        try:
            if mark.pid != self._ready_pid:
                # A new SuperLink knows no node and no run.
                self._registered, self._run_id = None, None
                if not _answers(port, self.home.authority):
                    return False
                self._ready_pid = mark.pid
            with Control(port, self.home.authority) as control:
                self._register(control, settings)
                return self._advance(control, settings, bundle)
        except (PeerAway, ControlFailed) as error:
            self._log.warning(error)
            return False

    def _register(self, control: Control, settings: CoordinatorSettings) -> None:
        """Let in the node keys that admitted sites have vouched for."""
        state, now = EnrolmentBook(self.home).state(), time.monotonic()
        same = state == self._registered
        if same and not (self._outside and now >= self._members_again):
            return
        try:
            enrolments = self.home.enrolments()
        except TransportError as error:
            self._log.warning(error)
            self._registered, self._outside = state, frozenset()
            return
        if enrolments.keys() - self._members:
            # Its sponsor may admit a site later than it has enrolled.
            self._members_again = now + _CHAIN_PAUSE_SECONDS
            with suppress(ChainUnreachable), settings.study.opened() as contract:
                self._members = _lower(contract.members(settings.study_id))
        outside = enrolments.keys() - self._members
        if same and outside == self._outside:
            return
        for site, enrolment in enrolments.items():
            if site not in outside:
                control.register(enrolment.public_pem, enrolment.name)
            else:
                self._log.info(
                    f"{enrolment.name} ({site}) is not let in: its sponsor has not admitted it yet"
                )
        count = len(enrolments) - len(outside)
        self._log.info(
            f"{count} of {len(self._members)} admitted sites have enrolled their node key"
        )
        self._registered, self._outside = state, frozenset(outside)

    def _advance(self, control: Control, settings: CoordinatorSettings, bundle: bytes) -> bool:
        if self._run_id is None:
            self._presence.expect()
            self._run_id = control.start_run(bundle)
            self._log.info("the study's application is submitted; waiting for the sites")
            return False
        status = control.status(self._run_id)
        if status.status != "finished":
            if self._presence.is_lost():
                self._call_off(control)
            return False
        if status.sub_status == "completed":
            return True
        # Its ServerApp may have failed because another coordinator is active: then it ends here.
        with suppress(ChainUnreachable), settings.study.opened() as contract:
            self._check_turn(contract, settings)
        self._log.info(f"the run {status.sub_status}: {status.details or 'no reason given'}")
        pause = next(self._pauses)
        self._log.info(f"going on where the chain stands in {pause:.1f} s")
        self._not_before = time.monotonic() + pause
        self._run_id = None
        return False

    def _call_off(self, control: Control) -> None:
        """Restart the run without waiting until Flower notices that its ServerApp has died."""
        assert self._run_id is not None
        with suppress(ControlFailed):
            control.stop_run(self._run_id)
        self._log.info("the ServerApp has died: going on where the chain stands")
        self._run_id = None

    def _superlink(self, port: int) -> Program:
        root = str(self.home.folder.resolve())
        # The ServerApp inherits it.
        own = {HOME_VARIABLE: root, STANDBY_VARIABLE: "1" if self.standby else ""}
        return Program(
            SUPERLINK,
            lambda: module_command(
                "wardround.transport.flower.superlink",
                *superlink_arguments(
                    port,
                    authority=self.home.authority,
                    certificate=self.home.certificate,
                    certificate_key=self.home.certificate_key,
                ),
            ),
            self.home.logs / "superlink.log",
            environment={**flower_environment(self.home.flower, os.environ), **own},
        )

    def _door(self, port: int) -> Program:
        root = str(self.home.folder)
        return Program(
            DOOR,
            lambda: module_command("wardround_coordinator.door", root, str(port)),
            self.home.logs / "door.log",
        )


def _lower(sites: Iterable[str]) -> frozenset[str]:
    return frozenset(site.lower() for site in sites)


def _check_code(facts: StudyFacts) -> None:
    installed = application_digest()
    if facts.params.code != installed:
        raise StudyMismatch("application code", hex_of(facts.params.code), hex_of(installed))


def _check_patience(settings: CoordinatorSettings, facts: StudyFacts) -> None:
    """Check that no round waits longer for registrations than for replies."""
    given, least = settings.coordinator.reply_seconds, facts.params.registration_seconds
    if given < least:
        reason = f"it is {given:g}, and the study's registration_seconds are {least}: raise it"
        raise SpecificationError("coordinator.reply_seconds", reason)


def _answers(port: int, authority: Path) -> bool:
    trust = ssl.create_default_context(cafile=str(authority))
    try:
        address = f"https://127.0.0.1:{port}/health"
        return httpx.get(address, verify=trust, timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
