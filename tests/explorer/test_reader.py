"""What is read from an index is what the run was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.explorer.conftest import ROUNDS
from wardround.audit.finished import open_run
from wardround.chain.events import OtherEvent
from wardround.explorer.errors import NotIndexed, QueryInvalid
from wardround.explorer.events import EventFilter, list_events, read_block, read_transaction
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.search import search
from wardround.explorer.sites import read_site
from wardround.explorer.source import _statements
from wardround.explorer.studies import (
    list_studies,
    read_study,
    sampled_series,
    series,
    study_rounds,
)
from wardround.protocol.identifiers import hex_of


@pytest.fixture
def study(reader: Reader) -> str:
    (row,) = list_studies(reader).rows
    return row.study


def test_index_has_every_event_of_the_run(reader: Reader, run_folder: Path) -> None:
    with open_run(run_folder) as run:
        expected = [
            (
                event.log.transaction_hash,
                event.log.log_index,
                event.name if isinstance(event, OtherEvent) else type(event).__name__,
            )
            for event in run.contract.events()
        ]
    page = list_events(reader, limit=500, newest_first=False)
    assert [(row.transaction, row.log_index, row.name) for row in page.rows] == expected
    assert reader.health().events == len(expected)
    assert reader.health().state == "finished"
    assert reader.health().headers == "recomputed"


def test_pages_of_events_leave_out_nothing(reader: Reader) -> None:
    everything = list_events(reader, limit=500).rows
    found, cursor = [], None
    while True:
        page = list_events(reader, cursor=cursor, limit=7)
        found += page.rows
        cursor = page.next
        if cursor is None:
            break
    assert found == everything


def test_study_is_what_the_contract_says(reader: Reader, study: str, run_folder: Path) -> None:
    found = read_study(reader, study)
    with open_run(run_folder) as run:
        state = run.contract.study(run.study)
        closed = run.contract.closed_rounds(run.study)
    assert hex_of(run.study) == study
    assert (found.summary.head, found.summary.rounds) == (state.head, state.rounds)
    assert found.summary.state == "over"
    assert found.summary.name == "demo"
    assert int(found.summary.funds.funded) == state.funded
    assert found.coordinator == state.coordinator.lower()
    rounds = study_rounds(reader, study).rows
    assert [one.commitment for one in reversed(rounds)] == [
        hex_of(one.closing.commitment) for one in closed
    ]
    assert [one.gas for one in reversed(rounds)] == [one.gas_used for one in closed]


def test_round_shows_what_manifest_and_chain_agree_on(reader: Reader, study: str) -> None:
    found = read_round(reader, study, 2)
    assert found.manifest.status == "verified"
    assert len(found.entries) == found.summary.contributors == 4
    assert all(entry.on_chain and entry.signature_valid for entry in found.entries)
    # Each share is rounded down.
    shared = sum(int(entry.reward) for entry in found.entries)
    assert 0 <= int(found.summary.reward) - shared < len(found.entries)
    assert found.previous is not None
    assert found.previous.model == found.manifest.document["base"]["root"]  # type: ignore[index]
    assert found.raw is not None
    assert found.missed == []


def test_series_have_statements_and_reports(reader: Reader, study: str) -> None:
    points = series(reader, study)
    assert [point.round for point in points] == list(range(1, ROUNDS + 1))
    sites = {member.site for member in read_study(reader, study).members}
    for point in points:
        assert point.statement is not None
        assert set(point.statement["accuracy"]) == sites == set(point.metrics["train_loss"])


def test_sample_of_few_rounds_is_the_series_also_when_asked_again(
    reader: Reader, study: str
) -> None:
    assert sampled_series(reader, study, sites=2) == series(reader, study)
    assert sampled_series(reader, study, sites=2) == series(reader, study)


def test_rounds_and_series_come_in_pages(reader: Reader, study: str) -> None:
    whole, found, cursor = study_rounds(reader, study).rows, [], None
    while not found or cursor:
        page = study_rounds(reader, study, cursor, limit=1)
        found += page.rows
        cursor = page.next
    assert found == whole
    points = series(reader, study)
    last = series(reader, study, limit=1)
    assert last == points[-1:]
    assert series(reader, study, before=last[0].round) == points[:-1]
    assert series(reader, study, before=1) == []
    for limit in (0, 501):
        with pytest.raises(QueryInvalid):
            series(reader, study, limit=limit)


def test_site_has_signed_every_round(reader: Reader, study: str) -> None:
    member = read_study(reader, study).members[0]
    found = read_site(reader, member.site)
    assert [one.round for one in found.contributions.rows] == list(range(ROUNDS, 0, -1))
    assert sum(int(one.reward) for one in found.contributions.rows) == int(member.earned or 0)
    first = read_site(reader, member.site, limit=1)
    second = read_site(reader, member.site, first.contributions.next, limit=1)
    assert second.contributions.rows == found.contributions.rows[1:2]


def test_search_finds_everything_by_its_name(reader: Reader, study: str) -> None:
    one = read_round(reader, study, 2)
    entry = one.entries[0]
    wanted = {
        study: "study",
        study.upper().replace("X", "x"): "study",
        study[:12]: "study",
        entry.site: "site",
        one.summary.transaction: "transaction",
        one.summary.block_hash: "block",
        one.summary.commitment: "commitment",
        one.record["manifest"]: "manifest",
        one.record["contributions"]: "contributions",
        one.summary.model: "model",
        one.manifest.cid: "manifest",
        entry.update: "update",
        str(entry.update_cid): "update",
        str(entry.report_cid): "report",
        "round 2": "round",
        "demo": "study",
        "site-1": "site",
    }
    for text, kind in wanted.items():
        hits = search(reader, text)
        assert hits, text
        assert hits[0].kind == kind, text


@pytest.mark.parametrize(
    "text", ["", "0x", "0xzz", "%", "'; DROP TABLE event; --", "b" * 59, "é" * 400]
)
def test_search_for_nothing_finds_nothing(reader: Reader, text: str) -> None:
    assert search(reader, text) == []


def test_what_is_not_there_is_said_with_the_blocks_looked_at(reader: Reader, study: str) -> None:
    nothing = "0x" + "ab" * 32
    for ask in (
        lambda: read_study(reader, nothing),
        lambda: study_rounds(reader, nothing),
        lambda: read_round(reader, study, 99),
        lambda: read_round(reader, study, 1, nothing),
        lambda: read_open_round(reader, study),
        lambda: read_site(reader, "0x" + "ab" * 20),
        lambda: read_transaction(reader, nothing),
        lambda: read_block(reader, "99999999999999999999999"),
    ):
        with pytest.raises(NotIndexed) as caught:
            ask()
        assert (caught.value.first_block, caught.value.last_block) == (0, 19)


@pytest.mark.parametrize("cursor", ["", "-1", "x", "١٢", "9" * 19])
def test_cursors_that_no_page_gave_are_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(QueryInvalid):
        list_events(reader, cursor=cursor)
    with pytest.raises(QueryInvalid):
        list_studies(reader, cursor)


def test_filters_hold_all_at_once(reader: Reader, study: str) -> None:
    site = read_study(reader, study).members[0].site
    rows = list_events(
        reader, EventFilter(study=study, site=site, name="Contributed", round=2)
    ).rows
    assert [(row.site, row.round, row.name) for row in rows] == [(site, 2, "Contributed")]
    block = rows[0].block
    assert list_events(reader, EventFilter(from_block=block, to_block=block)).rows
    assert not list_events(reader, EventFilter(site=site, to_block=2)).rows
    assert list_events(reader, EventFilter(from_block=2**70)).rows == []
    assert {row.site for row in list_events(reader, EventFilter(address=site)).rows} == {site}


def test_index_is_read_alone(reader: Reader) -> None:
    with reader.look() as db, pytest.raises(Exception, match="readonly"):
        db.execute("DELETE FROM event")


def test_statements_of_several_coordinators_are_read_as_one(tmp_path: Path) -> None:
    first, second, missing = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    lines = [
        {"round": 1, "gas": 1, "rewards": {"site-1": "5"}},
        {"round": 2, "failed": "too few sites"},
    ]
    first.write_text("".join(json.dumps(line) + "\n" for line in lines) + "[3]\n{")
    lines = [{"round": 1, "gas": 9, "rewards": {}}, {"round": 2, "gas": 2, "rewards": {}}]
    second.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = _statements([first, second, missing], "0x5e", {"site-1": "0xAB"})
    assert found == {
        ("0x5e", 1): {"round": 1, "gas": 1, "rewards": {"0xab": "5"}},
        ("0x5e", 2): {"round": 2, "gas": 2, "rewards": {}},
    }
