"""A hostile coordinator against the guard: whatever it makes the training code ask, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.integration.networks import small_scenario
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import genesis_closing
from wardround.protocol.report import parse_report
from wardround_client.app.client_app import open_home
from wardround_client.errors import Refusal
from wardround_client.guard.guard import Guard
from wardround_client.guard.requests import Begun, Released, SignedAnswer
from wardround_client.home import Home
from wardround_simulations.network import Network

Request = dict[str, Any]
Parts = tuple[bytes, bytes]


def refused(ward: Ward, request: Request, parts: tuple[bytes, ...] = (), kind: Any = None) -> str:
    """Send a request, check that it is refused and logged; return the refusal's name."""
    before = len(ward.log())
    with pytest.raises(Refusal) as refusal:
        ward.client.ask(kind or SignedAnswer, request, parts)
    (line,) = ward.log()[before:]
    assert (line["kind"], line["error"]) == ("refused", refusal.value.name)
    assert line["words"] == refusal.value.words[:600]
    assert line["ask"] == request["ask"]
    return refusal.value.name


def begin(network: Network) -> Request:
    return {
        "ask": "begin",
        "study": hex_of(network.study),
        "round": 1,
        "previous": hex_of(genesis_closing(network.params.initial_model).encode()),
        "code": hex_of(network.params.code),
    }


# ---------------------------------------------------------------- what is signed


def test_contribution_when_all_is_well_is_signed_and_written_down(ward: Ward) -> None:
    delivery, update = ward.site().contribute(ward.task, ward.network.initial.values)
    entry = delivery.entry
    statement = entry.contribution(ward.network.study, 1, ward.network.params.initial_model)
    statement.check_signature(ward.network.contract.domain, entry.signature)
    assert entry.update == vector_root(vector_bytes(update))
    assert entry.weight == len(ward.network.parties[0].data.train)
    (line,) = ward.signed()
    assert (line["update"], line["weight"]) == (hex_of(entry.update), entry.weight)
    assert (line["signature"], line["report"]) == (
        hex_of(entry.signature),
        delivery.report.decode(),
    )
    assert line["update_bytes"] == len(vector_bytes(update))


def test_update_when_guarded_at_a_socket_is_that_of_a_guard_in_process(
    ward: Ward, network: Network
) -> None:
    """The same rows, name and seed give the same root."""
    simulated = open_home(str(network.home(network.parties[0]).folder))
    assert isinstance(simulated.guard, Guard)
    expected, _ = simulated.contribute(ward.task, network.initial.values)
    found, _ = ward.site().contribute(ward.task, network.initial.values)
    assert found.entry.update == expected.entry.update


def test_same_contribution_when_asked_again_has_the_same_signature(ward: Ward) -> None:
    first, _ = ward.site().contribute(ward.task, ward.network.initial.values)
    second, _ = ward.site().contribute(ward.task, ward.network.initial.values)
    # Training took another time, so the report would be another: the first one is given again.
    assert first == second
    assert len(ward.signed()) == 1


def test_same_contribution_when_the_guard_was_restarted_has_the_same_signature(
    network: Network, home: Home
) -> None:
    deliveries = []
    for _ in range(2):
        with guarded(network, home) as guard:
            ward = Ward(network, home, guard)
            delivery, _ = ward.site().contribute(ward.task, network.initial.values)
            deliveries.append(delivery)
    assert deliveries[0] == deliveries[1]


# ---------------------------------------------------------------- what is refused


def reported(request: Request, **changes: Any) -> Request:
    report = {**json.loads(request["report"]), **changes}
    return {**request, "report": canonical_bytes(report).decode()}


def with_update(request: Request, parts: Parts, update: np.ndarray[Any, Any]) -> Any:
    data = update.astype("<i4").tobytes()
    return {**request, "update_bytes": len(data)}, (parts[0], data)


def vector(data: bytes) -> Any:
    return np.frombuffer(data, "<i4").copy()


Change = Callable[[Request, Parts], tuple[Request, tuple[bytes, ...]]]
BAD_DIGEST = "0x" + "ab" * 32

HOSTILE: dict[str, tuple[Change, str]] = {
    "a study that is not approved": (
        lambda r, p: ({**r, "study": BAD_DIGEST}, p),
        "study-not-approved",
    ),
    "the next round": (lambda r, p: (reported({**r, "round": 2}, round=2), p), "round-not-open"),
    "an old record": (
        lambda r, p: ({**r, "previous": hex_of(genesis_closing(b"\x07" * 32).encode())}, p),  # type: ignore[arg-type]
        "base-model-wrong",
    ),
    "another model": (lambda r, p: (r, ((vector(p[0]) + 1).tobytes(), p[1])), "base-model-wrong"),
    "weight above the rows": (
        lambda r, p: ({**r, "weight": r["weight"] + 1}, p),
        "weight-too-high",
    ),
    "no weight": (lambda r, p: ({**r, "weight": 0}, p), "weight-too-high"),
    "absurd weight": (lambda r, p: ({**r, "weight": 2**50}, p), "weight-too-high"),
    "more examples than rows": (lambda r, p: (reported(r, examples=41), p), "examples-wrong"),
    "changed code": (lambda r, p: (reported(r, code=BAD_DIGEST), p), "code-changed"),
    "a metric of its own": (
        lambda r, p: (reported(r, metrics={"row_17": 1.0}), p),
        "metric-not-allowed",
    ),
    "report of another study": (lambda r, p: (reported(r, study=BAD_DIGEST), p), "report-wrong"),
    "report of another round": (lambda r, p: (reported(r, round=9), p), "report-wrong"),
    "report of another site": (
        lambda r, p: (reported(r, site="0x" + "ab" * 20), p),
        "report-wrong",
    ),
    "a field more": (lambda r, p: (reported(r, note="hello"), p), "report-wrong"),
    "spent privacy": (
        lambda r, p: (reported(r, privacy={"epsilon": 1, "delta": 0.001}), p),
        "report-wrong",
    ),
    "no report": (lambda r, p: ({**r, "report": ""}, p), "report-wrong"),
    "report with spaces": (lambda r, p: ({**r, "report": r["report"] + " "}, p), "report-wrong"),
    "an update too short": (
        lambda r, p: with_update(r, p, vector(p[1])[:-1]),
        "update-out-of-range",
    ),
    "an update too long": (
        lambda r, p: with_update(r, p, np.append(vector(p[1]), 1)),
        "update-out-of-range",
    ),
    "an absurd length": (lambda r, p: ({**r, "update_bytes": 2**50}, p), "update-out-of-range"),
    "a coordinate beyond the bound": (
        lambda r, p: with_update(r, p, np.full(7, 2**24 + 1)),
        "update-out-of-range",
    ),
    "the lowest integer": (
        lambda r, p: with_update(r, p, np.full(7, -(2**31))),
        "update-out-of-range",
    ),
    "bytes missing": (lambda r, p: (r, (p[0], p[1][:-1])), "request-malformed"),
    "a field missing": (
        lambda r, p: ({k: v for k, v in r.items() if k != "weight"}, p),
        "request-malformed",
    ),
    "a question unknown": (lambda r, p: ({**r, "ask": "key"}, p), "request-malformed"),
    "a weight in words": (lambda r, p: ({**r, "weight": "40"}, p), "request-malformed"),
    "a padded record": (
        lambda r, p: ({**r, "previous": "0x" + "ff" * 288}, p),
        "request-malformed",
    ),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_guard_when_asked_for_what_must_not_leave_refuses_by_name(ward: Ward, how: str) -> None:
    request, parts = ward.drafted()
    change, name = HOSTILE[how]
    changed, sent = change(request, parts)
    if how == "bytes missing":
        # Half a vector and then nothing: the other side hangs up.
        _hang_up(ward, changed, sent)
        assert ward.refusals() == [name]
    else:
        assert refused(ward, changed, sent) == name
    assert ward.signed() == []
    # It was the change that was refused: the same without it is signed.
    ward.client.ask(SignedAnswer, request, parts)
    assert len(ward.signed()) == 1


def _hang_up(ward: Ward, request: Request, parts: tuple[bytes, ...]) -> None:
    import socket

    from wardround_client.guard.wire import Wire

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(ward.home.socket))
        Wire(connection, 10).send(request, parts)
        connection.shutdown(socket.SHUT_WR)
        assert b"request-malformed" in connection.recv(10_000)


def test_second_contribution_when_a_first_was_signed_is_refused(ward: Ward) -> None:
    request, parts = ward.drafted()
    first = ward.client.ask(SignedAnswer, request, parts)
    other = vector(parts[1])
    other[0] += 1
    assert refused(ward, *with_update(request, parts, other)) == "already-signed"
    assert refused(ward, {**request, "weight": request["weight"] - 1}, parts) == "already-signed"
    loss = json.loads(request["report"])["metrics"]["train_loss"] + 0.5
    assert refused(ward, reported(request, metrics={"train_loss": loss}), parts) == "already-signed"
    # How long training took is no other contribution.
    again = ward.client.ask(SignedAnswer, reported(request, seconds=99), parts)
    assert again == first
    assert len(ward.signed()) == 1


def test_signature_when_given_covers_what_was_sent_and_nothing_else(ward: Ward) -> None:
    request, parts = ward.drafted()
    answer = ward.client.ask(SignedAnswer, request, parts)
    entry = Entry.unpack(bytes.fromhex(answer.entry[2:]))
    assert entry.update == vector_root(parts[1])
    assert answer.report == request["report"]


def test_norm_when_above_the_sites_own_limit_is_refused(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home", policy="max_update_norm = 0.01")
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, *ward.drafted()) == "update-out-of-range"


def test_metric_when_the_site_withholds_it_is_refused(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home", policy='metrics = ["auc"]')
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        request, parts = ward.drafted()
        assert refused(ward, request, parts) == "metric-not-allowed"
        ward.client.ask(SignedAnswer, reported(request, metrics={}), parts)


def test_study_when_revoked_is_refused_at_once(ward: Ward) -> None:
    from wardround_client.guard.approvals import Approvals

    request, parts = ward.drafted()
    party = ward.network.parties[0]
    Approvals(ward.home.approvals, party.account.address).revoke(ward.network.study, 1)
    assert refused(ward, request, parts) == "study-not-approved"


def test_study_when_approved_for_another_contract_is_refused(network: Network, home: Home) -> None:
    text = home.settings_file.read_text()
    other = "0x" + "12" * 20
    home.settings_file.write_text(text.replace(network.contract.address.lower(), other))
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, begin(network), kind=Begun) == "study-not-approved"


def test_site_when_not_admitted_is_refused(network: Network, tmp_path: Path) -> None:
    from eth_account import Account

    from wardround_client.guard.approvals import Approval, Approvals

    home = make(network, tmp_path / "home")
    stranger = Account.create()
    approval = Approval(
        network.contract.chain.chain_id,
        network.contract.address.lower(),
        network.params,
        network.scenario.specification,
        1,
    )
    Approvals(home.approvals, stranger.address).give(approval, bytes(stranger.key))
    guard = Guard(home, bytes(stranger.key), lambda: 1)
    with pytest.raises(Refusal, match=f"not-a-member: {stranger.address}"):
        guard.ask(Begun, begin(network))
    guard.close()


def test_table_when_it_changed_in_the_middle_of_a_round_is_noticed(
    network: Network, home: Home
) -> None:
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        request, parts = ward.drafted()
    table = load_table(home.folder / "train.npz")
    save_table(Table(table.features[:-1], table.labels[:-1]), home.folder / "train.npz")
    with guarded(network, home) as guard:
        assert refused(Ward(network, home, guard), request, parts) == "examples-wrong"


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 nothing"])
def test_table_when_it_cannot_be_read_says_so(
    network: Network, home: Home, data: bytes | None
) -> None:
    file = home.folder / "train.npz"
    file.unlink() if data is None else file.write_bytes(data)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, begin(network), kind=Begun) == "table-unusable"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("http://127.0.0.1:1", "does not answer"), ("embedded:gone", "is no chain's address")],
)
def test_chain_when_it_is_silent_is_a_refusal(
    network: Network, home: Home, endpoint: str, words: str
) -> None:
    text = home.settings_file.read_text()
    home.settings_file.write_text(text.replace(network.contract.chain.url, endpoint))
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, begin(network), kind=Begun) == "chain-silent"
        assert words in ward.log()[-1]["words"]


def test_code_when_another_runs_is_refused_before_it_trains(ward: Ward) -> None:
    """A process that trains states its code; one that lies is refused when it signs."""
    params = replace(ward.network.params, code=b"\x09" * 32)  # type: ignore[arg-type]
    site = replace(ward.site(), code=params.code)
    with pytest.raises(StudyMismatch):
        site.contribute(ward.task, ward.network.initial.values)
    with pytest.raises(Refusal, match="code-changed"):
        ward.client.ask(Begun, {**begin(ward.network), "code": hex_of(site.code)})


def test_specification_when_another_is_sent_is_never_trained_on(ward: Ward) -> None:
    other = small_scenario(training={"learning_rate": 0.9}).specification
    task = replace(ward.task, specification=canonical_bytes(other.document()))
    with pytest.raises(StudyMismatch, match="specification"):
        ward.site().contribute(task, ward.network.initial.values)
    assert ward.signed() == []


# ---------------------------------------------------------------- what is measured


def test_measures_when_of_the_chains_model_leave_and_are_written_down(ward: Ward) -> None:
    measures = ward.site().evaluate(ward.task, ward.network.initial.values)
    assert set(measures) == {"examples", "correct", "accuracy", "log_loss", "auc"}
    (line,) = (line for line in ward.log() if line["kind"] == "released")
    assert line["measures"] == dict(measures)


def test_measures_when_of_another_model_stay(ward: Ward) -> None:
    """Who may choose the model may ask about single test rows."""
    with pytest.raises(Refusal, match="base-model-wrong"):
        ward.site().evaluate(ward.task, ward.network.initial.values + np.int32(1))
    task = replace(ward.task, previous=genesis_closing(b"\x02" * 32))  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="base-model-wrong"):
        ward.site().evaluate(task, ward.network.initial.values)
    assert ward.refusals() == ["base-model-wrong"] * 2


def release(ward: Ward, measures: dict[str, Any]) -> Request:
    return {
        "ask": "release",
        "study": hex_of(ward.network.study),
        "round": 1,
        "previous": hex_of(ward.task.previous.encode()),
        "model": hex_of(ward.network.params.initial_model),
        "measures": measures,
    }


@pytest.mark.parametrize(
    ("measures", "name"),
    [
        ({"examples": 20, "row_3": 1}, "metric-not-allowed"),
        ({"examples": 21}, "examples-wrong"),
        ({"auc": 0.5}, "examples-wrong"),
        ({"examples": 20, "auc": "high"}, "request-malformed"),
        ({f"m{n}": 1 for n in range(33)}, "request-malformed"),
    ],
)
def test_measures_when_strange_are_refused(ward: Ward, measures: Any, name: str) -> None:
    assert refused(ward, release(ward, measures), kind=Released) == name


def test_measures_when_the_site_withholds_some_are_left_out(
    network: Network, tmp_path: Path
) -> None:
    home = make(network, tmp_path / "home", policy='metrics = ["accuracy"]')
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        measures = ward.site().evaluate(ward.task, network.initial.values)
        assert set(measures) == {"examples", "accuracy"}


def test_measures_when_the_site_gives_none_are_refused(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home", policy="evaluate = false")
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        with pytest.raises(Refusal, match="evaluation-off"):
            ward.site().evaluate(ward.task, network.initial.values)


def test_home_when_opened_reads_name_and_address_from_the_guard(ward: Ward) -> None:
    party = ward.network.parties[0]
    site = open_home(str(ward.home.folder))
    assert (site.name, site.address) == (party.name, party.account.address)
    assert parse_report(site.contribute(ward.task, ward.network.initial.values)[0].report).site == (
        party.account.address.lower()
    )
