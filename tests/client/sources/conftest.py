"""A real PostgreSQL server for those tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "correct horse battery"
#: Set where the tests must not be skipped for want of a server.
REQUIRED = "WARDROUND_REQUIRE_POSTGRESQL"


@dataclass(frozen=True)
class Cluster:
    """A server of our own on a socket of our own."""

    sockets: Path

    def url(self, user: str = "owner", password: str | None = PASSWORD, base: str = "ward") -> str:
        secret = "" if password is None else ":" + password.replace(" ", "%20")
        return f"postgresql://{user}{secret}@/{base}?host={self.sockets}"

    def run(self, *statements: Any) -> None:
        """Execute statements, each a text or a text and its rows."""
        import psycopg

        with psycopg.connect(self.url()) as connection, connection.cursor() as cursor:
            for statement in statements:
                if isinstance(statement, str):
                    cursor.execute(statement)
                else:
                    cursor.executemany(*statement)


def programs() -> Path | None:
    """Find the server's programs: on the path, or where Debian keeps them."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@pytest.fixture(scope="package")
def postgresql() -> Iterator[Cluster]:
    folder = programs()
    if folder is None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, but there is no PostgreSQL server")
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    # A short path, because a socket's may have 107 bytes; and one that the server's user can enter.
    home = Path(tempfile.mkdtemp(prefix="wr-pg-"))
    # The server refuses to be root.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    try:
        if user:
            shutil.chown(home, "postgres")
        yield from _serve(folder, home, user)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _serve(folder: Path, home: Path, user: dict[str, str]) -> Iterator[Cluster]:
    data = home / "data"
    secret = home / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    secret.chmod(0o644)
    subprocess.run(
        [folder / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", "-E", "UTF8",
         "--no-locale", "--no-sync", "--pwfile", secret],
        check=True, capture_output=True, timeout=120, cwd=home, **user,
    )  # fmt: skip
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [folder / "postgres", "-D", data, "-k", home, "-c", "listen_addresses=",
             "-c", "fsync=off", "-c", "max_connections=20"],
            stdout=log, stderr=log, cwd=home, **user,
        )  # fmt: skip
        try:
            cluster = Cluster(home)
            _wait(cluster, server, home / "log")
            yield cluster
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(timeout=20)


def _wait(cluster: Cluster, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            with psycopg.connect(cluster.url(base="postgres"), autocommit=True) as connection:
                connection.execute("create database ward")
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start: {log.read_text('utf-8', 'replace')[-500:]}")
