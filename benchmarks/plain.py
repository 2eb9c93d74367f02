"""Rounds of plain Flower: its own SuperLink, SuperNodes, strategy and settings.

What is not stock: no telemetry, no look for updates, and nothing is installed for an application.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import httpx

from benchmarks.network import Shape
from wardround.transport.flower.programs import QUIET_ENVIRONMENT
from wardround.transport.ports import free_port
from wardround.transport.processes import end_all, with_descendants

APPLICATION = Path(__file__).parent / "plain_flower"
_START_SECONDS, _LIMIT_SECONDS, _STOP_SECONDS = 120.0, 900.0, 10.0
_LOOK_SECONDS = 0.2


def round_seconds(shape: Shape, folder: Path) -> float:
    """Run as many rounds over as many sites as a shape has, and give the median.

    The first of several is left out: it starts processes and fills caches.

    Args:
        folder: for settings, logs and state; new.
    """
    folder.mkdir()
    port, times = free_port(), folder / "times"
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "plain"\n\n[superlink.plain]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n",
        encoding="utf-8",
    )
    widths = ",".join(map(str, (shape.features, *shape.hidden)))
    config = (
        f"sites={shape.sites} rounds={shape.rounds} rows={shape.rows} "
        f'test-rows={shape.test_rows} widths="{widths}" times="{times}"'
    )
    with ExitStack() as running:
        at = ("--insecure", "--host", "127.0.0.1")
        running.enter_context(_program(folder, "flower-superlink", *at, "--port", str(port)))
        _await(lambda: _answers(port), _START_SECONDS, folder)
        for site in range(shape.sites):
            node = ("--superlink", f"127.0.0.1:{port}", "--port", str(free_port()))
            number = ("--node-config", f"partition-id={site} num-partitions={shape.sites}")
            running.enter_context(_program(folder, "flower-supernode", *at, *node, *number))
        run = [_path("flwr"), "run", str(APPLICATION), "plain", "--run-config", config]
        subprocess.run(run, env=_environment(folder), check=True, capture_output=True)
        # When the rounds began, then each one's end.
        _await(lambda: len(_ends(times)) == shape.rounds + 1, _LIMIT_SECONDS, folder)
    seconds = [after - before for before, after in pairwise(_ends(times))]
    return median(seconds[1:] or seconds)


@contextmanager
def _program(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    """Run one of Flower's programs, and end all that it has started."""
    with (folder / "flower.log").open("ab") as log:
        process = subprocess.Popen(
            [_path(name), *arguments],
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        below = with_descendants([process.pid])
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end_all(below, _STOP_SECONDS)


def _await(is_there: Callable[[], bool], seconds: float, folder: Path) -> None:
    deadline = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > deadline:
            tail = (folder / "flower.log").read_text(errors="replace")[-500:]
            raise TimeoutError(f"plain Flower did not get on in {seconds:g} s: {tail}")
        time.sleep(_LOOK_SECONDS)


def _path(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _environment(folder: Path) -> Mapping[str, str]:
    # Flower's programs find each other by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **QUIET_ENVIRONMENT, "FLWR_HOME": str(folder), "PATH": path}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0).is_success
    except httpx.HTTPError:
        return False


def _ends(times: Path) -> list[float]:
    return [float(line) for line in times.read_text().split()] if times.exists() else []
