"""Connections notice a network that fails without a word; see also test_partition.py."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from flwr.supernode.fleet_http_client import FleetHttpClient

from wardround.chain.chain import open_chain
from wardround.devchain.rpc_front import RpcFront
from wardround.host.silence import SILENCE_SECONDS, notice_silence, silence_options
from wardround.transport.flower import fleet

linux = pytest.mark.skipif(sys.platform != "linux", reason="timers are read from /proc")
KEEPALIVE = "02"


def timers(port: int) -> list[str]:
    """Which timer runs for each connection to a port of this machine, as Linux numbers them."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        established, remote = cells[3] == "01", int(cells[2].split(":")[1], 16)
        if established and remote == port:
            found.append(cells[5].split(":")[0])
    return found


@pytest.fixture
def front() -> Any:
    running = RpcFront(lambda method, parameters: "0x5")
    yield running
    running.stop()


def port_of(front: RpcFront) -> int:
    return int(front.url.rsplit(":", 1)[1])


@linux
def test_connection_that_is_not_told_to_runs_no_timer(front: RpcFront) -> None:
    with socket.create_connection(("127.0.0.1", port_of(front))) as connection:
        assert timers(port_of(front)) == ["00"]
        notice_silence(connection)
        assert timers(port_of(front)) == [KEEPALIVE]


@linux
def test_connection_to_a_node_notices(front: RpcFront) -> None:
    chain = open_chain(front.url, 5)
    assert timers(port_of(front)) == [KEEPALIVE]
    chain.close()


@linux
def test_connection_of_a_site_to_its_coordinator_notices(front: RpcFront) -> None:
    bounded = fleet._changed(FleetHttpClient, 1000, print)
    with bounded.from_server_address(f"127.0.0.1:{port_of(front)}", True, None, []) as client:
        request = b'{"id": 1, "method": "eth_chainId", "params": []}'
        assert client._client.post(front.url, content=request).is_success
        assert timers(port_of(front)) == [KEEPALIVE]
        assert client._client.timeout.connect < client._client.timeout.read == 30


def test_options_are_taken() -> None:
    with socket.socket() as one:
        notice_silence(one)
        for level, name, value in silence_options():
            assert one.getsockopt(level, name) == value
        timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
        if timeout is not None:
            assert one.getsockopt(socket.IPPROTO_TCP, timeout) == SILENCE_SECONDS * 1000
