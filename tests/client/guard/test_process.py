"""The guard as a process of its own: killed at every step, its key in no other process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.client.guard.conftest import PASSWORD, approve, asked_of, guarded, make
from tests.client.guard.killed import POINTS
from tests.client.guard.trainers import Altered
from tests.integration.networks import CHAIN_ID, small_scenario
from wardround.devchain.anvil import Anvil
from wardround.devchain.evm import Genesis
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.messages import TrainReply
from wardround.protocol.record import genesis_closing
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import GuardUnreachable, Refusal
from wardround_client.guard.client import GuardClient
from wardround_client.guard.log import read_log
from wardround_client.home import Home
from wardround_client.password import PASSWORD_VARIABLE
from wardround_client.trainer.base import TrainJob, TrainResult
from wardround_simulations.network import Network, new_folder, new_keys, prepare

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def on_anvil(folder: Path, private: bool) -> Iterator[Network]:
    """A network on a chain that other processes reach."""
    scenario = small_scenario()
    if private:
        privacy = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
        scenario = scenario.model_copy(update={"privacy": privacy})
    folders = new_folder(folder)
    keys = new_keys(folders)
    genesis = Genesis(CHAIN_ID, 1_760_000_000, dict.fromkeys(keys.addresses, 10**21))
    with Anvil(genesis) as anvil:
        yield prepare(scenario, folders, keys, anvil.chain, data_dir=None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with on_anvil(tmp_path_factory.mktemp("anvil") / "network", private=False) as made:
        yield made


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with on_anvil(tmp_path_factory.mktemp("private") / "network", private=True) as made:
        yield made


def home_of(network: Network, folder: Path) -> Home:
    home = make(network, folder / "home")
    approve(network, home)
    (folder / "password").write_text(PASSWORD)
    return home


@contextmanager
def process(*command: str | Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a process and read its first line; end it, whatever happens."""
    started = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=20)


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline()


def train(network: Network, home: Home) -> TrainReply:
    """Ask the guard as an honest courier does."""
    answer, _ = GuardClient(home.socket, 60).train(asked_of(network).task, network.initial.values)
    return answer


def another(job: TrainJob, honest: TrainResult) -> TrainResult:
    """What training that does not repeat would give."""
    return replace(honest, update=honest.update + np.int32(1))


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(one, marks=[] if one in ("half written", "sent") else pytest.mark.deep)
        for one in POINTS
    ],
)
def test_guard_when_killed_while_it_signs_never_signs_a_second_contribution(
    plain: Network, tmp_path: Path, point: str
) -> None:
    home = home_of(plain, tmp_path)
    left: TrainReply | None = None
    killed = ["-m", "tests.client.guard.killed", home.folder, tmp_path / "password"]
    with process(*killed, "signed", point) as guard:
        assert "listens" in first_line(guard)
        with suppress(GuardUnreachable, Malformed):
            left = train(plain, home)
        assert guard.wait(20) == -signal.SIGKILL
    assert (left is not None) == (point == "sent")
    written = [line for line in read_log(home.log) if line["kind"] == "signed"]
    if point in ("sent", "half sent"):
        # A disk may lose what is kept there to be given again; the log is what counts.
        (answer,) = home.answers.glob("*.safetensors")
        answer.unlink()
    with guarded(plain, home, trainer=Altered(another)):
        if written:
            with pytest.raises(Refusal, match="already-signed"):
                train(plain, home)
        else:
            # Nothing was durable, so nothing had left: another one may be signed, once.
            assert left is None
            first = train(plain, home)
            assert train(plain, home) == first
    if written:
        with guarded(plain, home):
            assert left in (None, train(plain, home))
    assert bool(written) == (point not in ("before writing", "half written"))
    repaired = [line for line in read_log(home.log) if line["kind"] == "repaired"]
    assert bool(repaired) == (point == "half written")
    assert len([line for line in read_log(home.log) if line["kind"] == "signed"]) == 1


@pytest.mark.parametrize(
    "point",
    [
        "half written",
        *(pytest.param(one, marks=pytest.mark.deep) for one in ("before syncing", "half sent")),
    ],
)
def test_guard_when_killed_while_it_books_privacy_counts_what_left(
    private: Network, tmp_path: Path, point: str
) -> None:
    home = home_of(private, tmp_path)
    killed = ["-m", "tests.client.guard.killed", home.folder, tmp_path / "password"]
    with process(*killed, "spent", point) as guard:
        assert "listens" in first_line(guard)
        with pytest.raises((GuardUnreachable, Malformed)):
            train(private, home)
        assert guard.wait(20) == -signal.SIGKILL
    trainer = Altered()
    with guarded(private, home, trainer=trainer):
        assert train(private, home) == train(private, home)
    (job,) = trainer.trained
    assert job.private is not None
    spent = [line for line in read_log(home.log) if line["kind"] == "spent"]
    assert len(spent) == 1


def test_guard_when_told_to_stop_ends_cleanly(plain: Network, tmp_path: Path) -> None:
    home = home_of(plain, tmp_path)
    command = ("-m", "wardround", "site", "guard", home.folder, "--password-file", "-")
    with process(*command) as guard:
        assert guard.stdin is not None
        guard.stdin.write(f"{PASSWORD}\n")
        guard.stdin.flush()
        line = first_line(guard)
        assert str(home.socket) in line
        assert plain.parties[0].account.address in line
        found = GuardClient(home.socket).identify()
        assert found.name == plain.parties[0].name
        guard.send_signal(signal.SIGTERM)
        assert first_line(guard) == "guard stopped\n"
        assert guard.wait(20) == 0
    assert not home.socket.exists()
    assert [one["kind"] for one in read_log(home.log)] == ["created", "started", "stopped"]
    with pytest.raises(GuardUnreachable):
        GuardClient(home.socket).identify()


def test_endpoint_when_one_is_away_another_stands_in(plain: Network, tmp_path: Path) -> None:
    home = home_of(plain, tmp_path)
    text, url = home.settings_file.read_text(), plain.contract.chain.url
    home.settings_file.write_text(text.replace(f'["{url}"]', f'["http://127.0.0.1:1", "{url}"]'))
    with guarded(plain, home):
        assert train(plain, home).entry.weight > 0


# ---------------------------------------------------------------- where the key is


def memory_of(pid: int) -> Iterator[bytes]:
    """All that a process can write to, as it is now."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            while start < end:
                # Overlapping, so that nothing is cut in two.
                try:
                    memory.seek(start)
                    yield memory.read(min(end - start, (1 << 24) + 256))
                except (OSError, OverflowError):
                    pass
                start += 1 << 24


def forms_of(key: bytes) -> list[bytes]:
    """A key as bytes, either way round, as text, and as Python keeps an integer."""
    number = int.from_bytes(key, "big")
    digits = b"".join(
        (number >> shift & (2**30 - 1)).to_bytes(4, "little") for shift in range(0, 256, 30)
    )
    return [key, key[::-1], key.hex().encode(), key.hex().upper().encode(), digits]


def holds(pid: int, secrets: list[bytes]) -> bool:
    return any(secret in part for part in memory_of(pid) for secret in secrets)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_key_and_rows_when_a_site_trains_are_in_the_guard_and_nowhere_else(
    plain: Network, tmp_path: Path
) -> None:
    home = home_of(plain, tmp_path)
    key, data = bytes(plain.parties[0].account.key), plain.parties[0].data
    rows = [row.tobytes() for row in (*data.train.features, *data.test.features)]
    spec = canonical_bytes(plain.scenario.specification.document())
    files = {
        "params": plain.params.encode(),
        "previous": genesis_closing(plain.params.initial_model).encode(),
        "specification": spec,
        "base": vector_bytes(plain.initial.values),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    guard_command = [
        "-m",
        "wardround",
        "site",
        "guard",
        home.folder,
        "--password-file",
        tmp_path / "password",
    ]
    with process(*guard_command) as guard:
        assert "listens" in first_line(guard)
        environment = {name: value for name, value in os.environ.items() if "PASSWORD" not in name}
        command = ["-m", "tests.client.guard.courier", home.folder, tmp_path]
        with process(*command, env=environment) as courier:
            entry = Entry.unpack(bytes.fromhex(first_line(courier)))
            statement = entry.contribution(plain.study, 1, plain.params.initial_model)
            statement.check_signature(plain.contract.domain, entry.signature)
            # It was found at all: what the courier certainly holds is.
            assert holds(courier.pid, [entry.signature.hex().encode()])
            secrets = [*forms_of(key), PASSWORD.encode()]
            assert not holds(courier.pid, [*secrets, *rows])
            for one in Path(f"/proc/{courier.pid}/fd").iterdir():
                assert one.readlink().name not in ("keystore.json", "password", "train.npz")
            environ = Path(f"/proc/{courier.pid}/environ").read_bytes()
            assert PASSWORD_VARIABLE.encode() not in environ
        (forked,) = psutil.Process(guard.pid).children()
        if os.geteuid() == 0:
            assert holds(forked.pid, forms_of(key)), "the search would not find a key"
            # Its memory could be read for a moment when it was started.
            assert not holds(guard.pid, secrets)
        else:
            for pid in (guard.pid, forked.pid):
                with pytest.raises(PermissionError):
                    next(memory_of(pid))
