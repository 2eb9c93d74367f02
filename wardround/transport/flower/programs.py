"""How Flower's programs are started: quiet, in a folder of their own, and without long waits."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flwr.supercore.retry import RetryInvoker

#: What wardround was tested with; its inside is used in few places, each checked at the start.
TESTED_FLOWER = "1.41"

#: No telemetry, no look for updates, no packages installed for an application.
QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # A SuperLink otherwise asks a package index for the app's dependencies before every run.
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Silences Ray's FutureWarning about accelerators; there are none to override here.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_SETTINGS = {
    **QUIET_ENVIRONMENT,
    # How often a waiting task is looked for; Flower's own default is a second.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "PYTHONUNBUFFERED": "1",
}
#: Variables that would import code that is not approved.
_WITHHELD = frozenset({"PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "FLWR_HOME"})


def flower_environment(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Make the environment for one of Flower's programs.

    Args:
        home: a folder of Flower's own, apart from other runs and settings of this user.
        given: this process's environment.
    """
    kept = {key: value for key, value in given.items() if key not in _WITHHELD}
    # Flower's programs find each other by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', '')}"
    return {**kept, **_SETTINGS, "PATH": path, "FLWR_HOME": str(home)}


def quiet_requests() -> None:
    """Keep successful requests out of this process's log: polling would fill it.

    Flower leaves out those of sites, but not those of the Control API.
    """
    logging.getLogger("uvicorn.access").addFilter(_has_failed)


def _has_failed(record: logging.LogRecord) -> bool:
    status = record.args[-1] if isinstance(record.args, tuple) and record.args else None
    return not isinstance(status, int) or status >= HTTPStatus.BAD_REQUEST


def asking_soon(
    make: Callable[[], RetryInvoker], longest_seconds: int
) -> Callable[[], RetryInvoker]:
    """Cap the pauses of Flower's retry invoker, which waits up to twenty seconds.

    Args:
        make: Flower's own way.
        longest_seconds: the longest pause.
    """
    # Flower takes half a second to import, and services that only start its programs need it not.
    from flwr.supercore.retry import exponential

    def eager() -> RetryInvoker:
        invoker = make()
        invoker.wait_gen_factory = lambda: exponential(max_delay=longest_seconds)
        return invoker

    return eager
