"""What lapsed in court, as readers see it: who ended it, and who is owed its deposit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chain.staged import Theatre, theatre
from wardround.audit.challenge import commit_to, send_challenge
from wardround.audit.collection import close_lapsed
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rows import EventRow
from wardround.explorer.source import Source
from wardround.explorer.web.words import sentence, short
from wardround.protocol.evidence import Demand, What
from wardround.protocol.identifiers import hex_of
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import CHALLENGE_SECONDS, DEMAND_SECONDS, Stage


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Theatre]:
    with theatre(tmp_path) as opened:
        yield opened


def told(scene: Theatre, stage: Stage, folder: Path) -> dict[str, EventRow]:
    """The last event of each name, as an index has it."""
    source = Source("endings", scene.chain, scene.ward, scene.court, stage.store, 0, False)
    indexer = Indexer(source, folder / "index")
    indexer.catch_up()
    indexer.close()
    reader = Reader(folder / "index")
    chosen = EventFilter(study=hex_of(stage.study))
    rows = list_events(reader, chosen, newest_first=False, limit=500).rows
    reader.close()
    return {row.name: row for row in rows}


def test_lapsed_says_who_ended_it_and_who_is_owed(scene: Theatre, tmp_path: Path) -> None:
    stage, court = scene.stage(), scene.court
    first, auditor, other = scene.parties.first, scene.parties.auditor, scene.stranger
    for _ in range(2):
        stage.close(first)
    contested = scene.contested(stage, 2)
    court.approve_deposit(auditor, stage.study)
    court.open_tally(auditor, contested, None)
    court.approve_deposit(auditor, stage.study)
    court.commit_challenge(auditor, contested, bytes(32))
    send_challenge(court, other, contested, Demand(What.MODEL, 0), rule=stage.spec.rule)
    scene.chain.advance(DEMAND_SECONDS + 2 * CHALLENGE_SECONDS)
    # The standby ends what falls to others.
    standby = scene.parties.standby
    for account in (first, other):
        assert list(close_lapsed(court, standby, stage.study, account.address))
    rows = told(scene, stage, tmp_path / "books")
    by, challenger, to = (short(one.address.lower()) for one in (standby, auditor, first))
    demander = short(other.address.lower())
    owed = f"{to} is owed its deposit"
    assert sentence(rows["TallyClosed"]) == (
        f"{by} ended a tally of {challenger}, which overturned nothing; {owed}"
    )
    assert sentence(rows["CommitmentClosed"]) == (
        f"{by} ended a commitment of {challenger}, which was not revealed; {owed}"
    )
    assert sentence(rows["DemandLapsed"]) == (
        f"{by} ended a demand of {demander}, who is owed its deposit: "
        "the round can no longer be overturned"
    )
    # Senders are read after events.
    early = replace(rows["TallyClosed"], sender=None)
    assert sentence(early).startswith("an account ended a tally")


def test_deposit_that_goes_back_is_told_so(scene: Theatre, tmp_path: Path) -> None:
    stage, court = scene.stage(), scene.court
    auditor, other = scene.parties.auditor, scene.stranger
    stage.close(scene.parties.first)
    cheats.state_another_total(Cheater(stage, scene.parties.first))
    contested, evidence = scene.contested(stage, 2), scene.accused(stage, 2).totals()
    court.approve_deposit(other, stage.study)
    court.open_tally(other, contested, None)
    commit_to(court, auditor, contested, evidence)
    send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    assert list(close_lapsed(court, auditor, stage.study, other.address))
    by, author = short(auditor.address.lower()), short(other.address.lower())
    closed = told(scene, stage, tmp_path / "books")["TallyClosed"]
    assert sentence(closed) == (
        f"{by} ended a tally of {author}, which overturned nothing; {author} is owed its deposit"
    )
