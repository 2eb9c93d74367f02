"""Three ways to run the same two Flower apps on one machine.

`run_in_process` calls them directly and starts at once; `run_flower_simulation` gives them to
Flower's Simulation Runtime (Ray) from this process; `flwr_run` does what a person does who types
`flwr run .`, with a SuperLink of its own that is gone afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

import httpx
from flwr.app import Context, Message, RecordDict, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from wardround.protocol.errors import WardroundError
from wardround.transport.flower import identity as flower
from wardround.transport.flower.grid import Availabilities, InProcessGrid, OnReply
from wardround.transport.flower.programs import QUIET_ENVIRONMENT
from wardround.transport.ports import free_port
from wardround.transport.processes import end_all, with_descendants

_SUPERLINK_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_STATUS_TRIES = 10  # each takes about a second
_FRAME = re.compile("[─│╭╮╰╯]+")  # of the box that Flower draws around an error
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FlowerFailed(WardroundError):
    """A run under Flower failed, or Flower's programs are not installed."""

    code = "flower-failed"

    @classmethod
    def missing(cls, name: str) -> FlowerFailed:
        """A program or package is not installed."""
        return cls(f"{name} is not installed here: run `pip install 'wardround[ray]'`.")

    @classmethod
    def ended(cls, status: str, details: str) -> FlowerFailed:
        """A run did not complete."""
        return cls(f"the run under Flower is {status}: {details}. Its output names the cause.")


def run_in_process(
    server_app: ServerApp,
    client_app: ClientApp,
    node_configs: Sequence[Mapping[str, UserConfigValue]],
    run_config: Mapping[str, UserConfigValue],
    *,
    run_id: int = 1,
    workers: int = 1,
    availability: Availabilities | None = None,
    on_reply: OnReply | None = None,
) -> None:
    """Run a ServerApp to its end over an `InProcessGrid`; see there for the arguments.

    Raises:
        Exception: whatever the ServerApp raises, unchanged.
    """
    with flower.server_identity(run_id):
        grid = InProcessGrid(
            client_app,
            node_configs,
            run_config,
            run_id=run_id,
            workers=workers,
            availability=availability,
            on_reply=on_reply,
        )
        context = Context(run_id, flower.SERVER_NODE_ID, {}, RecordDict(), dict(run_config))
        server_app(grid=grid, context=context)


def run_flower_simulation(
    server_app: ServerApp,
    client_app: ClientApp,
    num_supernodes: int,
    run_config: Mapping[str, UserConfigValue],
    *,
    cpus: int = 2,
    cpus_per_client: float = 1,
    verbose: bool = False,
) -> None:
    """Run the same apps under Flower's Simulation Runtime, and shut Ray down afterwards.

    Flower's Python entry point has no place for a run configuration; the apps are wrapped so that
    their contexts carry it. `partition-id` and `num-partitions` come from Flower. Nodes have random
    ids and connect while the ServerApp already runs: it must wait for as many as it needs.

    Args:
        server_app: its main runs in a thread of this process.
        client_app: pickled, and called in Ray's worker processes.
        num_supernodes: number of nodes, >= 1.
        run_config: what both apps find in `context.run_config`.
        cpus: what Ray may use; `cpus / cpus_per_client` clients run at once.
        cpus_per_client: CPUs that one client is counted for.
        verbose: show Flower's log; otherwise only its errors.

    Raises:
        FlowerFailed: Ray is not installed.
        Exception: whatever the ServerApp raises, unchanged.
    """
    if importlib.util.find_spec("ray") is None:
        raise FlowerFailed.missing("ray")
    import ray  # heavy, and an optional dependency

    flower.silence_flower()
    configured_server = ServerApp()

    @configured_server.main()
    def _main(grid: Grid, context: Context) -> None:
        context.run_config = dict(run_config)
        server_app(grid=grid, context=context)

    with _quiet_flower_log(verbose), _environment_kept("PYTHONPATH"):
        try:
            run_simulation(
                configured_server,
                _ConfiguredClientApp(client_app, run_config),
                num_supernodes,
                backend_config={
                    "init_args": {
                        "num_cpus": cpus,
                        "logging_level": "INFO" if verbose else "ERROR",
                        "log_to_driver": verbose,
                    },
                    "client_resources": {"num_cpus": cpus_per_client, "num_gpus": 0.0},
                },
            )
        finally:
            ray.shutdown()  # Flower does so too, but not after every failure


class _ConfiguredClientApp(ClientApp):
    """Puts the run configuration into the context for the length of a call."""

    def __init__(self, client_app: ClientApp, run_config: Mapping[str, UserConfigValue]) -> None:
        super().__init__()
        self._client_app = client_app
        self._run_config = dict(run_config)

    def __call__(self, message: Message, context: Context) -> Message:
        empty = context.run_config  # Flower refuses a context that comes back with another one
        context.run_config = dict(self._run_config)
        try:
            return self._client_app(message=message, context=context)
        finally:
            context.run_config = empty


def flwr_run(
    app_dir: Path,
    run_config: Mapping[str, UserConfigValue],
    *,
    num_supernodes: int,
    cpus: int = 2,
    cpus_per_client: float = 1,
    timeout_seconds: float = 600,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Do what `flwr run APP_DIR --stream` does, beside any other Flower on this machine.

    A SuperLink in simulation mode is started on a free port of the loopback interface, with its
    state in memory and its own `FLWR_HOME`; it and what it started are ended by process id at the
    end, whatever happened.

    Args:
        app_dir: folder whose pyproject.toml has `[tool.flwr.app]`.
        run_config: overrides; each key must stand in `[tool.flwr.app.config]`.
        num_supernodes: number of simulated nodes.
        cpus: what Ray may use.
        cpus_per_client: CPUs that one client is counted for.
        timeout_seconds: for the run as a whole, start of Ray included.
        on_line: given each line of the run's log, without colours or line end.

    Raises:
        FlowerFailed: flwr or Ray is not installed, the SuperLink did not start, or the run was
            refused, failed or took too long.
    """
    if importlib.util.find_spec("ray") is None:
        raise FlowerFailed.missing("ray")
    with TemporaryDirectory(prefix="wardround-flower-") as folder:
        home = Path(folder)
        environment = _flower_environment(home)
        with _superlink(home, environment) as address:
            (home / "config.toml").write_text(
                '[superlink]\ndefault = "wardround"\n\n'
                f'[superlink.wardround]\naddress = "{address}"\ninsecure = true\n',
                encoding="utf-8",
            )
            overrides = home / "run-config.toml"
            overrides.write_text(
                # A JSON string, number or boolean is also a TOML one.
                "".join(f"{json.dumps(k)} = {json.dumps(v)}\n" for k, v in run_config.items()),
                encoding="utf-8",
            )
            federation = (
                f"num-supernodes={num_supernodes} init-args-num-cpus={cpus} "
                f"client-resources-num-cpus={cpus_per_client:g}"
            )
            command = [_program("flwr"), "run", str(app_dir), "wardround", "--stream"]
            if run_config:
                command += ["--run-config", str(overrides)]
            command += ["--federation-config", federation]
            tail, ended = _stream(command, environment, timeout_seconds, on_line)
            if not ended:
                raise FlowerFailed.ended("stopped", f"it took longer than {timeout_seconds:g} s")
            # `flwr run` ends with 0 even when the run has failed: only the SuperLink knows.
            status, details = _run_status(environment)
    if status == "":
        raise FlowerFailed.ended("refused", " ".join(_FRAME.sub(" ", " ".join(tail)).split()))
    if status != "finished:completed":
        raise FlowerFailed.ended(status, details)


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name  # the environment's own, activated or not
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FlowerFailed.missing(name)
    return found


def _flower_environment(home: Path) -> dict[str, str]:
    # The SuperLink finds its helpers (flower-superexec, flwr-simulation) by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"FLWR_HOME": str(home), "PATH": path, "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **QUIET_ENVIRONMENT, **own}


@contextmanager
def _superlink(home: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a SuperLink for a block and give its address."""
    port = free_port()
    command = [_program("flower-superlink"), "--insecure", "--simulation"]
    command += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
    output = home / "superlink.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,  # an interrupt from the terminal leaves its end to us
        )
    try:
        deadline = time.monotonic() + _SUPERLINK_START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = output.read_text(errors="replace")[-500:]
                raise FlowerFailed(
                    f"Flower's SuperLink does not answer on 127.0.0.1:{port}; its log ends with "
                    f"{tail!r}."
                )
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        helpers = with_descendants([process.pid])
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # It stops its own helpers, but a simulation that is still running outlives them, with Ray.
        end_all(helpers, _STOP_SECONDS)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0).is_success
    except httpx.HTTPError:
        return False


def _stream(
    command: list[str],
    environment: dict[str, str],
    timeout_seconds: float,
    on_line: Callable[[str], None] | None,
) -> tuple[list[str], bool]:
    """Run a command line by line; return its last lines, and whether it ended by itself."""
    tail: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        watch = Timer(timeout_seconds, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line = _COLOUR.sub("", raw.rstrip("\n"))
                tail = [*tail[-19:], line]
                if on_line is not None:
                    on_line(line)
            process.wait()
        finally:
            watch.cancel()
            process.kill()
    return tail, process.returncode >= 0


def _run_status(environment: dict[str, str]) -> tuple[str, str]:
    """Ask the SuperLink for its only run: status and details, empty when it has none."""
    command = [_program("flwr"), "ls", "wardround", "--format", "json"]
    for _ in range(_STATUS_TRIES):  # the log may end a moment before the run is marked finished
        asked = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        try:
            runs = json.loads(asked.stdout)["runs"]
        except (ValueError, KeyError) as error:
            said = asked.stdout.strip() or asked.stderr.strip()
            raise FlowerFailed.ended("unknown", said) from error
        if not runs:
            return "", ""
        status, details = runs[0]["status"], runs[0]["status-details"]
        if status.startswith("finished"):
            break
    return status, details


@contextmanager
def _quiet_flower_log(verbose: bool) -> Iterator[None]:
    log = logging.getLogger("flwr")
    before = log.level
    log.setLevel(logging.INFO if verbose else logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _environment_kept(name: str) -> Iterator[None]:
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
