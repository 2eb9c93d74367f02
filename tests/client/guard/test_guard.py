"""A hostile coordinator against the guard: what it asks for, and what a study's code answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from tests.client.guard.conftest import (
    NAMED,
    Ward,
    approve,
    asked_of,
    guarded,
    home_later,
    make,
    question,
)
from tests.client.guard.trainers import Altered, Held
from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.host import code
from wardround.learning.datasets.people import digests_of
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import StudyParams, genesis_closing
from wardround.protocol.report import parse_report
from wardround_client.errors import Refusal, RefusedForNow
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.guard.client import guard_of
from wardround_client.guard.guard import Guard
from wardround_client.guard.wire import Wire
from wardround_client.home import Home
from wardround_client.trainer.base import TrainJob, TrainResult
from wardround_client.trainer.local import LocalTrainer
from wardround_simulations.network import Network

Request = dict[str, Any]


def refused(ward: Ward, request: Request, model: bytes = b"") -> str:
    """Send a request, check that it is refused and logged; return the refusal's name."""
    before = len(ward.log())
    with pytest.raises(Refusal) as refusal:
        ward.client.ask(request, model)
    # What the trainer fails at is counted first, in a line of its own.
    (line,) = (line for line in ward.log()[before:] if line["kind"] != "failed")
    assert (line["kind"], line["error"]) == ("refused", refusal.value.name)
    assert line["words"] == refusal.value.words[:600]
    assert line["ask"] == request["ask"]
    return refusal.value.name


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Network]:
    """A network whose rounds a test may close."""
    with prepared(small_scenario(), tmp_path / "own") as made:
        yield made


def close_round(network: Network) -> None:
    hospitals = Hospitals(network)
    session = hospitals.session()
    position = session.position()
    session.run_round(position, hospitals.asked, hospitals.replies(position))


# ---------------------------------------------------------------- what is signed


def test_contribution_when_all_is_well_is_signed_and_written_down(ward: Ward) -> None:
    delivery, update = ward.train()
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


def test_report_when_signed_states_what_the_guard_knows(network: Network, home: Home) -> None:
    trainer = Altered(lambda job, honest: replace(honest, mean_loss=0.123456789))
    key, ticks = bytes(network.parties[0].account.key), iter((0.0, 100.0, 102.25))
    guard = Guard(home, key, lambda: 1, trainer, clock=lambda: next(ticks))
    delivery, _ = guard.train(asked_of(network).task, network.initial.values)
    guard.close()
    report = parse_report(delivery.report)
    assert report.metrics == {"train_loss": 0.1235}
    assert report.seconds == 3
    assert report.examples == len(network.parties[0].data.train)
    assert report.site == network.parties[0].account.address.lower()
    assert report.code == hex_of(network.params.code)
    assert report.privacy is None


def test_update_when_guarded_at_a_socket_is_that_of_a_guard_in_process(
    network: Network, tmp_path: Path
) -> None:
    """The same rows and secret give the same root."""
    simulated = guard_of(network.home(network.parties[0]))
    assert isinstance(simulated, Guard)
    home = make(network, tmp_path / "home", secret=simulated.home.read_secret())
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        expected, _ = simulated.train(ward.task, network.initial.values)
        assert ward.train()[0].entry.update == expected.entry.update


def test_update_when_the_secret_is_another_is_another(network: Network, tmp_path: Path) -> None:
    """What orders the rows is nothing that a coordinator knows."""
    trainers, roots = [Altered(), Altered()], set()
    for trainer, secret in zip(trainers, (b"\x01" * 32, b"\x02" * 32), strict=True):
        home = make(network, tmp_path / secret.hex(), secret=secret)
        approve(network, home)
        with guarded(network, home, trainer=trainer) as guard:
            roots.add(Ward(network, home, guard).train()[0].entry.update)
    assert len(roots) == 2
    seeds = [one.trained[0].seed for one in trainers]
    assert seeds[0] != seeds[1]
    assert all(2**64 < seed < 2**256 for seed in seeds)


def test_same_contribution_when_asked_again_is_not_trained_again(
    network: Network, home: Home
) -> None:
    trainer = Altered()
    with guarded(network, home, trainer=trainer) as guard:
        ward = Ward(network, home, guard)
        first, update = ward.train()
        second, same = ward.train()
        assert first == second
        assert vector_bytes(update) == vector_bytes(same)
        assert len(trainer.trained) == len(ward.signed()) == 1


def test_same_contribution_when_the_guard_was_restarted_is_not_trained_again(
    network: Network, home: Home
) -> None:
    trainer, deliveries = Altered(), []
    for _ in range(2):
        with guarded(network, home, trainer=trainer) as guard:
            deliveries.append(Ward(network, home, guard).train()[0])
    assert deliveries[0] == deliveries[1]
    assert len(trainer.trained) == 1


def forget_answers(home: Home) -> None:
    """Let an answer be lost, as by a crash before it was on disk."""
    for file in home.answers.glob("*.safetensors"):
        file.unlink()


def test_same_contribution_when_its_answer_is_lost_has_the_same_signature(
    network: Network, home: Home
) -> None:
    trainer, deliveries = Altered(), []
    for _ in range(2):
        with guarded(network, home, trainer=trainer) as guard:
            ward = Ward(network, home, guard)
            deliveries.append(ward.train()[0])
            forget_answers(home)
    # Training took another time, so the report would be another: the first one is given again.
    assert deliveries[0] == deliveries[1]
    assert len(trainer.trained) == 2
    assert len(ward.signed()) == 1


def test_second_contribution_when_a_first_was_signed_is_refused(
    network: Network, home: Home
) -> None:
    """Also after a crash: the log says what was signed."""
    with guarded(network, home) as guard:
        first, _ = Ward(network, home, guard).train()
    forget_answers(home)

    def moved(job: TrainJob, honest: TrainResult) -> TrainResult:
        return replace(honest, update=honest.update + np.int32(1))

    with guarded(network, home, trainer=Altered(moved)) as guard:
        ward = Ward(network, home, guard)
        for _ in range(2):
            assert refused(ward, *question(network)) == "already-signed"
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert ward.train()[0] == first
        assert len(ward.signed()) == 1


def test_question_when_asked_twice_at_once_is_trained_once(network: Network, home: Home) -> None:
    trainer = Held()
    with guarded(network, home, trainer=trainer) as guard, ThreadPoolExecutor(4) as pool:
        ward = Ward(network, home, guard)
        answers = [pool.submit(ward.train) for _ in range(4)]
        assert trainer.begun.wait(60)
        # One trains, and the others wait for it; who the site is can be asked all the same.
        assert ward.client.identify().site == network.parties[0].account.address
        assert not any(one.done() for one in answers)
        trainer.let.set()
        assert len({one.result(60)[0].entry.signature for one in answers}) == 1
        assert len(trainer.trained) == len(ward.signed()) == 1


def test_job_when_given_to_the_trainer_has_the_sites_rows_and_the_chains_model(
    later: Network, experienced: Home
) -> None:
    trainer = Altered()
    with guarded(later, experienced, trainer=trainer) as guard:
        ward = Ward(later, experienced, guard)
        ward.train()
        ward.measure()
    data = later.parties[0].data
    (job,), (asked,) = trainer.trained, trainer.predicted
    np.testing.assert_array_equal(job.features, data.train.features)
    np.testing.assert_array_equal(job.labels, data.train.labels)
    np.testing.assert_array_equal(job.base, ward.asked.model)
    np.testing.assert_array_equal(asked.model, ward.asked.model)
    assert (job.specification, asked.classes) == (ward.task.specification, 2)
    np.testing.assert_array_equal(asked.features, data.test.features)
    assert not hasattr(asked, "labels")
    for said in (repr(job), repr(asked)):
        assert str(job.seed) not in said
        assert str(data.train.features[0, 0]) not in said
        assert "features=" not in said


# ---------------------------------------------------------------- what is refused

Change = Callable[[Request, bytes], tuple[Request, bytes]]
BAD_DIGEST = "0x" + "ab" * 32


def previous_of(root: bytes) -> str:
    return hex_of(genesis_closing(root).encode())  # type: ignore[arg-type]


HOSTILE: dict[str, tuple[Change, str]] = {
    "a study that is not approved": (
        lambda r, m: ({**r, "study": BAD_DIGEST}, m),
        "study-not-approved",
    ),
    "an old record": (
        lambda r, m: ({**r, "previous": previous_of(b"\x07" * 32)}, m),
        "base-model-wrong",
    ),
    "another model": (
        lambda r, m: (r, (np.frombuffer(m, "<i4") + 1).astype("<i4").tobytes()),
        "base-model-wrong",
    ),
    "a model too short": (
        lambda r, m: ({**r, "model_bytes": len(m) - 4}, m[4:]),
        "base-model-wrong",
    ),
    "a model too long": (
        lambda r, m: ({**r, "model_bytes": len(m) + 4}, m + bytes(4)),
        "base-model-wrong",
    ),
    "no model": (lambda r, m: ({**r, "model_bytes": 0}, b""), "base-model-wrong"),
    "an absurd length": (lambda r, m: ({**r, "model_bytes": 2**50}, m), "base-model-wrong"),
    "a length below zero": (lambda r, m: ({**r, "model_bytes": -4}, m), "request-malformed"),
    "bytes missing": (lambda r, m: (r, m[:-1]), "request-malformed"),
    "a field missing": (
        lambda r, m: ({k: v for k, v in r.items() if k != "previous"}, m),
        "request-malformed",
    ),
    "a field more": (lambda r, m: ({**r, "weight": 40}, m), "request-malformed"),
    "round zero": (lambda r, m: ({**r, "round": 0}, m), "request-malformed"),
    "a round in words": (lambda r, m: ({**r, "round": "1"}, m), "request-malformed"),
    "a padded record": (
        lambda r, m: ({**r, "previous": "0x" + "ff" * 256}, m),
        "request-malformed",
    ),
}


@pytest.mark.parametrize("ask", ["train", "measure"])
@pytest.mark.parametrize("how", HOSTILE)
def test_guard_when_asked_for_what_must_not_leave_refuses_by_name(
    later: Network, experienced: Home, how: str, ask: str
) -> None:
    trainer = Altered()
    with guarded(later, experienced, trainer=trainer) as guard:
        ward = Ward(later, experienced, guard)
        signed = ward.signed()
        request, model = ward.asked.request(ask)
        change, name = HOSTILE[how]
        changed, sent = change(request, model)
        if how == "bytes missing":
            # Half a vector and then nothing: the other side hangs up.
            _hang_up(ward, changed, sent)
            assert ward.refusals() == [name]
        else:
            assert refused(ward, changed, sent) == name
        assert trainer.trained == trainer.predicted == []
        assert ward.signed() == signed
        # It was the change that was refused: the same without it is answered.
        ward.client.ask(request, model)


def _hang_up(ward: Ward, request: Request, model: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(ward.home.socket))
        Wire(connection, 10).send(request, (model,))
        connection.shutdown(socket.SHUT_WR)
        assert b"request-malformed" in connection.recv(10_000)


@pytest.mark.parametrize("ask", ["key", "begin", "sign", "release", ""])
def test_question_when_unknown_is_refused(ward: Ward, ask: str) -> None:
    request, model = question(ward.network)
    with pytest.raises(Refusal, match="request-malformed"):
        ward.guard.ask({**request, "ask": ask}, model)
    assert ward.refusals() == ["request-malformed"]


def test_next_round_when_not_open_is_refused(ward: Ward) -> None:
    request, model = question(ward.network)
    assert refused(ward, {**request, "round": 2}, model) == "round-not-open"


def test_model_when_of_a_wrong_length_is_refused_before_it_is_read(ward: Ward) -> None:
    request, _ = question(ward.network)

    def read(count: int) -> bytes:
        raise AssertionError(f"{count} bytes were read")

    for count in (0, 4, 2**50):
        with pytest.raises(Refusal, match="base-model-wrong"):
            ward.guard.decide({**request, "model_bytes": count}, read)


def chosen(update: Any) -> Callable[[TrainJob, TrainResult], TrainResult]:
    return lambda job, honest: replace(honest, update=update)


def lossy(loss: Any) -> Callable[[TrainJob, TrainResult], TrainResult]:
    return lambda job, honest: replace(honest, mean_loss=loss)


ANSWERS: dict[str, Callable[[TrainJob, TrainResult], TrainResult]] = {
    "an update too short": chosen(np.zeros(6, np.int32)),
    "an update too long": chosen(np.zeros(8, np.int32)),
    "an update of two dimensions": chosen(np.zeros((1, 7), np.int32)),
    "an update with gaps": chosen(np.zeros(14, np.int32)[::2]),
    "floats": chosen(np.zeros(7, np.float32)),
    "longer integers": chosen(np.zeros(7, np.int64)),
    "no vector": chosen(bytes(28)),
    "a coordinate beyond the bound": chosen(np.full(7, 2**24 + 1, np.int32)),
    "the lowest integer": chosen(np.full(7, -(2**31), np.int32)),
    "a loss that is no number": lossy(float("nan")),
    "an infinite loss": lossy(float("inf")),
    "a loss below zero": lossy(-1e-9),
    "a loss in words": lossy("Jane Doe"),
}


@pytest.mark.parametrize("how", ANSWERS)
def test_trainer_when_it_answers_what_cannot_be_is_refused_by_one_name(
    network: Network, home: Home, how: str
) -> None:
    with guarded(network, home, trainer=Altered(ANSWERS[how])) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, *question(network)) == "trainer-failed"
        assert ward.signed() == []
        assert "Jane" not in home.log.read_text()
    with guarded(network, home) as guard:
        Ward(network, home, guard).train()


def test_round_when_the_trainer_failed_three_times_is_left_out(
    network: Network, home: Home
) -> None:
    """Code that fails by what it sees could tell a row, a bit each time that it is asked."""
    for name in ["trainer-failed", "trainer-failed"], ["trainer-failed", "attempts-spent"]:
        trainer = Altered(chosen(np.full(7, 2**30, np.int32)))
        with guarded(network, home, trainer=trainer) as guard:  # also over a restart
            ward = Ward(network, home, guard)
            assert [refused(ward, *question(network)) for _ in name] == name
            assert len(trainer.trained) == name.count("trainer-failed")
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, *question(network)) == "attempts-spent"
        # Its administrator may look into it, and let it try again.
        address, key = guard.address, bytes(network.parties[0].account.key)
        known = Approvals(home.approvals, address).of(network.study)
        Approvals(home.approvals, address).give(replace(known, at=known.at + 1), key)
        assert ward.train()


#: How a job may end in the guard's own process, without a word of a trainer's.
ENDS: list[type[Exception]] = [MemoryError, ValueError, RecursionError, TimeoutError, OSError]


@pytest.mark.parametrize("ask", ["train", "measure"])
@pytest.mark.parametrize("end", ENDS)
def test_job_however_it_ends_after_its_rows_went_out_is_counted(
    later: Network, experienced: Home, end: type[Exception], ask: str
) -> None:
    def ended(*_: Any) -> Any:
        raise end("row 3")

    with guarded(later, experienced, trainer=Altered(ended, ended)) as guard:
        ward = Ward(later, experienced, guard)
        names = [refused(ward, *ward.asked.request(ask)) for _ in range(5)]
        assert names == ["trainer-failed"] * 3 + ["attempts-spent"] * 2
        assert "row 3" not in experienced.log.read_text()


def test_trainer_when_it_is_not_there_is_no_failure(network: Network, home: Home) -> None:
    def gone(*_: Any) -> Any:
        raise RefusedForNow("trainer-gone", "it is started again.")

    with guarded(network, home, trainer=Altered(gone)) as guard:
        ward = Ward(network, home, guard)
        assert {refused(ward, *question(network)) for _ in range(4)} == {"trainer-gone"}
    with guarded(network, home) as guard:
        assert Ward(network, home, guard).train()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"aggregation": {"update_bound": 0.0001}}, "OutOfRange"),
        (
            {"training": {"learning_rate": 1000.0, "local_epochs": 500, "momentum": 0.999}},
            "OutOfRange",
        ),
    ],
    ids=["beyond the bound", "diverging"],
)
def test_training_when_it_cannot_be_used_is_refused_and_never_clamped(
    tmp_path: Path, tables: dict[str, Any], words: str
) -> None:
    with prepared(small_scenario(**tables), tmp_path / "network") as network:
        home = make(network, tmp_path / "home")
        approve(network, home)
        with guarded(network, home) as guard:
            ward = Ward(network, home, guard)
            assert refused(ward, *question(network)) == "trainer-failed"
            assert words in ward.log()[-1]["words"]
            assert ward.signed() == []


@pytest.mark.parametrize(
    ("loss", "told"),
    [(0.0, 0.0), (0.69314718, 0.6931), (123.456, 123.5), (1e300, 1e6)],
)
def test_loss_when_reported_has_four_digits(
    network: Network, home: Home, loss: float, told: float
) -> None:
    with guarded(network, home, trainer=Altered(lossy(loss))) as guard:
        delivery, _ = Ward(network, home, guard).train()
    assert parse_report(delivery.report).metrics == {"train_loss": told}


def test_norm_when_above_the_sites_own_limit_is_refused(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home", policy="max_update_norm = 0.01")
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, *question(network)) == "trainer-failed"


def test_loss_when_the_site_withholds_it_is_left_out(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home", policy="metrics = []")
    approve(network, home)
    with guarded(network, home) as guard:
        delivery, _ = Ward(network, home, guard).train()
    assert parse_report(delivery.report).metrics == {}


def test_weight_when_above_the_contracts_cap_is_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_simulations.network.WEIGHT_CAP", 7)
    with prepared(small_scenario(), tmp_path / "capped") as capped:
        home = make(capped, tmp_path / "home")
        approve(capped, home)
        with guarded(capped, home) as guard:
            delivery, _ = Ward(capped, home, guard).train()
    assert delivery.entry.weight == 7
    assert parse_report(delivery.report).examples == len(capped.parties[0].data.train)


def test_study_when_revoked_is_refused_at_once(ward: Ward) -> None:
    party = ward.network.parties[0]
    Approvals(ward.home.approvals, party.account.address).revoke(ward.network.study, 1)
    assert refused(ward, *question(ward.network)) == "study-not-approved"


def test_study_when_approved_for_another_contract_is_refused(network: Network, home: Home) -> None:
    text = home.settings_file.read_text()
    other = "0x" + "12" * 20
    home.settings_file.write_text(text.replace(network.contract.address.lower(), other))
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        assert refused(ward, *question(network)) == "study-not-approved"


@pytest.mark.parametrize(("rows", "accepted"), [(1, []), (19, []), (1, ["small"])])
def test_table_when_less_than_half_of_the_approved_is_left_is_refused(
    network: Network, tmp_path: Path, rows: int, accepted: list[str]
) -> None:
    home = make(network, tmp_path / "home", policy=f"accept_solvable = {json.dumps(accepted)}")
    approve(network, home)
    keep_rows(home, rows)
    with guarded(network, home) as guard:
        assert refused(Ward(network, home, guard), *question(network)) == "table-changed"


def test_table_when_its_people_are_gone_is_refused(network: Network, tmp_path: Path) -> None:
    """As many rows, all of one person."""
    home = make(network, tmp_path / "named", data=NAMED)
    approve(network, home)
    address = network.parties[0].account.address
    known = Approvals(home.approvals, address).of(network.study)
    key = bytes(network.parties[0].account.key)
    Approvals(home.approvals, address).give(replace(known, people=10), key)
    for number, name in enumerate(("train.npz", "test.npz")):
        found = load_table(home.folder / name)
        groups = digests_of([100 * number + row % 4 for row in range(len(found))])
        save_table(Table(found.features, found.labels, groups), home.folder / name)
    with guarded(network, home) as guard:
        assert refused(Ward(network, home, guard), *question(network)) == "table-changed"


def test_rows_when_the_study_can_be_solved_for_them_are_not_trained_on(
    network: Network, tmp_path: Path
) -> None:
    """An approval of three rows, which `wardround site approve` gives only with acceptance."""
    for accepted in ([], ["small"]):
        folder = tmp_path / f"home-{len(accepted)}"
        home = make(network, folder, policy=f"accept_solvable = {json.dumps(accepted)}")
        address, key = network.parties[0].account.address, bytes(network.parties[0].account.key)
        approve(network, home)
        known = Approvals(home.approvals, address).of(network.study)
        Approvals(home.approvals, address).give(replace(known, rows=3), key)
        keep_rows(home, 3)
        with guarded(network, home) as guard:
            ward = Ward(network, home, guard)
            if accepted:
                assert ward.train()[0].entry.weight == 3
            else:
                assert refused(ward, *question(network)) == "rows-solvable"


def test_terms_when_the_policy_no_longer_accepts_them_are_refused(
    network: Network, tmp_path: Path
) -> None:
    """The site approved the study, and signed a stricter policy later."""
    home = make(network, tmp_path / "home", policy="min_challenge_seconds = 86_401")
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        for ask in ("train", "measure"):
            assert refused(ward, *question(network, ask)) == "terms-refused"
        assert ward.signed() == []


def keep_rows(home: Home, count: int) -> None:
    found = load_table(home.folder / "train.npz")
    save_table(Table(found.features[:count], found.labels[:count]), home.folder / "train.npz")


def test_code_when_another_is_installed_is_refused(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.guard.guard.application_digest", lambda: b"\x09" * 32)
    assert code.application_digest() == ward.network.params.code
    for ask in ("train", "measure"):
        assert refused(ward, *question(ward.network, ask)) == "code-changed"


def test_study_when_it_pins_other_code_is_refused(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "home")
    params: StudyParams = replace(network.params, code=b"\x09" * 32)  # type: ignore[arg-type]
    approve(network, home, params=params)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        request, model = question(network)
        assert refused(ward, {**request, "study": hex_of(params.study_id)}, model) == "code-changed"


def test_site_when_not_admitted_is_refused(network: Network, tmp_path: Path) -> None:
    stranger = Account.create()
    home = make(network, tmp_path / "home", key=bytes(stranger.key))
    approval = Approval(
        network.contract.chain.chain_id,
        network.contract.address.lower(),
        network.params,
        network.contract.created(network.study).parties,
        network.scenario.specification,
        1,
        1,
        None,
    )
    Approvals(home.approvals, stranger.address).give(approval, bytes(stranger.key))
    guard = Guard(home, bytes(stranger.key), lambda: 1, LocalTrainer())
    with pytest.raises(Refusal, match=f"not-a-member: {stranger.address}"):
        guard.ask(*question(network))
    guard.close()


def test_table_when_it_changed_in_the_middle_of_a_round_is_noticed(
    network: Network, home: Home
) -> None:
    with guarded(network, home) as guard:
        Ward(network, home, guard).train()
    forget_answers(home)
    table = load_table(home.folder / "train.npz")
    save_table(Table(table.features[:-1], table.labels[:-1]), home.folder / "train.npz")
    with guarded(network, home) as guard:
        assert refused(Ward(network, home, guard), *question(network)) == "already-signed"


@pytest.mark.parametrize("ask", ["train", "measure"])
@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 nothing"])
def test_table_when_it_cannot_be_read_says_so(
    later: Network, experienced: Home, data: bytes | None, ask: str
) -> None:
    file = experienced.folder / "train.npz"
    file.unlink() if data is None else file.write_bytes(data)
    with guarded(later, experienced) as guard:
        ward = Ward(later, experienced, guard)
        request = ward.asked.request(ask)
        with pytest.raises(RefusedForNow):
            ward.client.ask(*request)
        assert refused(ward, *request) == "table-unusable"


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
        assert refused(ward, *question(network)) == "chain-silent"
        assert words in ward.log()[-1]["words"]


def test_contract_when_its_code_is_not_known_is_a_refusal(
    network: Network, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        monkeypatch.setattr("wardround.chain.known_code.releases", lambda: ())
        with pytest.raises(Refusal) as caught:
            ward.client.ask(*question(network))
        assert not isinstance(caught.value, RefusedForNow)
        assert caught.value.name == "contract-unknown"
        assert "those of no known WardRound" in ward.log()[-1]["words"]


# ---------------------------------------------------------------- while it trains


def test_round_when_over_while_the_site_trains_is_not_signed(own: Network, tmp_path: Path) -> None:
    home, trainer = make(own, tmp_path / "home"), Held()
    approve(own, home)
    with guarded(own, home, trainer=trainer) as guard, ThreadPoolExecutor(1) as pool:
        ward = Ward(own, home, guard)
        answer = pool.submit(ward.train)
        assert trainer.begun.wait(60)
        close_round(own)
        trainer.let.set()
        with pytest.raises(Refusal, match="round-over"):
            answer.result(60)
        assert ward.signed() == ward.refusals() == []
        # As it was before it trained: nothing is lost, and nothing is to be looked into.
        with pytest.raises(Refusal, match="round-over"):
            ward.train()
        assert len(trainer.trained) == 1


def test_site_when_removed_while_it_trains_finishes_the_round_and_no_other(
    own: Network, tmp_path: Path
) -> None:
    """The contract removes a site from the next round on."""
    home, trainer = make(own, tmp_path / "home"), Held()
    approve(own, home)
    with guarded(own, home, trainer=trainer) as guard, ThreadPoolExecutor(1) as pool:
        ward = Ward(own, home, guard)
        answer = pool.submit(ward.train)
        assert trainer.begun.wait(60)
        own.contract.remove_site(own.keys.sponsor, own.study, own.parties[0].account.address)
        trainer.let.set()
        assert answer.result(60)[0].round == 1
        close_round(own)
        with pytest.raises(Refusal, match="not-a-member"):
            ward.client.ask(*question(own))
        assert len(trainer.trained) == len(ward.signed()) == 1


def test_study_when_revoked_while_the_site_trains_is_not_signed(
    network: Network, home: Home
) -> None:
    trainer = Held()
    with guarded(network, home, trainer=trainer) as guard, ThreadPoolExecutor(1) as pool:
        ward = Ward(network, home, guard)
        answer = pool.submit(ward.train)
        assert trainer.begun.wait(60)
        address = network.parties[0].account.address
        Approvals(home.approvals, address).revoke(network.study, 1)
        trainer.let.set()
        with pytest.raises(Refusal, match="study-not-approved"):
            answer.result(60)
        assert ward.signed() == []


# ---------------------------------------------------------------- what is measured


@pytest.fixture
def measuring(later: Network, experienced: Home) -> Iterator[Ward]:
    with guarded(later, experienced) as guard:
        yield Ward(later, experienced, guard)


def released(ward: Ward) -> list[dict[str, Any]]:
    return [line for line in ward.log() if line["kind"] == "released"]


def test_measures_when_of_the_chains_model_leave_and_are_written_down(measuring: Ward) -> None:
    measured = measuring.measure()
    labels = measuring.network.parties[0].data.test.labels
    assert np.reshape(measured.counts, (-1, 2)).sum(axis=0).tolist() == np.bincount(labels).tolist()
    assert (measured.two_classes, measured.noise) == (True, 0.0)
    (line,) = released(measuring)
    assert line["measures"] == measured.fields()
    assert line["model"] == hex_of(measuring.task.previous.record.model)


def test_measures_when_asked_for_again_are_those_that_left(
    later: Network, experienced: Home
) -> None:
    """Also after a restart; a trainer that answers otherwise is not asked."""
    with guarded(later, experienced) as guard:
        first = Ward(later, experienced, guard).measure()
    trainer = Altered(foretell=lambda job, honest: honest[:, ::-1].copy())
    with guarded(later, experienced, trainer=trainer) as guard:
        ward = Ward(later, experienced, guard)
        assert ward.measure() == ward.measure() == first
        assert trainer.predicted == []
        assert len(released(ward)) == 1


def test_measures_when_of_another_model_stay(measuring: Ward) -> None:
    """Who may choose the model may ask about single test rows."""
    with pytest.raises(Refusal, match="base-model-wrong"):
        measuring.client.measure(measuring.task, measuring.asked.model + np.int32(1))
    task = replace(measuring.task, previous=genesis_closing(b"\x02" * 32))  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="base-model-wrong"):
        measuring.client.measure(task, measuring.asked.model)
    assert measuring.refusals() == ["base-model-wrong"] * 2


def test_measures_when_of_a_round_without_this_site_stay(ward: Ward) -> None:
    assert refused(ward, *question(ward.network, "measure")) == "not-a-contributor"


FORETOLD: dict[str, Callable[[Any], Any]] = {
    "a row less": lambda shares: shares[1:],
    "a row more": lambda shares: np.vstack([shares, shares[:1]]),
    "a class more": lambda shares: np.hstack([shares, np.zeros((len(shares), 1))]),
    "one class": lambda shares: np.ones((len(shares), 1)),
    "one dimension": lambda shares: shares[:, 1],
    "other floats": lambda shares: shares.astype(np.float32),
    "no array": lambda shares: shares.tolist(),
    "no numbers": lambda shares: shares * np.nan,
    "a share above one": lambda shares: np.array([[2.0, -1.0]] * len(shares)),
    "shares that add up to more": lambda shares: np.ones_like(shares),
    "shares that add up to nothing": lambda shares: np.zeros_like(shares),
}


@pytest.mark.parametrize("how", FORETOLD)
def test_trainer_when_its_probabilities_cannot_be_is_refused_by_name(
    later: Network, experienced: Home, how: str
) -> None:
    trainer = Altered(foretell=lambda job, honest: FORETOLD[how](honest))
    with guarded(later, experienced, trainer=trainer) as guard:
        ward = Ward(later, experienced, guard)
        assert refused(ward, *ward.asked.request("measure")) == "trainer-failed"
        assert released(ward) == []


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("evaluate = false", "evaluation-off"),
        ("measure_rows = 21", "too-few-test-rows"),
        ("measure_class_rows = 11", "too-few-test-rows"),
        ("measured_models = 1", "measures-spent"),
    ],
)
def test_measures_when_the_policy_does_not_let_them_leave_are_refused(
    later: Network, tmp_path: Path, policy: str, name: str
) -> None:
    home = home_later(later, tmp_path / "home", policy=policy)
    with guarded(later, home) as guard:
        ward = Ward(later, home, guard)
        assert refused(ward, *ward.asked.request("measure")) == name
        assert released(ward) == []
        # By the round that made the model, as everywhere.
        assert [line["round"] for line in ward.log() if line["kind"] == "refused"] == [1]


def test_counts_when_the_policy_adds_noise_are_integers_that_name_it(
    later: Network, tmp_path: Path
) -> None:
    home = home_later(later, tmp_path / "home", policy="measure_noise = 0.7")
    with guarded(later, home) as guard:
        ward = Ward(later, home, guard)
        measured = ward.measure()
        (line,) = released(ward)
    assert line["measures"] == measured.fields()
    assert measured.noise == 0.7
    assert all(abs(count) <= 20 + 10 * 0.7 for count in measured.counts)


def test_site_when_asked_who_it_is_answers_name_and_address(ward: Ward) -> None:
    party, found = ward.network.parties[0], ward.client.identify()
    assert (found.name, found.site) == (party.name, party.account.address)


def test_measures_when_the_trainer_failed_three_times_are_not_asked_for(
    later: Network, experienced: Home
) -> None:
    trainer = Altered(foretell=lambda job, honest: honest[1:])
    with guarded(later, experienced, trainer=trainer) as guard:
        ward = Ward(later, experienced, guard)
        names = [refused(ward, *ward.asked.request("measure")) for _ in range(4)]
        assert names == ["trainer-failed"] * 3 + ["attempts-spent"]
        assert len(trainer.predicted) == 3
        assert ward.train()
