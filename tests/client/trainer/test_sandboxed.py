"""Real processes in the sandbox of this machine. The hostile ones are in the deep tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.client.trainer.jobs import own_job, predict_job, private_job, train_job
from wardround.host.sandbox.machine import offered
from wardround_client.errors import Refusal, RefusedForNow
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.local import LocalTrainer
from wardround_client.trainer.sandboxed import SandboxedTrainer
from wardround_client.trainer.start import sandbox_of

pytestmark = pytest.mark.skipif(not offered().is_enough, reason="no sandbox on this machine")

JOB_SECONDS = 20.0
Told = list[str]


@pytest.fixture(scope="module")
def told() -> Told:
    return []


@pytest.fixture(scope="module")
def trainer(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxedTrainer]:
    sandbox = sandbox_of(Home(tmp_path_factory.mktemp("home")), PolicyTable())
    found = SandboxedTrainer("the trainer", sandbox, told.append, JOB_SECONDS)
    yield found
    found.close()


def test_jobs_in_a_sandbox_give_the_bits_of_this_process(trainer: SandboxedTrainer) -> None:
    local = LocalTrainer()
    for job in (train_job(), private_job()):
        found, here = trainer.train(job), local.train(job)
        assert np.array_equal(found.update, here.update)
        assert found.mean_loss == here.mean_loss
    assert np.array_equal(trainer.predict(predict_job()), local.predict(predict_job()))


def test_failure_when_refused_keeps_its_words_in_the_log(
    trainer: SandboxedTrainer, told: Told
) -> None:
    with pytest.raises(Refusal) as caught:
        trainer.train(own_job('def build(): raise ValueError("row 3\\x1b[2J\\nis 63")'))
    assert caught.value.name == "trainer-failed"
    assert "63" not in str(caught.value)
    assert r"row 3\x1b[2J is 63" in told[-1]


def test_job_runs_in_a_process_that_waited_for_it_and_ends(trainer: SandboxedTrainer) -> None:
    trainer.train(train_job())
    ready = waiting(trainer)
    trainer.train(train_job())
    ready.wait(10)
    assert waiting(trainer) != ready


def test_measurement_runs_in_the_process_that_waited_beside_a_private_training(
    trainer: SandboxedTrainer,
) -> None:
    trainer.train(private_job())
    ready = waiting(trainer)
    trainer.predict(predict_job())
    ready.wait(10)
    assert waiting(trainer) != ready


def test_job_when_the_process_that_waited_was_killed_runs_in_another(
    trainer: SandboxedTrainer,
) -> None:
    trainer.train(train_job())
    killed = waiting(trainer)
    killed.kill()
    killed.wait(10)
    trainer.train(train_job())


def waiting(trainer: SandboxedTrainer) -> psutil.Process:
    """The one process below the warm one, once it is there and the one before it has gone."""
    assert trainer._warm is not None
    first, deadline = psutil.Process(trainer._warm.process.pid), time.monotonic() + 10
    seen: list[psutil.Process] = []
    while time.monotonic() < deadline:
        below = [first, *first.children(recursive=True)]  # bubblewrap is among them
        pythons = [one for one in below if is_python(one)]
        if len(pythons) == 2 and pythons == seen:
            return max(pythons, key=psutil.Process.create_time)
        seen = pythons
        time.sleep(0.2)
    raise AssertionError(seen)


def is_python(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("python")
    except psutil.NoSuchProcess:
        return False


def test_warm_process_when_killed_is_started_again(trainer: SandboxedTrainer, told: Told) -> None:
    trainer.train(train_job())
    assert trainer._warm is not None
    before = trainer._warm.process.pid
    os.kill(before, signal.SIGKILL)
    trainer._warm.ended.wait(10)
    # It may be asked for before its end is known, and asked again then.
    with suppress(RefusedForNow):
        trainer.train(train_job())
    trainer.train(train_job())
    assert trainer._warm.process.pid != before
    assert told[-1] == "the trainer was killed by signal 9; starting it again"


@pytest.mark.parametrize("seconds", [tenths / 10_000 for tenths in range(10, 26)])
def test_close_at_any_moment_of_the_start_returns(tmp_path: Path, seconds: float) -> None:
    trainer = SandboxedTrainer("it", sandbox_of(Home(tmp_path), PolicyTable()), [].append)
    time.sleep(seconds)  # nothing is waited for: this is the moment
    trainer.close()


def test_close_ends_the_process(tmp_path: Path) -> None:
    told: Told = []
    trainer = SandboxedTrainer("it", sandbox_of(Home(tmp_path), PolicyTable()), told.append)
    trainer.close()
    with pytest.raises(RefusedForNow):
        trainer.train(train_job())
    assert told == []
