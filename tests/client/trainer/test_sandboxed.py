"""Real processes in the sandbox of this machine. The hostile ones are in the deep tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
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
from wardround_client.trainer.warm import _is_within_threads

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


def test_job_when_the_warm_process_dies_under_it_has_failed(trainer: SandboxedTrainer) -> None:
    """Its rows had gone out: what ended it may be the study's own code."""
    trainer.train(train_job())
    warm = trainer._warm
    assert warm is not None
    killer = threading.Timer(1.0, os.kill, (warm.process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(Refusal) as caught:
        trainer.train(own_job("import time\ndef build(): time.sleep(1e6)"))
    assert caught.value.name == "trainer-failed"
    warm.ended.wait(10)
    trainer.train(train_job())


#: A process with a name that is no text, and an end of its entry's name within.
RENAMED = """
import ctypes
ctypes.CDLL(None).prctl(15, b"\\xff) 1 (", 0, 0, 0)
print("", flush=True)
input()
"""


def test_threads_of_a_process_are_counted_whatever_its_name() -> None:
    command = [sys.executable, "-c", RENAMED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert b"\xff) 1 (" in Path(f"/proc/{process.pid}/comm").read_bytes()
            assert _is_within_threads(process.pid)
        finally:
            process.communicate(b"\n")
    assert not _is_within_threads(process.pid)  # it has no entry any more


@pytest.mark.parametrize(
    "entry", [b"", b"1 (\xff) S", b"1 (python) S " + b"x " * 40, b"1 (a) S " + b"9999 " * 40]
)
def test_child_when_its_entry_cannot_be_believed_is_over_its_limit(
    monkeypatch: pytest.MonkeyPatch, entry: bytes
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: entry)
    assert not _is_within_threads(os.getpid())


def test_other_jobs_when_a_job_takes_another_name_go_on(trainer: SandboxedTrainer) -> None:
    trainer.train(train_job())
    before = trainer._warm
    code = """
import ctypes, time
def build():
    ctypes.CDLL(None).prctl(15, b"\\xff\\xfe", 0, 0, 0)
    time.sleep(1)  # ten looks of the process that counts threads
    raise ValueError("seen")
"""
    with pytest.raises(Refusal) as caught:
        trainer.train(own_job(code))
    assert caught.value.name == "trainer-failed"
    trainer.train(train_job())
    assert trainer._warm is before


def test_job_is_the_first_that_the_kernel_ends_for_want_of_memory(
    trainer: SandboxedTrainer,
) -> None:
    trainer.train(train_job())
    entry = Path(f"/proc/{waiting(trainer).pid}/oom_score_adj")
    assert entry.read_text("ascii") == "1000\n"


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
