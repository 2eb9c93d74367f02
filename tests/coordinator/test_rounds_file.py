from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.coordinator.conftest import Hospitals
from wardround.learning.privacy.counts import CLIP
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.messages import BINS, Measured
from wardround_coordinator.rounds_file import (
    append_round,
    read_rounds,
    round_sentence,
    round_summary,
)
from wardround_coordinator.session import RoundFacts
from wardround_coordinator.strategy import RoundResult


def counted(noise: float = 0.0, **counts: int) -> Measured:
    """Rows of which a model is sure, rightly or wrongly."""
    places = {"wrong_ill": 1, "right_well": 0, "wrong_well": 2 * BINS - 2, "right_ill": -1}
    values = [0] * (2 * BINS)
    for name, count in counts.items():
        values[places[name]] = count
    return Measured(counts=values, two_classes=True, noise=noise)


def test_summary_when_a_round_is_closed_has_what_the_command_line_promises(
    hospitals: Hospitals,
) -> None:
    session = hospitals.session()
    position = session.position()
    closed = session.run_round(position, hospitals.asked, hospitals.replies(position)[:2])
    first, second, third = hospitals.sites
    measured = {
        first: counted(right_ill=40, right_well=40, wrong_well=10, wrong_ill=10),
        second: counted(right_well=150, wrong_well=150),
    }
    names = {first: "north", second: "south"}
    summary = round_summary(RoundResult(closed.facts, measured, 1.25), names)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["round"], summary["wall_seconds"]) == (1, 1.25)
    assert summary["model"] == hex_of(closed.settlement.model.root)
    assert summary["gas"] == closed.gas > 21_000
    order = sorted([first, second], key=str.lower)
    assert summary["contributors"] == [names[site] for site in order]
    # A site without a name goes by its address.
    assert summary["dropped"] == [{"site": third.lower(), "reason": "no_reply"}]
    assert summary["accuracy"] == {"north": 0.8, "south": 0.5}
    assert summary["auc"] == {"north": 0.8, "south": None}
    assert summary["measures"]["north"] == measured[first].fields()
    assert summary["accuracy_interval"] == {}
    assert summary["pooled_accuracy_interval"] is None
    assert summary["pooled_accuracy"] == pytest.approx(230 / 400)
    assert summary["pooled_auc"] == pytest.approx(
        (40 * 190 + 40 * 160 / 2 + 10 * 190 / 2) / 50 / 350
    )
    sure, wrong = -math.log(0.95), -math.log(CLIP)
    assert summary["pooled_log_loss"] == pytest.approx((230 * sure + 170 * wrong) / 400)
    assert ", accuracy 0.5750, 1.2 s" in round_sentence(summary, 3)
    assert sum(map(int, summary["rewards"].values())) <= 1000
    assert summary["rewards"] == {
        names[site]: str(share) for site, share in closed.settlement.shares.items()
    }


@pytest.fixture
def closed(hospitals: Hospitals) -> RoundFacts:
    session = hospitals.session()
    position = session.position()
    return session.run_round(position, hospitals.asked, hospitals.replies(position)).facts


def test_figures_when_counts_have_noise_have_intervals(
    closed: RoundFacts, hospitals: Hospitals
) -> None:
    first, second, _ = hospitals.sites
    measured = {
        first: counted(noise=2.0, right_ill=80, right_well=80, wrong_ill=40),
        second: counted(right_ill=80, right_well=80, wrong_ill=40),
    }
    summary = round_summary(RoundResult(closed, measured, 0.0), {first: "a", second: "b"})
    assert summary["accuracy"] == {"a": 0.8, "b": 0.8}
    ((name, (low, high)),) = summary["accuracy_interval"].items()
    assert name == "a"
    # One site's noise moves a mean over two less.
    least, most = summary["pooled_accuracy_interval"]
    assert 0.7 < low < least < 0.8 < most < high < 0.9
    assert f", accuracy 0.80 ({least:.2f} to {most:.2f}), " in round_sentence(summary, 1)


def test_figures_when_noise_leaves_no_row_are_missing(
    closed: RoundFacts, hospitals: Hospitals
) -> None:
    first, second, _ = hospitals.sites
    none = counted(noise=4.0, right_ill=3, wrong_ill=-9)
    summary = round_summary(RoundResult(closed, {first: none}, 0.0), {first: "a"})
    assert summary["measures"] == {"a": none.fields()}
    assert (summary["accuracy"], summary["pooled_accuracy"]) == ({}, None)
    assert ", accuracy not measured, " in round_sentence(summary, 1)
    # Its noise is as likely to be above zero, so it counts where there are others.
    measured = {first: none, second: counted(right_ill=20)}
    both = round_summary(RoundResult(closed, measured, 0.0), {first: "a", second: "b"})
    assert both["accuracy"] == {"b": 1.0}
    assert both["pooled_accuracy"] == 1.0


def test_summary_when_nobody_measured_has_no_pooled_accuracy(
    closed: RoundFacts, hospitals: Hospitals
) -> None:
    names: dict[SiteAddress, str] = {}
    summary = round_summary(RoundResult(closed, {}, 0.0), names)
    assert (summary["pooled_accuracy"], summary["pooled_log_loss"]) == (None, None)
    assert "accuracy" not in round_sentence(summary, 1)
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
