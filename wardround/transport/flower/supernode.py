"""Flower's SuperNode, behind our own layer (`wardround.transport.flower.fleet`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from flwr.supernode.cli.flower_supernode import flower_supernode

from wardround.protocol.identifiers import Digest
from wardround.transport.certificates import Address
from wardround.transport.flower.fleet import BundleGate, install
from wardround.transport.flower.programs import quiet_requests

#: One answer of a coordinator; Flower cuts models into chunks of 5 MB, and a bundle has up to 10.
ANSWER_MAX_BYTES = 32_000_000


def run_supernode(
    coordinator: Address,
    *,
    root_certificates: Path,
    node_key: Path,
    node_config: Path,
    trust: Path,
    secret: Path,
    port: int,
    approved: Callable[[], frozenset[Digest]],
    say: Callable[[str], None],
) -> None:
    """Run a SuperNode in this process until it is asked to end.

    Args:
        coordinator: where its SuperLink answers.
        root_certificates: who vouches for it, PEM.
        node_key: what the SuperNode proves itself with, PEM.
        node_config: TOML that each ClientApp gets.
        trust: a file to write, which names the one signer of bundles that Flower then trusts.
        secret: a file with what an executor proves itself with.
        port: on loopback, where `wardround.transport.flower.executor` asks for tasks.
        approved: the digests of the code that may run, asked at every bundle.
        say: shows a person what happens.
    Raises:
        TransportError: this is not the Flower that it was tested with.
    """
    quiet_requests()
    gate = BundleGate(approved, say)
    gate.write_trust(trust)
    install(gate, ANSWER_MAX_BYTES, say)
    sys.argv = [
        "flower-supernode",
        *("--superlink", str(coordinator), "--root-certificates", str(root_certificates)),
        *("--auth-supernode-private-key", str(node_key)),
        *("--trusted-entities", str(trust)),
        *("--host", "127.0.0.1", "--port", str(port), "--isolation", "process"),
        *("--node-config", str(node_config)),
        *("--superexec-auth-secret-file", str(secret)),
    ]
    flower_supernode()
