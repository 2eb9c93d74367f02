"""The guard's socket under arbitrary bytes, slow and silent callers, and many at once."""

from __future__ import annotations

import itertools
import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client.guard.conftest import Ward, approve, guarded, make, question
from tests.client.guard.trainers import Altered
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import Malformed, SpecificationError
from wardround_client.errors import GuardUnreachable, LogError, Refusal
from wardround_client.guard.client import GuardClient
from wardround_client.guard.log import GuardLog
from wardround_client.guard.requests import parse_request
from wardround_client.guard.server import CONNECTIONS_MAX, GuardServer
from wardround_client.guard.wire import DOCUMENT_MAX_BYTES
from wardround_client.home import Home
from wardround_client.trainer.base import TrainJob, TrainResult
from wardround_simulations.network import Network


@pytest.fixture(scope="module")
def patient(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """One guard for many strange callers, who get half a second each."""
    home = make(network, tmp_path_factory.mktemp("patient") / "home")
    approve(network, home)
    with guarded(network, home, request_seconds=0.5) as guard:
        yield Ward(network, home, guard)


def say(ward: Ward, data: bytes, *, hang_up: bool = True) -> bytes:
    """Send bytes as they are; give what comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(ward.home.socket))
        try:
            connection.sendall(data)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def name_in(answer: bytes) -> str:
    return str(json.loads(answer[4:])["refused"]["name"])


def lives(ward: Ward) -> None:
    assert ward.client.identify().name == ward.network.parties[0].name


FUZZED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)


@FUZZED
@given(st.binary(max_size=500))
def test_guard_when_it_hears_arbitrary_bytes_refuses_and_lives(patient: Ward, data: bytes) -> None:
    answer = say(patient, data)
    if data:
        assert name_in(answer) == "request-malformed"
    else:
        assert answer == b""


@FUZZED
@given(JSON)
def test_guard_when_it_hears_any_document_refuses_and_lives(patient: Ward, value: Any) -> None:
    assert name_in(say(patient, framed(canonical_bytes(value)))) == "request-malformed"


ASK = {"ask": st.sampled_from(["identity", "train", "measure", "sign"])}
REQUEST = {
    "study": st.sampled_from(["0x" + "00" * 32, "", 7]),
    "round": st.integers(-5, 2**40),
    "previous": st.sampled_from(["0x" + "00" * 256, "0x" + "ff" * 256, "0x"]),
    "model_bytes": st.integers(-5, 2**53),
    "weight": st.integers(-5, 2**53),
}


@FUZZED
@given(st.fixed_dictionaries(ASK, optional=REQUEST), st.booleans())
def test_guard_when_it_hears_nearly_a_request_refuses_or_answers(
    patient: Ward, request: dict[str, Any], real: bool
) -> None:
    if real and "study" in request:
        request["study"] = "0x" + patient.network.study.hex()
    try:
        data = canonical_bytes(request)
    except Exception:  # noqa: BLE001  (a number that has no canonical form)
        return
    answer = json.loads(say(patient, framed(data))[4:])
    if "refused" in answer:
        assert answer["refused"]["name"] != "guard-failed", answer
    assert patient.signed() == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x00\x00\x00",
        (100).to_bytes(4, "big") + b"{",
        b"\xff\xff\xff\xff",
        (DOCUMENT_MAX_BYTES + 1).to_bytes(4, "big") + b"{}" * 1000,
        framed(b""),
        framed(b'{"ask": "identity"}'),
        framed(b"[" * 50_000),
        framed(b"\xff\xfe"),
        framed(b'{"ask":"identity","more":1}'),
        framed(b"NaN"),
    ],
)
def test_guard_when_a_message_is_broken_says_so(patient: Ward, data: bytes) -> None:
    assert name_in(say(patient, data)) == "request-malformed"
    lives(patient)


@pytest.mark.parametrize("data", [b"\x00\x00", (30).to_bytes(4, "big") + b'{"ask"'])
def test_guard_when_a_caller_falls_silent_hangs_up(patient: Ward, data: bytes) -> None:
    started = time.monotonic()
    assert name_in(say(patient, data, hang_up=False)) == "request-malformed"
    assert 0.3 < time.monotonic() - started < 5


def test_guard_when_a_caller_trickles_is_not_held_longer(patient: Ward) -> None:
    """The deadline is for the whole request, not for each byte of it."""
    started = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(patient.home.socket))
        with pytest.raises(BrokenPipeError):
            for byte in framed(b"x" * 1000):
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
    assert time.monotonic() - started < 5


def test_guard_when_a_vector_falls_silent_signs_nothing(
    patient: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.guard.server._VECTOR_SECONDS", 0.5)
    request, model = question(patient.network)
    sent = framed(canonical_bytes(request)) + model[:-1]
    assert name_in(say(patient, sent, hang_up=False)) == "request-malformed"
    assert patient.signed() == []


def test_guard_when_callers_are_many_serves_them_all(patient: Ward) -> None:
    silent = []
    for _ in range(3 * CONNECTIONS_MAX):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(patient.home.socket))
        silent.append(connection)
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(patient.client.identify().name))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for connection in silent:
        connection.close()
    assert len(names) == 30


def test_client_when_the_queue_is_full_waits_for_room(tmp_path: Path) -> None:
    path = tmp_path / "guard.sock"
    with (
        socket.socket(socket.AF_UNIX) as guard,
        socket.socket(socket.AF_UNIX) as first,
        ThreadPoolExecutor(1) as pool,
    ):
        guard.bind(str(path))
        guard.listen(0)  # which has room for one
        first.connect(str(path))
        asked = pool.submit(GuardClient(path, 30).identify)
        with pytest.raises(TimeoutError):
            asked.result(0.2)
        guard.accept()[0].close()
        guard.accept()[0].close()
        with pytest.raises(GuardUnreachable, match=r"reset|ended"):
            asked.result(30)


def test_guard_when_callers_race_signs_one_contribution(network: Network, home: Home) -> None:
    """Also where training does not repeat: each job here has another result."""
    drawn = itertools.count()

    def moved(job: TrainJob, honest: TrainResult) -> TrainResult:
        return replace(honest, update=honest.update + np.int32(next(drawn)))

    trainer = Altered(moved)
    with guarded(network, home, trainer=trainer) as guard, ThreadPoolExecutor(12) as pool:
        ward = Ward(network, home, guard)
        answers = [one.result(60) for one in [pool.submit(ward.train) for _ in range(12)]]
        assert len({answer.entry.signature for answer, _ in answers}) == 1
        assert len({answer.entry.update for answer, _ in answers}) == 1
        assert len(ward.signed()) == len(trainer.trained) == 1


def test_socket_when_others_look_is_only_the_owners(patient: Ward) -> None:
    assert stat.S_IMODE(patient.home.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(patient.home.folder.stat().st_mode) == 0o700


def test_guard_when_others_can_enter_its_folder_does_not_start(
    network: Network, tmp_path: Path
) -> None:
    home = make(network, tmp_path / "home")
    home.folder.chmod(0o750)
    with pytest.raises(SpecificationError, match="chmod 700"), guarded(network, home):
        pass


def test_guard_when_one_runs_is_not_started_twice(patient: Ward) -> None:
    with pytest.raises(LogError):
        GuardLog(patient.home.log, lambda: 1)
    lives(patient)


def test_guard_when_the_last_one_was_killed_takes_its_socket_over(
    network: Network, home: Home
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home.socket))
    with guarded(network, home) as guard:
        lives(Ward(network, home, guard))
    assert not home.socket.exists()


def test_guard_when_its_folder_has_a_long_path_is_found(network: Network, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / "home"
    home = make(network, folder)
    approve(network, home)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with guarded(network, home) as guard:
        lives(Ward(network, home, guard))
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


def test_guard_when_its_log_cannot_be_written_signs_nothing(
    network: Network, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("wardround_client.guard.log.os.fsync", full)
        for _ in range(2):
            with pytest.raises(Refusal, match="guard-log-unusable"):
                ward.train()
        monkeypatch.undo()
        with pytest.raises(Refusal, match="guard-log-unusable"):
            ward.train()


# ---------------------------------------------------------------- the other end


def test_client_when_no_guard_runs_says_what_to_do(home: Home) -> None:
    with pytest.raises(GuardUnreachable, match="wardround site guard"):
        GuardClient(home.socket).identify()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x00",
        b"\xff\xff\xff\xff",
        framed(b"{}"),
        framed(b"[]"),
        framed(b'{"ok":{}}'),
        framed(b'{"ok":1,"refused":2}'),
        framed(b'{"refused":7}'),
        framed(b'{"ok":{"name":"x","site":"key"}}'),
    ],
)
def test_client_when_the_answer_is_strange_is_an_error_by_name(
    tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "guard.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def reply() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(Malformed):
            GuardClient(path, 10).identify()
        thread.join(10)


def test_client_when_an_update_is_not_as_long_as_its_model_does_not_read_it(
    tmp_path: Path, network: Network
) -> None:
    told = {"entry": "0x" + "00" * 157, "report": "{}", "update_bytes": 2**40}
    path = tmp_path / "guard.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def reply() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(framed(canonical_bytes({"ok": told})))

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(Malformed, match="1099511627776 bytes"):
            GuardClient(path, 10).ask(*question(network))
        thread.join(10)


def test_request_when_of_the_agreed_form_is_read() -> None:
    assert parse_request({"ask": "identity"}).ask == "identity"
    assert GuardServer.__init__.__defaults__ == (10.0,)
