from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.integration.networks import small_scenario
from wardround.audit.finished import open_run, read_network
from wardround.audit.folders import EVENTS_FILE, MODEL_FILE, SUMMARY_FILE
from wardround.learning.datasets.table import load_table
from wardround.protocol.fixed_point import dequantize, vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.merkle import vector_root
from wardround.store import FolderStore
from wardround_coordinator.rounds_file import read_rounds


@pytest.fixture(scope="module")
def summary(finished: Path) -> dict:
    return json.loads((finished / SUMMARY_FILE).read_text("utf-8"))


def test_summary_when_written_has_a_row_a_round(finished: Path, summary: dict) -> None:
    assert [row["round"] for row in summary["rounds"]] == [1, 2, 3]
    assert summary["rounds"] == read_rounds(finished / "rounds.jsonl")
    assert summary["study"] == read_network(finished).study
    assert summary["specification"] == hex_of(small_scenario().specification.digest)
    for row in summary["rounds"]:
        assert len(row["contributors"]) == 3
        assert row["dropped"] == []
        assert set(row["accuracy"]) == {"site-1", "site-2", "site-3"}
        assert sum(map(int, row["rewards"].values())) <= 1000


def test_final_figures_when_measured_here_are_what_the_sites_said(summary: dict) -> None:
    last, final = summary["rounds"][-1], summary["final"]
    assert final["model"] == last["model"]
    assert final["accuracy"] == last["accuracy"]
    assert final["pooled_accuracy"] == pytest.approx(last["pooled_accuracy"])
    assert final["average_accuracy"] == pytest.approx(np.mean(list(last["accuracy"].values())))
    assert 0.5 < final["pooled_auc"] <= 1


def test_model_when_exported_is_the_one_on_chain(finished: Path, summary: dict) -> None:
    with open_run(finished) as run:
        closed = run.contract.closed_rounds(run.study)[-1]
    weights = load_file(finished / MODEL_FILE)
    flat = np.concatenate([weights[name].ravel() for name in ("1.weight", "1.bias")])
    assert hex_of(closed.closing.record.model) == summary["final"]["model"]
    store = FolderStore(finished / "store")
    stored = [
        data
        for data in (store.get(cid) for cid in store.cids())
        if hex_of(vector_root(data)) == summary["final"]["model"]
    ]
    values = vector_from_bytes(stored[0], flat.size)
    np.testing.assert_array_equal(flat, dequantize(values, 20))
    with safe_open(finished / MODEL_FILE, "numpy") as file:
        metadata = file.metadata()
    assert metadata["root"] == summary["final"]["model"]
    assert metadata["study"] == summary["study"]


def test_accuracy_when_computed_by_hand_is_the_summarys(finished: Path, summary: dict) -> None:
    weights = load_file(finished / MODEL_FILE)
    for name, accuracy in summary["final"]["accuracy"].items():
        table = load_table(finished / "sites" / name / "test.npz")
        logits = table.features @ weights["1.weight"].ravel() + weights["1.bias"]
        assert np.mean((logits > 0) == table.labels) == pytest.approx(accuracy)


def test_events_when_written_are_the_contracts_in_order(finished: Path, summary: dict) -> None:
    lines = (finished / EVENTS_FILE).read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    names = [event["event"] for event in events]
    assert names[0] == "StudyCreated"
    assert names.count("SiteAdmitted") == 3
    assert names.count("Contributed") == 9
    closed = [event for event in events if event["event"] == "RoundClosed"]
    assert [event["closing"]["record"]["model"] for event in closed] == [
        row["model"] for row in summary["rounds"]
    ]
    assert all(event["study"] == summary["study"] for event in events)
    places = [(event["block"], event["index"]) for event in events]
    assert places == sorted(places)


def test_earnings_when_summed_are_the_shares_of_all_rounds(finished: Path, summary: dict) -> None:
    earned = {site: int(amount) for site, amount in summary["final"]["earned"].items()}
    assert {
        address: sum(int(row["rewards"][name]) for row in summary["rounds"])
        for name, address in read_network(finished).sites.items()
    } == earned


def test_rounds_when_attempts_failed_leave_them_out(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert read_rounds(path) == []
    path.write_text('{"round": 1, "failed": "why"}\n{"round": 1, "model": "0x"}\n')
    assert read_rounds(path) == [{"round": 1, "model": "0x"}]
