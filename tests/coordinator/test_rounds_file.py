from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.coordinator.conftest import Hospitals
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround_coordinator.rounds_file import append_round, read_rounds, round_summary
from wardround_coordinator.strategy import RoundResult, SiteMetrics


def test_summary_when_a_round_is_closed_has_what_the_command_line_promises(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position)[:2])
    first, second, third = hospitals.sites
    metrics = {
        first: SiteMetrics(100, 80, 0.8, 0.5, 0.9),
        second: SiteMetrics(300, 150, 0.5, 0.7, None),
    }
    names = {first: "north", second: "south"}
    summary = round_summary(RoundResult(closed.facts, metrics, 1.25), names)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["round"], summary["wall_seconds"]) == (1, 1.25)
    assert summary["model"] == hex_of(closed.settlement.model.root)
    assert summary["gas"] == closed.gas > 21_000
    order = sorted([first, second], key=str.lower)
    assert summary["contributors"] == [names[site] for site in order]
    # A site without a name goes by its address.
    assert summary["dropped"] == [{"site": third.lower(), "reason": "no_reply"}]
    assert summary["accuracy"] == {"north": 0.8, "south": 0.5}
    assert summary["auc"] == {"north": 0.9, "south": None}
    assert summary["pooled_accuracy"] == pytest.approx(230 / 400)
    assert summary["pooled_log_loss"] == pytest.approx((100 * 0.5 + 300 * 0.7) / 400)
    assert sum(map(int, summary["rewards"].values())) <= 1000
    assert summary["rewards"] == {
        names[site]: str(share) for site, share in closed.settlement.shares.items()
    }


def test_summary_when_nobody_measured_has_no_pooled_accuracy(hospitals: Hospitals) -> None:
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position))
    names: dict[SiteAddress, str] = {}
    summary = round_summary(RoundResult(closed.facts, {}, 0.0), names)
    assert (summary["pooled_accuracy"], summary["pooled_log_loss"]) == (None, None)
    assert summary["contributors"] == sorted(hospitals.sites, key=str.lower)


def test_lines_when_appended_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    for number in (1, 2):
        append_round(path, {"round": number, "name": "Zürich\n"})
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]


def test_rounds_of_several_coordinators_are_read_as_one(tmp_path: Path) -> None:
    first, second, missing = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    for path, number in ((first, 1), (first, 2), (second, 2), (second, 3)):
        append_round(path, {"round": number, "by": path.stem})
    append_round(second, {"round": 4, "failed": "too few sites"})
    found = read_rounds(first, second, missing)
    assert [(one["round"], one["by"]) for one in found] == [(1, "a"), (2, "a"), (3, "b")]
    assert read_rounds(missing) == []


def test_reading_passes_over_half_a_line_that_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    append_round(path, {"round": 1, "by": "a"})
    with path.open("ab") as file:
        file.write(b'{"round": 2, "fai')
    append_round(path, {"round": 3, "by": "a"})
    assert [one["round"] for one in read_rounds(path)] == [1, 3]
