"""docs/operations.md with the real commands, real SuperLinks, and one hospital that connects."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.links import Link
from wardround import command_line
from wardround.chain.chain import open_chain
from wardround.chain.events import TookOver
from wardround.chain.ward_round import WardRound
from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
from wardround.host.key_file import read_key
from wardround.host.study_file import read_study_file
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import save_table
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.store import open_store
from wardround.transport.ports import free_port
from wardround.transport.processes import with_descendants
from wardround_client.guard.log import read_log
from wardround_coordinator.sponsoring import create_study

CHAIN_ID, ETHER = 31337, 10**18
# The standby is started when it is needed, so none takes over from a slow first one.
ROUNDS, ROUND_SECONDS, GRACE_SECONDS = 7, 12, 12
LIMIT_SECONDS = 300.0
pytestmark = [pytest.mark.deep, pytest.mark.timeout(4 * LIMIT_SECONDS)]
NOW_AT, MOVED_TO = "127.0.0.1", "127.0.0.2"

STUDY = f"""
[study]
name = "lungs"
rounds = {ROUNDS}
[model]
name = "logistic"
arguments = {{ features = 6 }}
[training]
learning_rate = 0.2
batch_size = 8
local_epochs = 1
[aggregation]
min_sites = 1
[rewards]
per_round = "1000"
[chain]
bond = "5000000000000000000"
round_seconds = {ROUND_SECONDS}
grace_seconds = {GRACE_SECONDS}
"""
TABLES = """
[data]
name = "patients"
train = "train.npz"
test = "test.npz"
"""


@dataclass
class Running:
    """A command that runs until it is stopped, as a service manager has it."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, folder: Path, *arguments: object) -> Running:
        count = len(list(folder.glob("*.log")))
        log = folder / f"{count}-{arguments[0]}-{Path(str(arguments[2])).name}.log"
        command = [
            sys.executable,
            "-m",
            "wardround.host.lifeline",
            "wardround",
            *map(str, arguments),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        return cls(process, log)

    def said(self, words: str) -> bool:
        return words in self.log.read_text("utf-8")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(120)

    def kill(self) -> None:
        """The machine is gone: everything that was started, at once."""
        for mark in with_descendants([self.process.pid]):
            with suppress(ProcessLookupError):
                os.kill(mark.pid, signal.SIGKILL)
        self.process.wait(60)


@dataclass
class Desk:
    """An administrator's terminal, in a folder of its own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def call(self, *arguments: object) -> str:
        """Run a command to its end, which is good."""
        status, out, err = self._run(*arguments)
        assert status == 0, err
        return out

    def refused(self, *arguments: object) -> str:
        """Run a command that fails; return its one line of error."""
        status, out, err = self._run(*arguments)
        assert status == 1, out
        (line,) = err.splitlines()
        return line

    def _run(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["wardround", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        out, err = self.capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        """Change a settings file by hand; each text is there once."""
        path = self.folder / file
        text = path.read_text("utf-8")
        for before, after in changes:
            assert text.count(before) == 1, (before, text)
            text = text.replace(before, after)
        path.write_text(text, "utf-8")

    def copy(self, source: str, target: str) -> None:
        """Like ``cp -a``."""
        start, end = self.folder / source, self.folder / target
        end.parent.mkdir(parents=True, exist_ok=True)
        if start.is_dir():
            shutil.copytree(start, end)
        else:
            shutil.copy2(start, end)


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, monkeypatch, capsys)


def until(true: Callable[[], object], *running: Running) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not true():
        told = {one.log.name: one.log.read_text("utf-8")[-2000:] for one in running}
        assert time.monotonic() < deadline, told
        assert all(one.process.poll() is None for one in running), told
        time.sleep(0.1)


def test_operations_with_the_real_commands(desk: Desk) -> None:
    keys = {
        name: re.findall(r"0x[0-9a-fA-F]{40}", desk.call("study", "keygen", f"{name}.key"))[0]
        for name in ("sponsor", "first", "second")
    }
    genesis = Genesis(CHAIN_ID, int(time.time()), dict.fromkeys(keys.values(), 10 * ETHER))
    with ExitStack() as stack:
        chain = DurableAnvil(desk.folder / "chain", genesis, port=free_port())
        anvil = stack.enter_context(chain)
        # The endpoint that everybody begins with, and that will go away.
        old = Link(int(anvil.url.rpartition(":")[2]))
        stack.callback(old.close)
        ward, study = set_up(desk, anvil.url, f"http://127.0.0.1:{old.port}", keys)

        def start(*arguments: object) -> Running:
            one = Running.start(desk.folder, *arguments)
            stack.callback(one.kill)
            return one

        def head() -> int:
            return ward.study(study).head

        run_site = ("site", "run", "hospital", "--password-file", "password")
        first, site = start("coordinator", "run", "fl"), start(*run_site)
        until(lambda: head() > 1, first, site)

        # ---- an endpoint goes away: it is waited for, then another one is written down
        old.cut()
        until(lambda: first.said("Trying again"), first, site)
        assert (first.stop(), site.stop()) == (130, 0)
        before = head()

        # ---- the coordinator moves: another folder, address, port and endpoint
        desk.copy("fl", "elsewhere/fl")
        shutil.rmtree(desk.folder / "fl")
        port = free_port(MOVED_TO)
        settings = (desk.folder / "elsewhere/fl/coordinator.toml").read_text("utf-8")
        (old_port,) = re.findall(r"^port = (\d+)$", settings, re.MULTILINE)
        desk.edit(
            "elsewhere/fl/coordinator.toml",
            ('store = "../store"', 'store = "../../store"'),
            (f'host = "{NOW_AT}"', f'host = "{MOVED_TO}"'),
            (f"port = {old_port}", f"port = {port}"),
            (f'names = ["{NOW_AT}"]', f'names = ["{MOVED_TO}"]'),
            (f'chain = "http://127.0.0.1:{old.port}"', f'chain = "{anvil.url}"'),
        )
        assert "is valid until" in desk.call("coordinator", "renew", "elsewhere/fl")
        desk.edit(
            "hospital/site.toml",
            (f'address = "{NOW_AT}:{old_port}"', f'address = "{MOVED_TO}:{port}"'),
            (f'"http://127.0.0.1:{old.port}"', f'"{anvil.url}"'),
            # ---- and the site hears of the standby
            (
                "\n# What may leave",
                f'\n[[standby]]\naddress = "{NOW_AT}:{standby_port(desk)}"\n'
                'root_certificate = "coordinator-b.pem"\n\n# What may leave',
            ),
        )
        first, site = start("coordinator", "run", "elsewhere/fl"), start(*run_site)
        until(lambda: head() > before, first, site)
        assert first.said(f"sites reach this coordinator at port {port} of {MOVED_TO}")

        # ---- its machine is lost, with its folder; a new one is made from the backup
        for name in ("coordinator.key", "coordinator.toml", "tls", "sites"):
            desk.copy(f"elsewhere/fl/{name}", f"backup/{name}")
        first.kill()
        shutil.rmtree(desk.folder / "elsewhere/fl")
        before = head()
        desk.copy("backup", "elsewhere/fl")
        first = start("coordinator", "run", "elsewhere/fl")
        until(lambda: head() > before, first, site)

        # ---- its key is lost: it names the file, and the standby takes over
        assert first.stop() == 130
        (desk.folder / "elsewhere/fl/coordinator.key").unlink()
        assert "coordinator.key" in desk.refused("coordinator", "run", "elsewhere/fl")
        before = head()
        assert before <= ROUNDS, "the study was over before the standby came"
        desk.edit(
            "fl-b/coordinator.toml",
            (f'chain = "http://127.0.0.1:{old.port}"', f'chain = "{anvil.url}"'),
        )
        second = start("coordinator", "run", "fl-b", "--standby", "--leave")
        until(lambda: second.process.poll() is not None, site)
        assert second.process.returncode == 0, second.log.read_text("utf-8")
        assert second.said(f"took over round {before} from coordinator {keys['first']}")
        assert second.said("the study is finished")
        assert site.stop() == 0

        assert head() > ROUNDS
        (took,) = [one for one in ward.events(study) if isinstance(one, TookOver)]
        assert (took.coordinator, took.previous) == (keys["second"], keys["first"])
        signed = Counter(
            line["round"]
            for line in read_log(desk.folder / "hospital" / "guard.log")
            if line["kind"] == "signed"
        )
        assert signed == dict.fromkeys(range(1, ROUNDS + 1), 1)
        on_chain = ("--rpc", anvil.url, "--contract", ward.address, "--store", "store")
        assert "All holds." in desk.call("audit", "0x" + study.hex(), *on_chain)


def set_up(desk: Desk, url: str, endpoint: str, keys: dict[str, str]) -> tuple[WardRound, StudyId]:
    """docs/sponsoring.md, coordinating.md and operating-a-site.md, one command after the other."""
    (desk.folder / "study.toml").write_text(STUDY, "utf-8")
    (desk.folder / "password").write_text("only for this test\n", "utf-8")
    said: list[str] = []
    # `study create` refuses turns that are too short to wait for a registration's bytes.
    create_study(
        open_chain(url, CHAIN_ID),
        read_key(desk.folder / "sponsor.key"),
        read_study_file(desk.folder / "study.toml"),
        [keys["first"], keys["second"]],
        open_store(str(desk.folder / "store")),
        contract=None,
        token=None,
        say=said.append,
    )
    values = dict(line.split()[:2] for line in said[:3])
    contract, study = values["contract"], values["study"]
    for folder, name in (("fl", "first"), ("fl-b", "second")):
        desk.call(
            *("coordinator", "init", folder, "--chain", endpoint, "--chain-id", CHAIN_ID),
            *("--contract", contract, "--study", study, "--key", f"{name}.key", "--sites", 1),
            *("--host", NOW_AT, "--listen", NOW_AT, "--port", free_port(), "--store", "../store"),
        )
        assert "posted" in desk.call("coordinator", "bond", folder)
    make_site(desk, endpoint, contract)
    address = re.findall(r"0x[0-9a-f]{40}", (desk.folder / "hospital/enrolment.json").read_text())
    on_chain = ("--chain", url, "--contract", contract, "--key", "sponsor.key")
    desk.call(
        *("study", "admit", study, address[0], *on_chain),
        *("--payout", "0x" + "77" * 20, "--max-weight", 500),
    )
    for folder in ("fl", "fl-b"):
        assert "it is enrolled" in desk.call(
            "coordinator", "add-site", folder, "hospital/enrolment.json"
        )
    desk.call("study", "open", study, *on_chain)
    desk.call(
        *("site", "approve", study, "hospital", "--store", "store", "--yes"),
        *("--password-file", "password"),
    )

    ward = WardRound(open_chain(url, CHAIN_ID), contract)
    return ward, StudyId(bytes32(study, "study"))


def make_site(desk: Desk, endpoint: str, contract: str) -> None:
    desk.call(
        *("site", "init", "hospital", "--endpoint", endpoint, "--chain-id", CHAIN_ID),
        *("--contract", contract, "--password-file", "password"),
    )
    arguments = {"sites": 1, "rows": 40, "test_rows": 20, "features": 6}
    (data,) = load_dataset("generated", arguments, data_dir=None).sites
    home = desk.folder / "hospital"
    save_table(data.train, home / "train.npz")
    save_table(data.test, home / "test.npz")
    text = (home / "site.toml").read_text("utf-8").partition("# Your own table.")[0]
    text = text.replace("[policy]\n", '[policy]\naccept_solvable = ["lungs"]\n')
    (home / "site.toml").write_text(text + TABLES, "utf-8")
    (port,) = re.findall(r"port = (\d+)", (desk.folder / "fl/coordinator.toml").read_text())
    desk.edit(
        "hospital/site.toml",
        (
            "# [coordinator]\n",
            f'[coordinator]\naddress = "{NOW_AT}:{port}"\nroot_certificate = "coordinator.pem"\n',
        ),
    )
    desk.copy("fl/tls/ca.pem", "hospital/coordinator.pem")
    desk.copy("fl-b/tls/ca.pem", "hospital/coordinator-b.pem")


def standby_port(desk: Desk) -> str:
    (port,) = re.findall(r"port = (\d+)", (desk.folder / "fl-b/coordinator.toml").read_text())
    return port
