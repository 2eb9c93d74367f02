"""Questions find their rows by an index of the database: none reads a table of a million rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.synthetic_index import fill
from wardround.explorer.events import EventFilter, list_events, read_block, read_transaction
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.search import search
from wardround.explorer.sites import read_site
from wardround.explorer.studies import list_studies, read_study, series, study_rounds, valid_rounds

#: Tables that grow with every event or round.
LARGE = ("event", "tx", "closing", "entry", "mention", "block")
_SCAN = re.compile(rf"SCAN ({'|'.join(LARGE)}|closed|closing_event|before)\b(?! USING COVERING)")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    path: Path = tmp_path_factory.mktemp("large") / "index.sqlite"
    assert fill(path, 12_000) >= 12_000
    reader = Reader(path)
    yield reader
    reader.close()


def statements(reader: Reader, question: Callable[[], object]) -> list[str]:
    """The statements of a question, with the values that were asked for."""
    found: list[str] = []
    with reader.look() as db:
        db.set_trace_callback(found.append)
        question()
        db.set_trace_callback(None)
    # The last row of a table is one row, whatever its plan calls it.
    return [
        one
        for one in found
        if one.lstrip().startswith("SELECT")
        and not one.endswith("FROM block ORDER BY number DESC LIMIT 1")
    ]


def scans(reader: Reader, question: Callable[[], object]) -> list[str]:
    asked = statements(reader, question)
    assert asked
    found = []
    with reader.look() as db:
        for one in asked:
            for row in db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall():
                if _SCAN.search(row[3]):
                    found.append(f"{row[3]}: {one[:200]}")
    return found


def questions(reader: Reader) -> dict[str, Callable[[], object]]:
    study = list_studies(reader).rows[-1].study
    one = read_round(reader, study, 50)
    site, root = one.entries[0].site, one.entries[0].update

    def events(**chosen: object) -> Callable[[], object]:
        return lambda: list_events(reader, EventFilter(**chosen))  # type: ignore[arg-type]

    return {
        "studies": lambda: list_studies(reader),
        "study": lambda: read_study(reader, study),
        "rounds": lambda: study_rounds(reader, study),
        "series": lambda: series(reader, study),
        "round": lambda: read_round(reader, study, 50),
        "site": lambda: read_site(reader, site),
        "health": reader.health,
        "transaction": lambda: read_transaction(reader, one.summary.transaction),
        "block": lambda: read_block(reader, one.summary.block_hash),
        "events of a study": events(study=study),
        "events of a round": events(study=study, round=50),
        "events of a site": events(site=site),
        "events of a site in a study": events(study=study, site=site),
        "events of a name": events(name="RoundClosed"),
        "events of a name in a study": events(study=study, name="RoundClosed"),
        "events of an address": events(address=one.summary.coordinator),
        "search for a root": lambda: search(reader, one.summary.model),
        "search for an update": lambda: search(reader, root),
        "search for an address": lambda: search(reader, site),
        "search for a beginning": lambda: search(reader, site[:12]),
        "search for a CID": lambda: search(reader, one.manifest.cid),
        "search for a number": lambda: search(reader, "50"),
    }


def test_no_question_reads_a_large_table(large: Reader) -> None:
    for name, question in questions(large).items():
        assert scans(large, question) == [], name


def test_pages_of_a_study_find_their_closings_in_order(large: Reader) -> None:
    """None reads all closings of a study, with all that belongs to them, to sort them."""
    study = list_studies(large).rows[-1].study
    for question in (
        lambda: study_rounds(large, study),
        lambda: series(large, study),
        lambda: valid_rounds(large, study, 25),
    ):
        asked = [one for one in statements(large, question) if "FROM closing" in one]
        assert asked
        with large.look() as db:
            plans = [
                row[3]
                for one in asked
                for row in db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()
            ]
        assert not [one for one in plans if "USE TEMP B-TREE" in one]
        assert any("SEARCH closing USING INTEGER PRIMARY KEY (rowid=?)" in one for one in plans)


def test_a_scan_would_be_seen(large: Reader) -> None:
    def question() -> None:
        with large.look() as db:
            db.execute("SELECT id FROM event WHERE args LIKE '%x%' LIMIT 1").fetchone()

    assert scans(large, question)


def test_made_up_index_is_valid_in_every_way(large: Reader) -> None:
    study = list_studies(large).rows[0]
    assert (study.state, study.closed, study.sites) == ("over", 100, 100)
    detail = read_study(large, study.study)
    assert {member.contributions for member in detail.members} == {100}
    assert len(read_round(large, study.study, 7).entries) == 100
