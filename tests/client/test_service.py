"""What `site run` starts and reports, and when it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.client.guard.conftest import PASSWORD
from tests.client.trainer.test_start import NOTHING
from tests.transport.test_certificates import served
from wardround.protocol.errors import SpecificationError
from wardround.transport.certificates import AUTHORITY_CERTIFICATE, issue_server, make_authority
from wardround_client.errors import KeystoreError
from wardround_client.home import Home, make_home
from wardround_client.service import Coordinator, SiteService
from wardround_client.site_template import TEMPLATE

NOW = datetime.now(UTC)
LATER = 1e6  # past any pause


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Path]:
    """A coordinator's certificates; the server's was valid for a day, ten days ago."""
    folder = tmp_path / "tls"
    folder.mkdir()
    make_authority(folder, "test", NOW - timedelta(days=20))
    issue_server(folder, ["127.0.0.1"], NOW - timedelta(days=10), 1)
    return folder


def test_expired_certificate_of_the_coordinator_is_waited_out(tls: Path, tmp_path: Path) -> None:
    root = tmp_path / "coordinator.pem"
    shutil.copyfile(tls / AUTHORITY_CERTIFICATE, root)
    said: list[str] = []
    with served(tls) as address:
        coordinator = Coordinator(address, root, said.append)
        coordinator.look(0)
        coordinator.look(LATER)
    (words,) = said  # once, however often it is looked at
    assert str(address) in words
    assert "expired" in words
    assert "ask it to renew: `wardround coordinator renew`" in words
    assert words.endswith("Trying again")
    issue_server(tls, ["127.0.0.1"], NOW)
    with served(tls) as address:
        coordinator.address = address
        coordinator.look(2 * LATER)
    assert said[1:] == [f"the coordinator at {address} answers"]


# ---------------------------------------------------------------- what it starts, and when not


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SiteService]:
    """A new site's, with a coordinator that is away."""
    home = tmp_path / "hospital"
    text = TEMPLATE.format(
        name='"hospital"',
        endpoint='"http://127.0.0.1:9"',
        chain_id=31337,
        contract=f'"0x{"11" * 20}"',
    )
    coordinator = '[coordinator]\naddress = "127.0.0.1:9"\nroot_certificate = "ca.pem"\n'
    make_home(home, f"{text}\n{coordinator}", PASSWORD, 0, iterations=2)
    (tmp_path / "tls").mkdir()
    make_authority(tmp_path / "tls", "test", NOW)
    shutil.copyfile(tmp_path / "tls" / AUTHORITY_CERTIFICATE, home / "ca.pem")
    stopped = threading.Event()
    limit = threading.Timer(240, stopped.set)
    limit.start()
    yield SiteService(Home(home), PASSWORD, print, lambda: NOW, stopped)
    limit.cancel()


def started(service: SiteService) -> bool:
    return (service.home.folder / "logs" / "guard.log").exists()


def test_run_when_the_password_is_wrong_ends_and_starts_nothing(service: SiteService) -> None:
    service.password = "another"
    with pytest.raises(KeystoreError, match="does not open with this password"):
        service.run()
    assert not started(service)


def test_run_when_there_is_no_sandbox_ends_and_starts_nothing(
    service: SiteService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.trainer.start.offered", lambda: NOTHING)
    with pytest.raises(SpecificationError, match="no sandbox"):
        service.run()
    assert not started(service)


def test_run_when_the_guard_refuses_to_start_ends(service: SiteService, tmp_path: Path) -> None:
    service.home.log.unlink()
    (tmp_path / "password").write_text(PASSWORD)
    home, secret = str(service.home.folder), str(tmp_path / "password")
    ended = subprocess.run(
        [sys.executable, "-m", "wardround", "site", "run", home, "--password-file", secret],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "the guard does not start" in ended.stderr
    assert started(service)


def test_programs_that_the_coordinator_reaches_get_no_password_of_the_database(
    service: SiteService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSPITAL_DB", "postgresql://reader:secret@db.example/records")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "secret")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    for program in (service._supernode(0, 1), service._executor([])):
        assert program.environment is not None
        assert "secret" not in str(program.environment)
        assert program.environment["https_proxy"] == "http://proxy.example:3128"
        assert program.environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert service._guard().environment is None  # its own, with which it reads the database
