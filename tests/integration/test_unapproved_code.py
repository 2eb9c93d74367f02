"""A coordinator that sends other code than a site approved: nothing of it ever runs there.

The SuperLink, the door, the SuperNode and the executor are the real processes. The hostile bundle
writes a file wherever it is imported: so it does at the coordinator, and not at the site.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.networks import small_scenario
from wardround.devchain.anvil import Anvil
from wardround.devchain.evm import Genesis
from wardround.host.code import application_digest, training_files
from wardround.protocol.code import code_digest
from wardround.protocol.identifiers import Digest, SiteAddress
from wardround.transport.bundle import write_bundle
from wardround.transport.flower.control import Control
from wardround.transport.ports import free_port
from wardround.transport.supervision import Supervisor
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.home import Home
from wardround_client.service import SiteService
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.service import Service, _answers
from wardround_simulations.live.layout import make_parties
from wardround_simulations.network import Network, new_folder, new_keys, prepare
from wardround_simulations.sites import password_file

WAIT_SECONDS = 600.0
pytestmark = [pytest.mark.deep, pytest.mark.timeout(2 * WAIT_SECONDS)]

#: Sends every node a message, and writes down what came back.
SERVER = """
import os, time
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    folder = Path(os.environ["MARKS"])
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.2)
    asked = [Message(RecordDict(), dst_node_id=n, message_type="query") for n in nodes]
    replies = list(grid.send_and_receive(asked, timeout=300))
    told = [f"{r.error.code} {r.error.reason}" if r.has_error() else "content" for r in replies]
    (folder / "replies.part").write_text("\\n".join(told))
    (folder / "replies.part").replace(folder / "replies")
"""
#: Runs that instead of the coordinator's ServerApp, which comes from its own installation.
HIJACK = f"""
import os, sys, types
if os.environ.get("WHERE") == "coordinator":
    module = types.ModuleType("wardround_coordinator.server_app")
    sys.modules[module.__name__] = module
    exec({SERVER!r}, vars(module))
""".encode()
MARK = """
import os
from pathlib import Path
Path({marks!r}, f"ran-{{__name__}}-at-{{os.environ.get('WHERE', 'site')}}").touch()
"""


def hostile_bundle(marks: Path) -> bytes:
    """The application, with a mark in every package, and a ServerApp of the attacker's."""
    files, mark = training_files(), MARK.format(marks=str(marks)).encode()
    for path in [one for one in files if one.endswith("__init__.py")]:
        files[path] += mark
    files["wardround/__init__.py"] += HIJACK
    files["wardround_client/app/client_app.py"] = (
        mark + b"from flwr.clientapp import ClientApp\napp = ClientApp()\n"
    )
    assert code_digest(files) != application_digest()
    return write_bundle(files)


@dataclass
class Stage:
    """A coordinator's SuperLink and door, and one site that approved the true application."""

    network: Network
    marks: Path
    port: int
    said: list[str] = field(default_factory=list)

    @property
    def coordinator(self) -> CoordinatorHome:
        return CoordinatorHome(self.network.folders.coordinator)

    @property
    def site(self) -> Home:
        return Home(self.network.folders.sites / self.network.parties[0].name)

    def submit(self, bundle: bytes) -> list[str]:
        """Let the SuperLink run a bundle, and give the names of the marks that it left."""
        with Control(self.port, self.coordinator.authority) as control:
            run = control.start_run(bundle)
            until(lambda: control.status(run).status == "finished")
        return sorted(path.name for path in self.marks.iterdir())


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKS", str(marks))
    folders = new_folder(tmp_path / "network")
    keys = new_keys(folders)
    genesis = Genesis(31337, int(time.time()), dict.fromkeys(keys.addresses, 10**22))
    with Anvil(genesis) as anvil:
        network = prepare(small_scenario(), folders, keys, anvil.chain, data_dir=None)
        make_parties(network, datetime.now(UTC))
        found = Stage(network, marks, free_port())
        with running_coordinator(found, monkeypatch), running_site(found):
            yield found


@contextmanager
def running_coordinator(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SuperLink and its door, as `coordinator run` starts them; what runs is up to the test."""
    home = stage.coordinator
    for folder in (home.logs, home.flower):
        folder.mkdir()
    service = Service(home, stage.said.append, lambda: datetime.now(UTC), threading.Event())
    supervisor = Supervisor(stage.said.append)
    with monkeypatch.context() as patched:
        patched.setenv("WHERE", "coordinator")
        supervisor.start(service._superlink(stage.port))
        supervisor.start(service._door(stage.port))
    try:

        def is_up() -> bool:
            supervisor.look()  # starts again what died, as the service does
            return _answers(stage.port, home.authority)

        until(is_up)
        with Control(stage.port, home.authority) as control:
            for enrolment in home.enrolments().values():
                control.register(enrolment.public_pem, enrolment.name)
        yield
    finally:
        supervisor.stop()


@contextmanager
def running_site(stage: Stage) -> Iterator[None]:
    """One site, as `site run` runs it."""
    name, stopped = stage.network.parties[0].name, threading.Event()
    password = password_file(stage.network.folders.root, name).read_text().strip()
    service = SiteService(
        stage.site, password, stage.said.append, lambda: datetime.now(UTC), stopped
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        until(lambda: any("waiting for work" in words for words in stage.said))
        yield
    finally:
        stopped.set()
        thread.join(120)
        assert not thread.is_alive()


def test_changed_code_leaves_no_trace_at_a_site(stage: Stage) -> None:
    """And the true application then runs in the same processes, so that the site was able to."""
    marks = stage.submit(hostile_bundle(stage.marks))
    # It did run where it came from: the marks work, and name the place.
    assert "ran-wardround-at-coordinator" in marks
    assert [name for name in marks if name.endswith("-at-site")] == []
    (reply,) = (stage.marks / "replies").read_text().splitlines()
    assert "could not be verified" in reply
    assert any("refused: its digest is 0x" in words for words in stage.said)
    unpacked = stage.site.folder / "flower" / "apps"
    assert not unpacked.exists() or not any(unpacked.iterdir())

    files = training_files()
    files["wardround/__init__.py"] += HIJACK
    # The site approves this one: what was refused before now runs there.
    approve_code(stage, Digest(code_digest(files)))
    (stage.marks / "replies").unlink()
    stage.submit(write_bundle(files))
    assert (stage.marks / "replies").read_text() == "content"
    # By what is installed at the site: nothing of a bundle is unpacked there, approved or not.
    assert not unpacked.exists() or not any(unpacked.iterdir())


def approve_code(stage: Stage, code: Digest) -> None:
    """Approve the study as if it named other code."""
    party = stage.network.parties[0]
    site = SiteAddress(party.account.address)
    params = replace(stage.network.params, code=code)
    contract = stage.network.contract
    approval = Approval(
        contract.chain.chain_id,
        contract.address.lower(),
        params,
        contract.created(stage.network.study).parties,
        stage.network.scenario.specification,
        int(time.time()),
        1,
        None,
    )
    Approvals(stage.site.approvals, site).give(approval, bytes(party.account.key))
