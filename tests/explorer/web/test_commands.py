"""`wardround explore` as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from wardround.explorer.web.commands import explore
from wardround.protocol.errors import WardroundError

ROOT = Path(__file__).parents[3]


#: Most memory that an explorer may take, with its indexer.
MEMORY_MIB = 300
#: What trains, simulates or plots: reading a chain needs none of it.
UNNEEDED = frozenset({"torch", "flwr", "ray", "sklearn", "scipy", "pandas", "matplotlib"})


@contextmanager
def started(*words: str, cache: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start it and wait for the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wardround", "explore", *words, "--no-browser", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    guard = threading.Timer(90, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"explorer: (http://\S+)\n", process.stdout.readline())
        assert found, process.stderr.read() if process.stderr else ""
        yield process, found[1]
    finally:
        guard.cancel()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors


def test_run_is_served_until_it_is_interrupted(run_folder: Path, tmp_path: Path) -> None:
    with started(str(run_folder), cache=tmp_path) as (_, where):
        assert "/study/0x" in where
        answer = httpx.get(where, timeout=30)
        assert answer.status_code == 200
        assert "Accuracy by site" in answer.text
        # A foreign host name that resolves to this server gets no page.
        foreign = httpx.get(where, headers={"host": "evil.example"}, timeout=30)
        assert (foreign.status_code, "Accuracy" in foreign.text) == (400, False)


def test_other_host_than_loopback_is_warned_of(run_folder: Path, tmp_path: Path) -> None:
    words = [str(run_folder), "--host", "0.0.0.0"]
    with started(*words, cache=tmp_path) as (process, where):
        port = where.split(":")[2].split("/")[0]
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 200
        assert process.stderr is not None
        assert "everybody who reaches 0.0.0.0 can read all of this" in process.stderr.readline()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"run_or_study": "nowhere"}, "this is not the folder of a run"),
        ({}, "name a run's folder, or a chain with --rpc and --contract"),
        (
            {"run_or_study": "0x12", "rpc": "http://127.0.0.1:1", "contract": "0x" + "11" * 20},
            "64 lower-case",
        ),
    ],
)
def test_wrong_words_are_said_in_one_sentence(words: dict[str, str], said: str) -> None:
    with pytest.raises(WardroundError, match=said) as raised:
        explore(**words)
    assert "\n" not in str(raised.value)


def test_memory_is_bounded_when_many_read_at_once(run_folder: Path, tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    with imported.open("w") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-X", "importtime", "-m", "wardround", "explore"),
                *(str(run_folder), "--no-browser", "--port", "0"),
                *("--index", str(tmp_path / "index.sqlite")),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        where = process.stdout.readline().split()[1]
        with httpx.Client(base_url=where.split("/study")[0], timeout=60) as client:
            study = client.get("/api/studies").json()["rows"][0]["study"]
            paths = [
                f"/study/{study}",
                f"/study/{study}/round/2",
                f"/study/{study}/round/2/replay",
                f"/study/{study}/evidence.zip",
                "/events.csv",
                "/api/events?limit=500",
                f"/api/studies/{study}/series",
            ]
            with ThreadPoolExecutor(40) as pool:
                answers = list(pool.map(client.get, 20 * paths))
        assert {one.status_code for one in answers} == {200}
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak
    assert int(peak[1]) < MEMORY_MIB * 1024
    modules = {line.split("|")[-1].strip() for line in imported.read_text().splitlines()}
    assert "wardround.explorer.indexer" in modules
    assert not UNNEEDED & modules
