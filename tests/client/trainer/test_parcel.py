from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.client.trainer.jobs import own_job, predict_job, private_job, train_job
from wardround.protocol.errors import Malformed
from wardround_client.guard.wire import Wire
from wardround_client.trainer import parcel
from wardround_client.trainer.base import NoiseTerms, PredictJob, TrainJob, TrainResult

Wires = tuple[Wire, Wire]


@pytest.fixture
def wires() -> Iterator[Wires]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours, 10), Wire(theirs, 10)


def same(one: object, other: object) -> bool:
    if type(one) is not type(other) or not isinstance(one, TrainJob | PredictJob | NoiseTerms):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    return all(same(value, vars(other)[name]) for name, value in vars(one).items())


@pytest.mark.parametrize(
    "job",
    [
        train_job(seed=2**63 - 1),
        private_job(),
        private_job(unit="patient"),
        own_job("def build(): ...", size=3),
        predict_job(),
        replace(predict_job(), features=np.zeros((2, 1, 28, 28), np.float32)),
    ],
    ids=["train", "private", "by patient", "own", "predict", "images"],
)
def test_job_arrives_as_it_was_sent(wires: Wires, job: TrainJob | PredictJob) -> None:
    parcel.send_job(wires[0], job)
    assert same(parcel.receive_job(wires[1]), job)


@pytest.mark.parametrize("loss", [0.0, 0.5, None])
def test_result_arrives_as_it_was_sent(wires: Wires, loss: float | None) -> None:
    job = train_job()
    parcel.send_trained(wires[1], TrainResult(job.base, loss))
    found = parcel.receive_trained(wires[0], job)
    assert (found.mean_loss, found.update.tolist()) == (loss, job.base.tolist())


def test_private_result_with_a_loss_is_refused(wires: Wires) -> None:
    parcel.send_trained(wires[1], TrainResult(private_job().base, 0.5))
    with pytest.raises(Malformed, match="tells no loss"):
        parcel.receive_trained(wires[0], private_job())


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ([0.5, 0.5], None),
        ([1.0, 0.0], None),
        ([0.5, 0.5000005], None),
        ([0.5, 0.50001], "add up"),
        ([1.5, -0.5], "0 .. 1"),
        ([np.nan, 1.0], "0 .. 1"),
        ([np.inf, 0.0], "0 .. 1"),
    ],
)
def test_probabilities_when_received_are_distributions(
    wires: Wires, first: list[float], reason: str | None
) -> None:
    job = replace(predict_job(), features=predict_job().features[:2])
    parcel.send_predicted(wires[1], np.array([first, [0.25, 0.75]]))
    if reason is None:
        assert parcel.receive_predicted(wires[0], job)[0].tolist() == first
    else:
        with pytest.raises(Malformed, match=reason):
            parcel.receive_predicted(wires[0], job)


@pytest.mark.parametrize("classes", [-1, 0, 1, 3, 4096, 2**53 - 1])
def test_number_of_classes_is_the_studys(wires: Wires, classes: int) -> None:
    wires[1].send({"classes": classes})
    with pytest.raises(Malformed, match="study's 2 classes"):
        parcel.receive_predicted(wires[0], predict_job())


def test_probabilities_when_too_many_are_refused_before_there_is_memory_for_them(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(predict_job(), features=np.zeros((60_000, 1), np.float32), classes=4096)
    wires[1].send({"classes": 4096})
    asked, receive = [], Wire.receive_memory
    monkeypatch.setattr(
        Wire, "receive_memory", lambda wire, count: asked.append(count) or receive(wire, count)
    )
    with pytest.raises(Malformed, match="exceed"):
        parcel.receive_predicted(wires[0], job)
    assert max(asked) < 100


def test_failure_is_told_in_bounded_words(wires: Wires) -> None:
    parcel.send_failed(wires[1], "x" * 10_000)
    with pytest.raises(parcel.JobFailed) as caught:
        parcel.receive_trained(wires[0], train_job())
    assert str(caught.value) == "x" * parcel.WORDS_MAX
