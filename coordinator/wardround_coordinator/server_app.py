"""The Flower ServerApp: the same under every engine.

The coordinator's folder (``coordinator.toml`` and its key) is named by the environment where
`wardround coordinator run` started the SuperLink. A simulation names the network's folder in the
run configuration instead.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.audit.answering import Answerer
from wardround.chain.court import Court
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.host.lifeline import end_with_parent
from wardround.host.log import configure
from wardround.protocol.errors import RoundFailed, ScenarioError, WardroundError
from wardround.store.study_store import open_study_store
from wardround.transport.flower.replies import bounded
from wardround_coordinator.presence import be_present
from wardround_coordinator.rounds_file import (
    append_round,
    read_rounds,
    round_sentence,
    round_summary,
)
from wardround_coordinator.session import Session
from wardround_coordinator.settings import (
    HOME_VARIABLE,
    PRESENCE_FILE,
    STANDBY_VARIABLE,
    CoordinatorSettings,
    load_coordinator_settings,
)
from wardround_coordinator.standby import Tenure
from wardround_coordinator.strategy import RoundResult, WardroundStrategy

_log = logging.getLogger("wardround.serverapp")

NETWORK_KEY = "network"
#: Callback: a round was closed; takes the JSON value that is also written to the rounds file.
OnSummary = Callable[[dict[str, Any]], None]


def make_server_app(on_summary: OnSummary = lambda summary: None) -> ServerApp:
    """Make a ServerApp that also reports every closed round to this process."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        home = _home(context)
        if HOME_VARIABLE in os.environ:
            # At once: a main thread that waits for a dead SuperLink's answer hears no signal.
            end_with_parent(grace_seconds=0)
            be_present(home / PRESENCE_FILE)
            configure(home, "serverapp")
        coordinate(
            home, grid, on_summary, standby=bool(os.environ.get(STANDBY_VARIABLE)), say=_log.info
        )

    return server_app


def _home(context: Context) -> Path:
    home = os.environ.get(HOME_VARIABLE, "")
    if home:
        # Not in the run's configuration, which every site can read.
        return Path(home)
    network = str(context.run_config.get(NETWORK_KEY, ""))
    if not network:
        raise ScenarioError("flwr run", "no network is named: use `wardround simulate` to make one")
    return Path(network) / "coordinator"


def coordinate(
    folder: Path,
    grid: Grid,
    on_summary: OnSummary,
    *,
    standby: bool = False,
    say: Callable[[str], None] = _log.info,
) -> None:
    """Run a study to its end from a coordinator's folder.

    Args:
        folder: with the settings and the key.
        grid: reaches the sites.
        on_summary: called with each closed round.
        standby: wait for this coordinator's turn, as with `standby` in its settings.
        say: reports when it waits, takes over or yields to another.
    Raises:
        SpecificationError: the settings cannot be used.
        StoodDown: another coordinator is active, and this one is no standby.
        CoordinatorError: this coordinator may never act.
        RoundFailed: a round found too few good contributions, every time it was tried.
    """
    settings = load_coordinator_settings(folder)
    with settings.study.opened() as contract:
        signer = read_key(folder / settings.coordinator.key_file)
        tenure = Tenure(
            contract,
            signer,
            settings.study_id,
            standby=standby or settings.coordinator.standby,
            clock=time.time,
            wait=_Answering(settings, folder, contract, signer, say),
            say=say,
            patience_seconds=settings.coordinator.patience_seconds,
        )
        tenure.serve(lambda: _work(settings, folder, contract, signer, grid, on_summary))


@dataclass
class _Answering:
    """A wait that answers demands about closed rounds, whichever coordinator is active."""

    settings: CoordinatorSettings
    folder: Path
    contract: WardRound
    signer: LocalAccount
    say: Callable[[str], None]
    _answerer: Answerer | None = None
    _said: str = ""

    def __call__(self, seconds: float) -> None:
        try:
            self._answerer = self._answerer or self._open()
            for notice in self._answerer.look(lambda: float(self.contract.chain.timestamp())):
                self.say(f"round {notice.round}: {notice.words}")
        except WardroundError as error:
            # Who waits meets it too, and judges what to do.
            if str(error) != self._said:
                self._said = str(error)
                self.say(self._said)
        time.sleep(seconds)

    def _open(self) -> Answerer:
        study, place = self.settings.study_id, self.settings.coordinator.store
        store = open_study_store(place, self.folder, self.contract, study, self.signer)
        params = self.contract.facts(study).params
        return Answerer(Court(self.contract), self.signer, params, store)


def _work(
    settings: CoordinatorSettings,
    folder: Path,
    contract: WardRound,
    signer: LocalAccount,
    grid: Grid,
    on_summary: OnSummary,
) -> None:
    """Go on with the study from the chain's position."""
    store = open_study_store(
        settings.coordinator.store, folder, contract, settings.study_id, signer
    )
    facts = contract.facts(settings.study_id)
    session = Session(contract, signer, store, facts, say=_log.warning)
    rounds_file = folder / settings.coordinator.rounds_file

    def on_round(result: RoundResult) -> None:
        summary = round_summary(result, strategy.names)
        append_round(rounds_file, summary)
        _log.info(round_sentence(summary, session.facts.params.rounds))
        on_summary(summary)

    def on_failure(failure: RoundFailed) -> None:
        append_round(rounds_file, {"round": failure.round_number, "failed": str(failure)})
        _log.warning(f"round {failure.round_number}: {failure}")

    def is_reported(number: int) -> bool:
        return any(one["round"] == number for one in read_rounds(rounds_file))

    strategy = WardroundStrategy(
        session,
        sites_wanted=settings.study.sites,
        reply_seconds=settings.coordinator.reply_seconds,
        attempts=settings.coordinator.attempts,
        retry_seconds=settings.coordinator.retry_seconds,
        on_round=on_round,
        on_failure=on_failure,
        is_reported=is_reported,
    )
    vector_bytes = session.facts.params.vector_size
    with closing(store):
        strategy.start(bounded(grid, vector_bytes, folder))


app = make_server_app()
