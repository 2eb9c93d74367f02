"""Runs with a true chain and store, whose sites train as a test wants."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.coordinator.conftest import Hospitals
from tests.integration.networks import CHAIN_ID
from tests.leak.readings import Training
from wardround.audit.finished import note_journal
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import start_journaled
from wardround_simulations.network import new_folder, new_keys, prepare
from wardround_simulations.scenario import Scenario


def run_of(
    scenario: Scenario, folder: Path, training: Training, data_dir: Path | None = None
) -> None:
    """Run a study: true signatures, closings and objects, and updates of this training."""
    folders = new_folder(folder)
    keys = new_keys(folders)
    genesis = Genesis(CHAIN_ID, 1_760_000_000, dict.fromkeys(keys.addresses, 10**21))
    chain = EmbeddedChain(f"test-{os.getpid()}-{time.monotonic_ns()}", genesis)
    journal = start_journaled(folders.journal, chain)
    try:
        network = prepare(scenario, folders, keys, chain, data_dir=data_dir)
        hospitals = Hospitals(network)
        session = hospitals.session()
        position = session.position()
        spec = scenario.specification
        while position.round <= spec.study.rounds:
            answers = []
            for node, party in enumerate(network.parties):
                update = training(spec, party.data, position.round, position.base.values)
                answers.append((node, hospitals.reply(node, position, update)))
            position = session.run_round(position, hospitals.asked, answers).position
    finally:
        journal.close()
        chain.close()
    note_journal(folders)
