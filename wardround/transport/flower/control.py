"""A coordinator's requests to its SuperLink, over the control interface on loopback."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import httpx
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.run import RunStatus

from wardround.transport.errors import ControlFailed, PeerAway

Answer = TypeVar("Answer")


class Control:
    """A SuperLink's control interface; use it in a ``with``."""

    def __init__(self, port: int, authority: Path) -> None:
        self._address = f"127.0.0.1:{port}"
        self._client = ControlHttpClient.from_server_address(
            server_address=self._address,
            insecure=False,
            root_certificates=authority.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def register(self, public_pem: bytes, name: str) -> None:
        """Register a node key, unless it is registered already.

        Raises:
            ControlFailed: the SuperLink rejects the key.
            PeerAway: it does not answer.
        """
        known = _asked("list nodes", lambda: self._client.ListNodes(ListNodesRequest()))
        if any(node.public_key == public_pem for node in known.nodes_info):
            return
        request = RegisterNodeRequest(public_key=public_pem, name=name)
        _asked(f"register {name}", lambda: self._client.RegisterNode(request))

    def start_run(self, bundle: bytes) -> int:
        """Submit an application and give the run's id.

        Raises:
            ControlFailed: the SuperLink rejects the bundle.
            PeerAway: it does not answer.
        """
        fab = Fab(sha256(bundle).hexdigest(), bundle, {})
        request = StartRunRequest(fab=fab_to_proto(fab))
        answer = _asked("start the study", lambda: self._client.StartRun(request))
        if not answer.HasField("run_id"):
            raise ControlFailed("start the study", "no reason given")
        return int(answer.run_id)

    def stop_run(self, run_id: int) -> None:
        """Stop a run.

        Raises:
            ControlFailed: the run has ended.
            PeerAway: the SuperLink does not answer.
        """
        request = StopRunRequest(run_id=run_id)
        _asked("stop the run", lambda: self._client.StopRun(request))

    def status(self, run_id: int) -> RunStatus:
        """Read the status of a run.

        Raises:
            ControlFailed: there is no such run.
            PeerAway: it does not answer.
        """
        request = ListRunsRequest(run_id=run_id)
        answer = _asked("show the run", lambda: self._client.ListRuns(request))
        run = answer.run_dict[run_id]
        return RunStatus(run.status.status, run.status.sub_status, run.status.details)


def _asked(what: str, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except httpx.HTTPStatusError as error:
        raise ControlFailed(what, error.response.text[:300]) from error
    except httpx.HTTPError as error:
        raise PeerAway("the SuperLink's control interface", str(error)) from error
