"""``python -m wardround.transport.flower.executor APP SECRET PORT...``: a process a task.

Flower starts a new Python for every message, which then imports all that it needs: seconds of it,
every round, at every site. Here one process imports the ClientApp of this installation, and forks
for each task. The fork runs Flower's `run_clientapp` with that app: what a coordinator's bundle
holds is checked, and neither unpacked nor imported, so no code of a study runs beside the network.

    this process (it has no threads, ever)
      ├── forks ── Flower's SuperExec: asks a SuperNode for tasks, and passes them on as lines
      ├── forks ── another one, for each further coordinator's SuperNode
      └── forks ── a task, then another …

A SuperExec proves itself to its SuperNode with a secret in a file, so that no other user of the
machine can take tasks.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from flwr.clientapp import ClientApp
from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest
from flwr.supercore.cli.flower_superexec import flower_superexec
from flwr.supercore.constant import TaskType
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult, SubprocessExecutor
from flwr.supernode.runtime.run_clientapp import run_clientapp

from wardround.host.lifeline import parent_watch
from wardround.transport.flower.programs import asking_soon
from wardround.transport.flower.waiting import looking_soon

_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 1
_LINE_MAX_BYTES = 16_384


class ForkExecutor(SubprocessExecutor):
    """Passes tasks on to the process that forks, instead of starting a Python for each."""

    def __init__(self, tasks: int, home: Path) -> None:
        self._tasks, self._home = tasks, home

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Pass a task on.

        Only a ClientApp is ever run for a coordinator; Flower knows other kinds of task.
        """
        if spec.task_type != TaskType.CLIENT_APP:
            return LaunchResult.failed(f"a {spec.task_type} is not run at this site")
        line = json.dumps(
            {"address": spec.runtime_api_address, "token": spec.token, "home": str(self._home)}
        )
        # Shorter than a pipe writes at once, so never half a line.
        os.write(self._tasks, line.encode() + b"\n")
        return LaunchResult.accepted()


def run(app: ClientApp, supernodes: Sequence[tuple[Path, int]]) -> int:
    """Serve tasks until asked to end, or until the parent or a SuperExec ends.

    Args:
        app: answers every task.
        supernodes: of each, the file with what a SuperExec proves itself with, in Flower's folder
            for it, and the port of its own interface, on loopback.
    """
    parent_has_ended, tasks, ended = parent_watch(), os.pipe(), []

    def end(number: int, frame: FrameType | None) -> None:
        ended.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    # The first client imports more than all else that a task would import after its fork.
    httpx.Client().close()
    os.set_inheritable(tasks[1], False)
    superexecs = {
        _forked(partial(_superexec, port, secret.absolute(), tasks[1]))
        for secret, port in supernodes
    }
    os.close(tasks[1])
    status, rest = 0, b""
    while not ended and not parent_has_ended():
        if select.select([tasks[0]], [], [], _LOOK_SECONDS)[0]:
            data = os.read(tasks[0], _LINE_MAX_BYTES)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _forked(partial(_task, app, json.loads(line)))
        if superexecs & _reaped():
            status = 1
            break
    for superexec in superexecs:
        with suppress(ProcessLookupError):
            os.kill(superexec, signal.SIGTERM)
    return status


def _superexec(port: int, secret: Path, tasks: int) -> None:
    os.environ["FLWR_HOME"] = str(secret.parent)
    superexec = importlib.import_module("flwr.supercore.superexec.run_superexec")
    # Its SuperNode is on this machine, and away only while it is started again.
    make = vars(superexec)["make_simple_http_retry_invoker"]
    vars(superexec)["make_simple_http_retry_invoker"] = asking_soon(make, _AGAIN_SECONDS)
    vars(superexec)["get_executor"] = lambda *_, **__: ForkExecutor(tasks, secret.parent)
    sys.argv = [
        "flower-superexec",
        *("--insecure", "--runtime-api-address", f"127.0.0.1:{port}"),
        *("--superexec-auth-secret-file", str(secret)),
        *("--parent-pid", str(os.getppid())),
    ]
    flower_superexec()


def untiring(client: Any) -> Callable[[], bool]:
    """Make a task's heartbeat, which does not end a task that the SuperNode no longer knows.

    Flower's ends it, and so discards the training whenever a SuperNode restarts. Here the training
    goes on, and its answer is kept for the coordinator that is back, or for its standby.

    Args:
        client: Flower's client of the SuperNode.
    Returns:
        Sends one; False when the SuperNode is away and it should be sent again soon.
    """

    def beat() -> bool:
        try:
            client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        except httpx.TransportError:
            return False
        except httpx.HTTPStatusError as error:
            return not error.response.is_server_error
        return True

    return beat


def unshaken(make: Callable[[], RetryInvoker]) -> Callable[[], RetryInvoker]:
    """Make a task's retry invoker, which returns a 401 to the caller.

    Flower's interrupts its whole process at the first 401. A restarted SuperNode knows no token, so
    the first heartbeat would end the training.

    Args:
        make: Flower's own way.
    """

    def made() -> RetryInvoker:
        invoker = make()
        gives_up = invoker.should_giveup

        def refused(error: Exception) -> bool:
            unknown = (
                isinstance(error, httpx.HTTPStatusError)
                and error.response.status_code == httpx.codes.UNAUTHORIZED
            )
            return unknown or (gives_up is not None and gives_up(error))

        invoker.should_giveup = refused
        return invoker

    return made


def _task(app: ClientApp, task: dict[str, Any]) -> None:
    runner = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    vars(runner)["make_task_heartbeat_fn_http"] = untiring
    make = vars(runner)["make_simple_http_retry_invoker"]
    vars(runner)["make_simple_http_retry_invoker"] = unshaken(make)
    pull = vars(runner)["pull_and_inflate_object_from_tree"]
    vars(runner)["pull_and_inflate_object_from_tree"] = looking_soon(pull)
    # Flower's own would unpack the bundle, and import what is in it.
    vars(runner)["install_from_fab"] = lambda *_, **__: None
    vars(runner)["get_load_client_app_fn"] = lambda **_: lambda *_: app
    os.environ["FLWR_HOME"] = task["home"]
    run_clientapp(
        runtime_api_address=task["address"],
        token=task["token"],
        insecure=True,  # on loopback, where it is the token that counts
        certificates=None,
        parent_pid=os.getppid(),
        runtime_dependency_install=False,
    )


def _forked(work: Callable[[], None]) -> int:
    """Do some work in a fork, which ends with it."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 -- the entry point of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reaped() -> set[int]:
    """Take note of children that have ended."""
    found = set()
    with suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            found.add(pid)
    return found


def _named(name: str) -> ClientApp:
    """Import ``module:attribute``."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, ClientApp)
    return found


if __name__ == "__main__":
    pairs = zip(map(Path, sys.argv[2::2]), map(int, sys.argv[3::2]), strict=True)
    sys.exit(run(_named(sys.argv[1]), list(pairs)))
